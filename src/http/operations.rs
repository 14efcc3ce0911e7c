//! The operations of one WebSocket: those that run, those that wait for their turn, and how much they hold.

use std::{collections::HashMap, sync::Arc};

use futures_util::{
    StreamExt,
    stream::{self, AbortHandle, Abortable, BoxStream, SelectAll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::server::Server;
use crate::{
    domain::connections::Permit,
    execution::{Answer, Code, MAX_HELD_BYTES, OperationType, too_large},
    graphql::{Caller, Prepared},
};

/// An answer of the operation with this id; `None` when it is complete.
pub(super) struct Delivery {
    pub(super) id: Arc<str>,
    pub(super) answer: Option<Answer>,
    /// Released once the answer was sent: of the socket, and of the user.
    pub(super) permits: (Option<OwnedSemaphorePermit>, Option<Permit>),
}

/// The operations of a socket.
pub(super) struct Operations {
    server: Arc<Server>,
    running: SelectAll<Abortable<BoxStream<'static, Delivery>>>,
    by_id: HashMap<Arc<str>, Operation>,
    held_bytes: usize,
    request_permits: Arc<Semaphore>,
}

struct Operation {
    handle: AbortHandle,
    kind: OperationType,
    held_bytes: usize,
}

impl Operations {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let request_permits = Arc::new(Semaphore::new(server.limits.max_socket_requests));
        Self { server, running: SelectAll::new(), by_id: HashMap::new(), held_bytes: 0, request_permits }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Starts an operation, or lets it wait for its turn.
    pub(super) fn start(&mut self, caller: &Caller, id: &str, prepared: Prepared) -> Result<(), Answer> {
        let max = self.server.limits.max_socket_operations;
        if self.by_id.len() >= max {
            return Err(too_many_operations(max));
        }
        let held_bytes = prepared.bytes();
        if self.held_bytes + held_bytes > MAX_HELD_BYTES {
            return Err(too_large("The operations of this socket", "End one first.").into());
        }
        let id: Arc<str> = id.into();
        let (named, ended) = (id.clone(), id.clone());
        let kind = prepared.plan.operation;
        let deliveries = if kind == OperationType::Subscription {
            let answers = self.server.api.stream(caller, prepared);
            answers
                .map(move |answer| Delivery { id: named.clone(), answer: Some(answer), permits: (None, None) })
                .boxed()
        } else {
            let run = run(self.server.clone(), self.request_permits.clone(), caller.clone(), named, prepared);
            stream::once(run).boxed()
        };
        let end = stream::once(async move { Delivery { id: ended, answer: None, permits: (None, None) } });
        let (handle, registration) = AbortHandle::new_pair();
        self.running.push(Abortable::new(deliveries.chain(end).boxed(), registration));
        self.by_id.insert(id, Operation { handle, kind, held_bytes });
        self.held_bytes += held_bytes;
        Ok(())
    }

    /// Ends an operation, if it goes on still.
    pub(super) fn end(&mut self, id: &str) {
        if let Some(operation) = self.by_id.remove(id) {
            operation.handle.abort();
            self.held_bytes -= operation.held_bytes;
        }
    }

    /// Ends all operations of some kinds.
    pub(super) fn end_all(&mut self, ends: impl Fn(OperationType) -> bool) {
        for (_, operation) in self.by_id.extract_if(|_, operation| ends(operation.kind)) {
            operation.handle.abort();
            self.held_bytes -= operation.held_bytes;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The next answer of any of them; `None` if there are none.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        self.running.next().await
    }
}

/// The answer to an operation for which a socket has no room.
pub(super) fn too_many_operations(max: usize) -> Answer {
    Answer::refusal(Code::BadRequest, format!("This socket has {max} operations already: end one first."))
}

/// Runs a query or a mutation, once it is its turn.
async fn run(
    server: Arc<Server>,
    socket: Arc<Semaphore>,
    caller: Caller,
    id: Arc<str>,
    prepared: Prepared,
) -> Delivery {
    let turn = socket.acquire_owned().await.ok();
    let (answer, permit) = server.api.execute_in_turn(&caller, prepared).await;
    Delivery { id, answer: Some(answer), permits: (turn, permit) }
}
