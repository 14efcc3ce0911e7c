//! A call: what every resolver of one request has at hand, and how its arguments are parsed.

use std::{
    fmt::Display,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::{Context, ID, Result, Value, dataloader::DataLoader};
use futures_util::{Stream, StreamExt};

use super::{
    UserError, UserErrorCode,
    errors::{bad_input, top_level},
    loads::{Loads, Relations},
    subscriptions::{News, Source},
};
use crate::{
    app::App,
    domain::{self, Viewer},
    model::{feed::Cursor, ids::UserId, texts::BadText},
};

/// What every resolver of one request has at hand.
pub(super) struct Call {
    pub(super) app: App,
    pub(super) viewer: Viewer,
    pub(super) request_id: String,
    pub(super) load: DataLoader<Relations>,
    /// Where feeds stood before anything of the request was read.
    pub(super) cursors: Vec<(UserId, Cursor)>,
    turn: Option<Turn>,
}

/// What the resolver of a subscription is called for.
pub(super) enum Turn {
    /// To put the source of its news here.
    Begins(Arc<Mutex<Option<Source>>>),
    /// To say this.
    Says(News),
}

impl Call {
    /// A new call, and what it will load.
    pub(super) fn new(app: &App, viewer: &Viewer) -> (Self, Loads) {
        let request_id = format!("{:016x}", rand::random::<u64>());
        let relations = Relations { app: app.clone(), viewer: viewer.clone(), request_id: request_id.clone() };
        let (load, loads) = relations.loader();
        (Self { app: app.clone(), viewer: viewer.clone(), request_id, load, cursors: Vec::new(), turn: None }, loads)
    }

    /// The same in a turn of a subscription.
    pub(super) fn in_turn(self, turn: Turn) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// What a subscription has to say; `None` while it begins.
    pub(super) fn news(&self) -> Option<&News> {
        if let Some(Turn::Says(news)) = &self.turn { Some(news) } else { None }
    }

    /// Begins a subscription with the source of its news.
    pub(super) fn begin(&self, source: impl Stream<Item = domain::Result<News>> + Send + 'static) {
        if let Some(Turn::Begins(place)) = &self.turn {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(source.boxed());
        }
    }

    /// Reads where the feeds of these users stand; one that cannot be read is told by its field.
    pub(super) async fn read_cursors(&mut self, users: &[Value]) {
        for user in users {
            let id = if let Value::String(id) = user { id.parse() } else { user.to_string().parse() };
            let Ok(id) = id else { continue };
            if let Ok(cursor) = domain::feed::cursor(&self.app, &self.viewer, id).await {
                self.cursors.push((id, cursor));
            }
        }
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
pub(super) fn id<T: FromStr<Err: Display>>(id: &ID) -> Result<T> {
    id.parse().map_err(bad_input)
}

/// The user whose feed or signals are meant.
pub(super) fn whose(user_id: Option<&ID>) -> Result<UserId> {
    id(user_id.ok_or_else(|| bad_input("Say whose with `userId`: on this server nobody is signed in."))?)
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

    /// What is not there although in open mode it must be.
    pub(super) fn missing<T>(&mut self, path: &str, why: &str) -> Option<T> {
        let why = format!("{why}: on this server nobody is signed in.");
        self.errors.push(UserError::new(UserErrorCode::Invalid, path, why));
        None
    }

    /// An id at this path.
    pub(super) fn id<T: FromStr<Err: Display>>(&mut self, path: &str, id: &ID) -> Option<T> {
        id.parse().map_err(|why| self.errors.push(UserError::new(UserErrorCode::Invalid, path, why))).ok()
    }
}
