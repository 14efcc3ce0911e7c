//! Calls: who sends a request, and what its fields have at hand while they do something.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{access::AccessRecord, context::Context, errors::top_level, payloads::Failure};
use crate::{
    app::App,
    domain::{self, Viewer},
    execution::{Code, Error},
};

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
        Err(signs_in_twice())
    }

    /// What the verb of a subscription gave.
    pub(super) fn or_error<T>(&self, outcome: domain::Result<T>) -> Result<T, Error> {
        outcome.map_err(|error| top_level(error, &self.request_id))
    }

    /// What a mutation's verb gave: what a person can fix comes as `userErrors`.
    pub(super) fn or_failure<T>(&self, outcome: domain::Result<T>) -> Result<T, Failure> {
        match outcome {
            Ok(done) => Ok(done),
            Err(domain::Error::Rejected(rejection)) => Err(Failure::UserErrors(vec![rejection.into()])),
            Err(error) => Err(top_level(error, &self.request_id).into()),
        }
    }
}

/// The error where somebody signs in or up twice in a request.
pub(super) fn signs_in_twice() -> Error {
    Error::new(Code::QueryTooComplex, "Sign in or up only once in a request.")
}

/// A new id of a request for the log.
#[must_use]
pub fn new_request_id() -> Arc<str> {
    format!("{:016x}", rand::random::<u64>()).into()
}
