//! The roots of the schema, to which each noun adds its fields. And a call: what the fields of one request have at hand while they do
//! something, and how their arguments are parsed.

use std::{
    fmt::Display,
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_graphql::{ID, InputType};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    access::AccessRecord,
    context::Context,
    errors::{top_level, unauthenticated},
    payloads::{Failure, Outcome, Payload, UserError, UserErrorCode},
    sources::Source,
};
use crate::{
    app::App,
    domain::{self, Viewer},
    execution::{Code, Error, RootFields, Write},
    model::{ids::UserId, texts::BadText},
};

/// What can be asked.
pub(super) struct Query;
/// Fields that do something: each gives what is to be written.
pub(super) type Mutations = RootFields<Call, Write<Context>>;
/// Fields that can be followed: each gives the source of its events.
pub(super) type Subscriptions = RootFields<Call, Box<dyn Source>>;

/// Who calls, and how; in a batch, for all of it.
#[derive(Clone)]
pub struct Caller {
    /// On whose behalf.
    pub viewer: Viewer,
    /// On a socket of a session: takes the viewer with whom it goes on.
    pub renewal: Option<Arc<watch::Sender<Viewer>>>,
    /// From which address, if it is known.
    pub from: Option<IpAddr>,
    /// How often they tried to sign in, or up, in this request.
    pub sign_ins: Arc<AtomicU32>,
    /// The id of the last event that they have seen: a feed goes on after it.
    pub last_event_id: Option<String>,
    /// What the access log is to say.
    pub record: Arc<AccessRecord>,
}

impl Caller {
    /// The caller of a request over HTTP.
    #[must_use]
    pub fn new(viewer: Viewer, record: Arc<AccessRecord>) -> Self {
        record.is_called_by(&viewer);
        Self { viewer, record, renewal: None, from: None, sign_ins: Arc::default(), last_event_id: None }
    }

    /// The caller of one more operation on a socket, on whose behalf this one has opened it.
    #[must_use]
    pub fn on_socket(&self, viewer: Viewer) -> Self {
        let record = Arc::new(self.record.of_operation(&viewer));
        Self { viewer, record, sign_ins: Arc::default(), ..self.clone() }
    }
}

impl From<Viewer> for Caller {
    fn from(viewer: Viewer) -> Self {
        Self::new(viewer, Arc::new(AccessRecord::of_request(new_request_id())))
    }
}

/// The context of the fields of a mutation or of a subscription: it lasts for one request.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) request_id: Arc<str>,
    /// On whose behalf it is by now.
    viewer: Mutex<Viewer>,
}

impl Call {
    /// A new call.
    pub(super) fn new(app: &Arc<App>, caller: &Caller) -> Self {
        let (viewer, request_id) = (Mutex::new(caller.viewer.clone()), caller.record.request_id.clone());
        Self { app: app.clone(), caller: caller.clone(), request_id, viewer }
    }

    /// On whose behalf it is.
    pub(super) fn viewer(&self) -> Viewer {
        self.viewer.lock().clone()
    }

    /// What the fields of an answer of at most so many bytes have at hand. Boxed: it is large, and goes from one thread to another.
    pub(super) fn context(&self, max_bytes: usize) -> Box<Context> {
        Box::new(Context::new(self.app.clone(), self.viewer(), self.request_id.clone(), max_bytes))
    }

    /// From here on it is on behalf of somebody who has just signed in.
    pub(super) fn switch_viewer(&self, viewer: Viewer) {
        *self.viewer.lock() = viewer;
    }

    /// Passwords cannot be tried many at a time.
    pub(super) fn count_sign_in(&self) -> Result<(), Error> {
        if self.caller.sign_ins.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        Err(Error::new(Code::QueryTooComplex, "Sign in or up only once in a request."))
    }

    /// What the verb of a subscription gave.
    pub(super) fn answer<T>(&self, outcome: domain::Result<T>) -> Result<T, Error> {
        outcome.map_err(|error| top_level(error, &self.request_id))
    }

