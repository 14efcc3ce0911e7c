//! What the access log says of operations. Texts of clients are not in it, but for the names of operations.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    domain::Viewer,
    execution::{Answer, Code, OperationType},
    model::ids::{ServiceTokenId, UserId},
};

/// Bytes of the name of an operation in the log, at most.
const MAX_NAME: usize = 64;

/// The name of an operation as the log shows it. Names are ASCII.
pub(super) fn truncated_name(name: &str) -> &str {
    name.get(..MAX_NAME).unwrap_or(name)
}

/// What will be logged of a request, or of an operation of a socket.
pub struct AccessRecord {
    /// The id in the log of the request, or of the one that has opened the socket.
    pub request_id: Arc<str>,
    began: Instant,
    /// The log has a line of each operation of a socket. Of a request over HTTP, whoever answers that knows more.
    is_of_socket: bool,
    facts: Mutex<AccessFacts>,
}

/// What is known of it so far.
#[derive(Debug, Default)]
pub struct AccessFacts {
    /// The user who signed in.
    pub user: Option<UserId>,
    /// The service token that a program has used.
    pub service_token: Option<ServiceTokenId>,
    /// What the client calls the first operation.
    pub name: Option<String>,
    /// Its type.
    pub operation: Option<OperationType>,
    /// How many operations: a batch has several.
    pub operations: u32,
    /// Of the first error.
    pub code: Option<Code>,
    /// How many answers: a subscription has several.
    pub answers: u32,
    /// Bytes of their JSON.
    pub bytes: usize,
    /// How long after the beginning the last answer was made. What its way to the client took is not in it.
    pub answered: Option<Duration>,
}

impl AccessRecord {
    /// Of a request over HTTP.
    #[must_use]
    pub fn of_request(request_id: Arc<str>) -> Self {
        Self::new(request_id, false)
    }

    fn new(request_id: Arc<str>, is_of_socket: bool) -> Self {
        Self { request_id, began: Instant::now(), is_of_socket, facts: Mutex::default() }
    }

    /// Of an operation on the socket that this request has opened.
    pub(super) fn of_operation(&self, viewer: &Viewer) -> Self {
        let record = Self::new(self.request_id.clone(), true);
        record.is_called_by(viewer);
        record
    }

    /// What is known so far. Nothing can be added meanwhile.
    pub fn facts(&self) -> MutexGuard<'_, AccessFacts> {
        self.facts.lock()
    }

    /// On whose behalf it is.
    pub fn is_called_by(&self, viewer: &Viewer) {
        let mut facts = self.facts();
        (facts.user, facts.service_token) = (viewer.user(), viewer.service_token());
    }

    /// What is asked for.
    pub(super) fn begins(&self, operation: OperationType, name: Option<&str>) {
        let mut facts = self.facts();
        facts.operations += 1;
        if facts.operations == 1 {
            facts.operation = Some(operation);
            facts.name = name.map(|name| truncated_name(name).into());
        }
    }

    /// What it was answered with.
    pub fn is_answered(&self, answer: &Answer) {
        let mut facts = self.facts();
        facts.answers += 1;
        facts.code = facts.code.or(answer.code());
        facts.bytes += answer.bytes();
        facts.answered = Some(self.elapsed());
    }

    /// The time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Milliseconds, to tenths.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        if !self.is_of_socket {
            return;
        }
        let facts = self.facts();
        tracing::info!(
            request.id = &*self.request_id,
            user = facts.user.map(display),
            service_token = facts.service_token.map(display),
            operation = facts.name.as_deref(),
            r#type = facts.operation.map(OperationType::name),
            code = facts.code.map(<&str>::from),
            ms = milliseconds(facts.answered.unwrap_or_else(|| self.elapsed())),
            bytes = facts.bytes,
            answers = facts.answers,
            "socket operation"
        );
    }
}
