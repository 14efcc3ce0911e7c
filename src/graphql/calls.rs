//! A call: what every resolver of one request has at hand, and how its arguments are parsed.

use std::{
    fmt::Display,
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use async_graphql::{Context, ID, Result, Value, dataloader::DataLoader};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;

use super::{
    UserError, UserErrorCode,
    errors::{Code, bad_input, field_error, top_level},
    loads::{Loads, Relations},
    subscriptions::{News, Source},
    written::Written,
};
use crate::{
    app::App,
    domain::{self, Viewer},
    model::{feed::Cursor, ids::UserId, texts::BadText},
};

/// What every resolver of one request has at hand.
pub(super) struct Call {
    pub(super) app: App,
    who: Who,
    renewal: Option<Arc<watch::Sender<Viewer>>>,
    sign_ins: Arc<AtomicU32>,
    /// From where.
    pub(super) from: Option<IpAddr>,
    pub(super) request_id: String,
    pub(super) load: DataLoader<Relations>,
    pub(super) written: Written,
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
    pub(super) fn new(app: &App, asker: &Asker, written: Written) -> (Self, Loads) {
        let request_id = new_request_id();
        let who = Who::is(asker.viewer.clone());
        let relations = Relations { app: app.clone(), who: who.clone(), request_id: request_id.clone() };
        let (load, loads) = relations.loader();
        let (app, renewal, sign_ins, from) = (app.clone(), asker.renewal.clone(), asker.sign_ins.clone(), asker.from);
        let call =
            Self { app, who, renewal, sign_ins, from, request_id, load, written, cursors: Vec::new(), turn: None };
        (call, loads)
    }

    /// On whose behalf it is.
    pub(super) fn viewer(&self) -> Viewer {
        self.who.now()
    }

    /// From here on it is on behalf of somebody who has just signed in.
    pub(super) fn go_on_as(&self, viewer: Viewer) {
        self.who.becomes(viewer);
    }

    /// The connection of the call, if its end can be moved.
    pub(super) fn renewable(&self) -> Option<&watch::Sender<Viewer>> {
        self.renewal.as_deref()
    }

    /// Passwords cannot be tried many at a time.
    pub(super) fn count_sign_in(&self) -> Result<()> {
        if self.sign_ins.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        Err(field_error(Code::QueryTooComplex, "Sign in or up only once in a request."))
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
            if let Ok(cursor) = domain::feed::cursor(&self.app, &self.viewer(), id).await {
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

/// By which the log tells of a request.
pub(super) fn new_request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// An id in an argument of a query or of a subscription.
pub(super) fn id<T: FromStr<Err: Display>>(id: &ID) -> Result<T> {
    id.parse().map_err(bad_input)
}

/// On whose behalf a call is, for all parts of it.
#[derive(Clone)]
pub(super) struct Who(Arc<Mutex<Viewer>>);

impl Who {
    fn is(viewer: Viewer) -> Self {
        Self(Arc::new(Mutex::new(viewer)))
    }

    pub(super) fn now(&self) -> Viewer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn becomes(&self, viewer: Viewer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = viewer;
    }
}

/// Who asks, and how; in a batch, for all of it.
#[derive(Clone)]
pub struct Asker {
    /// On whose behalf.
    pub viewer: Viewer,
    /// On a socket of a session: takes the viewer with whom it goes on.
    pub renewal: Option<Arc<watch::Sender<Viewer>>>,
    /// From which address, if it is known.
    pub from: Option<IpAddr>,
    /// How often they tried to sign in, or up, in this request.
    pub sign_ins: Arc<AtomicU32>,
}

impl From<Viewer> for Asker {
    fn from(viewer: Viewer) -> Self {
        Self { viewer, renewal: None, from: None, sign_ins: Arc::default() }
    }
}

/// The user whose feed or signals are meant: the viewer, if it is not said.
pub(super) fn whose(call: &Call, user_id: Option<&ID>) -> Result<UserId> {
    match user_id {
        Some(user) => id(user),
        None => match call.viewer() {
            viewer if viewer.is_nobody() => Err(top_level(domain::Error::Unauthenticated, &call.request_id)),
            viewer => viewer.user().ok_or_else(|| bad_input("Say whose with `userId`: you did not sign in as a user.")),
        },
    }
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

    /// The user at this path: the viewer, if it is not said.
    pub(super) fn user(&mut self, call: &Call, path: &str, id: Option<&ID>) -> Result<Option<UserId>> {
        let viewer = call.viewer();
        match (id, viewer.user()) {
            (Some(id), _) => Ok(self.id(path, id)),
            (None, Some(user)) => Ok(Some(user)),
            (None, None) if viewer.is_nobody() => Err(top_level(domain::Error::Unauthenticated, &call.request_id)),
            (None, None) => {
                let why = "Say who it is: you did not sign in as a user.";
                self.errors.push(UserError::new(UserErrorCode::Invalid, path, why));
                Ok(None)
            }
        }
    }

    /// An id at this path.
    pub(super) fn id<T: FromStr<Err: Display>>(&mut self, path: &str, id: &ID) -> Option<T> {
        id.parse().map_err(|why| self.errors.push(UserError::new(UserErrorCode::Invalid, path, why))).ok()
    }
}