    /// What a mutation's verb gave: what a person can fix comes as `userErrors`.
    pub(super) fn outcome<T>(&self, outcome: domain::Result<T>) -> Result<T, Failure> {
        match outcome {
            Ok(done) => Ok(done),
            Err(domain::Error::Rejected(rejection)) => Err(Failure::UserErrors(vec![rejection.into()])),
            Err(error) => Err(top_level(error, &self.request_id).into()),
        }
    }
}

/// A new id of a request for the log.
#[must_use]
pub fn new_request_id() -> Arc<str> {
    format!("{:016x}", rand::random::<u64>()).into()
}

/// An id in an argument of a query or of a subscription.
pub(super) fn id<T: FromStr<Err: Display>>(id: &ID) -> Result<T, Error> {
    id.parse().map_err(Error::bad_input)
}

/// The user whose feed or signals are meant: the viewer, if it is not said.
pub(super) fn target_user(viewer: &Viewer, user_id: Option<&ID>) -> Result<UserId, Error> {
    match user_id {
        Some(user) => id(user),
        None if viewer.is_anonymous() => Err(unauthenticated()),
        None => {
            let why = "Say whose with `userId`: you did not sign in as a user.";
            viewer.user().ok_or_else(|| Error::bad_input(why))
        }
    }
}

/// Adds a field that changes something, with the fields of `A` as its arguments.
pub(super) fn mutation<T, A, F>(
    fields: &mut Mutations,
    name: &'static str,
    description: &'static str,
    change: impl Fn(Arc<Call>, A) -> F + Copy + Send + Sync + 'static,
) where
    T: Payload,
    A: InputType + Clone + Send + Sync + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    fields.field::<Outcome<T>, A, _>(name, description, move |call, arguments, selection| {
        let changing = change(call, arguments);
        async move {
            match changing.await {
                Ok(done) => Ok(selection.write_later(Ok(done))),
                Err(Failure::UserErrors(errors)) => Ok(selection.write_later(Err(errors))),
                Err(Failure::Failed(error)) => Err(error),
            }
        }
    });
}

/// Parses the arguments of a mutation: all that is wrong is reported at once.
#[derive(Default)]
pub(super) struct ArgumentParser {
    errors: Vec<UserError>,
}

impl ArgumentParser {
    /// What was parsed, if nothing was wrong.
    pub(super) fn finish<T>(self, parsed: Option<T>) -> Result<T, Failure> {
        parsed.filter(|_| self.errors.is_empty()).ok_or(Failure::UserErrors(self.errors))
    }

    /// A text at this path, such as `input.email`.
    pub(super) fn text<T>(&mut self, path: &'static str, parsed: Result<T, BadText>) -> Option<T> {
        let code = |why: &BadText| match why {
            BadText::Invalid(_) => UserErrorCode::Invalid,
            BadText::TooLong(_) => UserErrorCode::TooLong,
        };
        parsed.map_err(|why| self.errors.push(UserError::new(code(&why), path, why))).ok()
    }

    /// The user at this path: the viewer, if it is not said.
    pub(super) fn user(&mut self, call: &Call, path: &'static str, id: Option<&ID>) -> Result<Option<UserId>, Error> {
        let viewer = call.viewer();
        match (id, viewer.user()) {
            (Some(id), _) => Ok(self.id(path, id)),
            (None, Some(user)) => Ok(Some(user)),
            (None, None) if viewer.is_anonymous() => Err(unauthenticated()),
            (None, None) => {
                let why = "Say who it is: you did not sign in as a user.";
                self.errors.push(UserError::new(UserErrorCode::Invalid, path, why));
                Ok(None)
            }
        }
    }

    /// An id at this path.
    pub(super) fn id<T: FromStr<Err: Display>>(&mut self, path: &'static str, id: &ID) -> Option<T> {
        id.parse().map_err(|why| self.errors.push(UserError::new(UserErrorCode::Invalid, path, why))).ok()
    }
}
