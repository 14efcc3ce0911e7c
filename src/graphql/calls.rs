//! A call: what every resolver of one request has at hand, and the loaders through which relations go. One loader per
//! request, without delay and without cache: it knows its viewer, and an answer never shows what was true before.

use std::{collections::HashMap, str::FromStr, time::Duration};

use async_graphql::{
    Context, Error, ID, Result,
    dataloader::{DataLoader, Loader},
};

use super::{
    UserError, UserErrorCode,
    errors::{bad_input, top_level},
};
use crate::{
    app::App,
    domain::{self, Viewer},
    model::{
        conversations::Member,
        ids::{ConversationId, MessageId, UserId},
        messages::{List, Message},
        pages::{Page, Span},
        texts::BadText,
        users::User,
    },
};

/// What every resolver of one request has at hand.
pub(super) struct Call {
    pub(super) app: App,
    pub(super) viewer: Viewer,
    pub(super) request_id: String,
    pub(super) load: DataLoader<Relations>,
}

impl Call {
    pub(super) fn new(app: &App, viewer: &Viewer) -> Self {
        let request_id = format!("{:016x}", rand::random::<u64>());
        let relations = Relations { app: app.clone(), viewer: viewer.clone(), request_id: request_id.clone() };
        let load = DataLoader::new(relations, tokio::spawn).delay(Duration::ZERO);
        Self { app: app.clone(), viewer: viewer.clone(), request_id, load }
    }

    /// The call that this resolver is part of.
    pub(super) fn of<'a>(ctx: &Context<'a>) -> &'a Self {
        ctx.data_unchecked()
    }

    /// What a query's verb gave.
    pub(super) fn answer<T>(&self, outcome: domain::Result<T>) -> Result<T> {
        outcome.map_err(|error| top_level(error, &self.request_id))
    }

    /// What a mutation's verb gave: what a person can fix comes as `userErrors`.
    pub(super) fn outcome<T>(&self, outcome: domain::Result<T>) -> Result<Result<T, Vec<UserError>>> {
        match outcome {
            Ok(done) => Ok(Ok(done)),
            Err(domain::Error::Rejected(rejection)) => Ok(Err(vec![rejection.into()])),
            Err(error) => Err(top_level(error, &self.request_id)),
        }
    }
}

/// An id in an argument of a query or of a subscription.
pub(super) fn id<T: FromStr<Err: std::fmt::Display>>(id: &ID) -> Result<T> {
    id.parse().map_err(bad_input)
}

/// The arguments of a mutation while they are parsed: all that is wrong is told at once.
#[derive(Default)]
pub(super) struct Arguments {
    pub(super) errors: Vec<UserError>,
}

impl Arguments {
    /// A text at this path, such as `input.email`.
    pub(super) fn text<T>(&mut self, path: &str, parsed: Result<T, BadText>) -> Option<T> {
        parsed
            .map_err(|why| {
                let code = match why {
                    BadText::Invalid(_) => UserErrorCode::Invalid,
                    BadText::TooLong(_) => UserErrorCode::TooLong,
                };
                self.errors.push(UserError::new(code, path, why));
            })
            .ok()
    }

    /// An id at this path.
    pub(super) fn id<T: FromStr<Err: std::fmt::Display>>(&mut self, path: &str, id: &ID) -> Option<T> {
        id.parse().map_err(|why| self.errors.push(UserError::new(UserErrorCode::Invalid, path, why))).ok()
    }
}

/// Loads relations, many at a time.
pub(super) struct Relations {
    app: App,
    viewer: Viewer,
    request_id: String,
}

impl Relations {
    fn loaded<T>(&self, outcome: domain::Result<T>) -> Result<T> {
        outcome.map_err(|error| top_level(error, &self.request_id))
    }
}

impl Loader<UserId> for Relations {
    type Value = User;
    type Error = Error;

    async fn load(&self, ids: &[UserId]) -> Result<HashMap<UserId, User>> {
        self.loaded(domain::users::by_ids(&self.app, &self.viewer, ids.to_vec()).await)
    }
}

impl Loader<MessageId> for Relations {
    type Value = Message;
    type Error = Error;

    async fn load(&self, ids: &[MessageId]) -> Result<HashMap<MessageId, Message>> {
        self.loaded(domain::messages::by_ids(&self.app, &self.viewer, ids.to_vec()).await)
    }
}

/// A page of a list of messages.
impl Loader<(List, Span)> for Relations {
    type Value = Page<Message>;
    type Error = Error;

    async fn load(&self, wanted: &[(List, Span)]) -> Result<HashMap<(List, Span), Page<Message>>> {
        let pages = self.loaded(domain::messages::pages(&self.app, &self.viewer, wanted.to_vec()).await)?;
        Ok(wanted.iter().copied().zip(pages).collect())
    }
}

/// A page of a user's conversations.
impl Loader<(UserId, Span)> for Relations {
    type Value = Page<Member>;
    type Error = Error;

    async fn load(&self, wanted: &[(UserId, Span)]) -> Result<HashMap<(UserId, Span), Page<Member>>> {
        let pages = self.loaded(domain::conversations::pages(&self.app, &self.viewer, wanted.to_vec()).await)?;
        Ok(wanted.iter().copied().zip(pages).collect())
    }
}

/// How many messages of a conversation a user has not read.
impl Loader<(ConversationId, UserId)> for Relations {
    type Value = i64;
    type Error = Error;

    async fn load(&self, readers: &[(ConversationId, UserId)]) -> Result<HashMap<(ConversationId, UserId), i64>> {
        let counts = self.loaded(domain::conversations::unread(&self.app, &self.viewer, readers.to_vec()).await)?;
        Ok(readers.iter().copied().zip(counts).collect())
    }
}
