//! GraphQL over WebSocket, in either protocol.
//!
//! One task per socket handles messages and answers of running operations one at a time, and takes the next answer only
//! when the last one is written. This is the back-pressure: a client that does not read suspends its own operations, and
//! nothing is buffered for it.

use std::{pin::pin, sync::Arc};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures_util::FutureExt as _;
use hyper::upgrade::OnUpgrade;
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    access::Client,
    operations::{Delivery, Operations},
    protocols::{ClientMessage, Protocol, ServerMessage, Time},
    requests,
    server::Server,
    sessions::{Credentials, Initialized, KeepAlive, LAST_ANSWERS_TIMEOUT, MAX_ID_BYTES, session_ended, unless_ended},
    upgrades::Upgrade,
    websockets::{Close, Disconnect, SocketResult, WebSocket},
};
use crate::{
    config::Limits,
    execution::{Answer, Code, OperationType, Request},
    graphql::Caller,
};

/// Answers that are sent together, if they are there together.
const MAX_DELIVERED_TOGETHER: usize = 32;

/// Accepts a socket, unless a page of another site opened it: browsers do not ask before they open one.
pub(super) fn open(server: Arc<Server>, upgrade: Upgrade, headers: &HeaderMap, client: Client) -> Response {
    // Without an origin it is no browser.
    if headers.contains_key(header::ORIGIN)
        && let Err(refusal) = server.hosts.check_page(headers)
    {
        return refusal;
    }
    let protocol = Protocol::offered(headers);
    let (response, connection) = upgrade.accept(protocol.map(Protocol::name).map(HeaderValue::from_static));
    let credentials = Credentials { authorization: requests::authorization(headers), client };
    let (closing, open) = server.closings.add();
    tokio::spawn(run_socket(server, connection, protocol, credentials, closing, open));
    response
}

async fn run_socket(
    server: Arc<Server>,
    upgrade: OnUpgrade,
    protocol: Option<Protocol>,
    credentials: Credentials,
    closing: CancellationToken,
    _tracked: TaskTrackerToken,
) {
    // How a client disconnects does not matter.
    let Ok(connection) = upgrade.await else { return };
    let (request_id, counters) = (credentials.client.record.request_id.clone(), server.counters.clone());
    let _open = counters.open_socket(protocol.map_or("none", Protocol::name));
    let Limits { max_body, stall_timeout, .. } = server.limits;
    let mut socket = WebSocket::new(connection, max_body, stall_timeout).await;
    let why = match protocol {
        Some(protocol) => {
            let (credentials, operations) = (Some(credentials), Operations::new(server.clone()));
            let mut session = SocketSession { server, protocol, credentials, initialized: None, operations };
            session.run(&mut socket, &closing).await
        }
        None => Close::new(4406, "Subprotocol not acceptable: use graphql-transport-ws").into(),
    };
    let code = match &why {
        Disconnect::Close(Close { code, .. }) => Some(*code),
        Disconnect::Gone => None,
    };
    counters.count_close(code);
    tracing::info!(request.id = &*request_id, code, "socket closed");
    Box::pin(socket.close(why)).await;
}

struct SocketSession {
    server: Arc<Server>,
    protocol: Protocol,
    /// Taken by `connection_init`.
    credentials: Option<Credentials>,
    /// Set by `connection_init`.
    initialized: Option<Initialized>,
    operations: Operations,
}

/// What happens on a socket.
enum SocketEvent {
    Received(Message),
    Answered(Delivery),
}

impl SocketSession {
    /// Runs until there is a reason to end it. There are many idle sockets, each with a future of this size: what is not awaited then is
    /// boxed, and the session is borrowed, as a future has room for an argument twice.
    async fn run(&mut self, socket: &mut WebSocket, closing: &CancellationToken) -> Disconnect {
        let Limits { init_timeout, ping_interval, .. } = self.server.limits;
        let mut init_deadline = Box::pin(tokio::time::sleep(init_timeout));
        let mut pings = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keep_alive = KeepAlive::begin();
        loop {
            let done = tokio::select! {
                // Ends come before all else, however much the client sends. Received messages come before the ping timer: they prove
                // that the client is alive.
                biased;
                () = closing.cancelled() => return Box::pin(self.drain(socket)).await,
                why = session_ended(&mut self.initialized) => return Box::pin(self.answer_mutations(socket, why)).await,
                () = &mut init_deadline, if self.initialized.is_none() => {
                    Err(Close::new(4408, "Connection initialisation timeout").into())
                }
                happened = next(socket, &mut self.operations) => match happened {
                    Ok(SocketEvent::Received(message)) => {
                        keep_alive = KeepAlive::begin();
                        Box::pin(self.on_message(socket, message)).await
                    }
                    Ok(SocketEvent::Answered(delivery)) => Box::pin(self.deliver_all(socket, delivery)).await,
                    Err(why) => return why,
                },
                _ = pings.tick() => {
                    if !keep_alive.may_ping(&self.server.limits) {
                        return Disconnect::Gone;
                    }
                    // Older clients take no such message.
                    let time = self.initialized.is_some() && self.protocol == Protocol::Newer;
                    let time = time.then(|| self.server.app.now().to_string());
                    Box::pin(unless_ended(&mut self.initialized, ping(time, socket))).await
                }
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Answers the queries and mutations that were received before the server stops. Nothing says that the subscriptions end: after
    /// `complete` their client would not begin them again when it reconnects.
    async fn drain(&mut self, socket: &mut WebSocket) -> Disconnect {
        self.operations.end_all(|kind| kind == OperationType::Subscription);
        while !self.operations.is_empty() {
            let done = tokio::select! {
                biased;
                why = session_ended(&mut self.initialized) => return self.answer_mutations(socket, why).await,
                Some(delivery) = self.operations.next() => self.deliver_all(socket, delivery).await,
            };
            if let Err(why) = done {
                return why;
            }
        }
        Close::new(1012, "The server restarts").into()
    }

    /// Answers the mutations that were received before the session ended.
    async fn answer_mutations(&mut self, socket: &mut WebSocket, why: &'static str) -> Disconnect {
        self.operations.end_all(|kind| kind != OperationType::Mutation);
        self.initialized = None;
        let answering = async {
            while !self.operations.is_empty() {
                let Some(delivery) = self.operations.next().await else { break };
                self.deliver_all(socket, delivery).await?;
            }
            Ok(())
        };
        match timeout(LAST_ANSWERS_TIMEOUT, answering).await {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => Close::new(4403, why).into(),
        }
    }

    async fn on_message(&mut self, socket: &mut WebSocket, message: Message) -> SocketResult {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Close::new(4400, "Send text, not binary").into()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(Disconnect::Gone),
        };
        match self.protocol.parse(&text)? {
            ClientMessage::ConnectionInit { payload } => self.initialize(socket, payload.unwrap_or_default()).await,
            ClientMessage::Ping { payload } => {
                unless_ended(&mut self.initialized, socket.send(ServerMessage::Pong { payload })).await
            }
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::Subscribe { id, payload } | ClientMessage::Start { id, payload } => {
                match self.initialized.as_ref().map(|initialized| initialized.caller.clone()) {
                    Some(caller) => self.start_operation(socket, &caller, &id, *payload).await,
                    None => Err(self.protocol.not_initialized().into()),
                }
            }
            ClientMessage::Complete { id } | ClientMessage::Stop { id } => {
                if self.operations.end(&id) && self.protocol == Protocol::Older {
                    let complete = socket.send(ServerMessage::Complete { id: &id });
                    unless_ended(&mut self.initialized, complete).await?;
                }
                Ok(())
            }
            ClientMessage::ConnectionTerminate => Err(Close::new(1000, "").into()),
        }
    }

    async fn initialize(&mut self, socket: &mut WebSocket, payload: Map<String, Value>) -> SocketResult {
        // Taken only once: who comes a second time is refused.
        let initialized = match self.credentials.take() {
            Some(credentials) => Initialized::authenticate(&self.server, payload, credentials).await,
            None => Err(Close::new(4429, "Too many initialisation requests")),
        };
        match initialized {
            Ok(initialized) => {
                self.initialized = Some(initialized);
                socket.send(ServerMessage::ConnectionAck).await
            }
            Err(close) => Err(self.protocol.refuse_init(socket, close).await),
        }
    }

    async fn start_operation(
        &mut self,
        socket: &mut WebSocket,
        caller: &Caller,
        id: &str,
        request: Request,
    ) -> SocketResult {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Close::new(4400, "The id of an operation must have 1 to 128 bytes").into());
        }
        if self.operations.contains(id) {
            if self.protocol == Protocol::Newer {
                // A close reason has at most 123 bytes.
                let id: String = id.chars().take(20).collect();
                return Err(Close::new(4409, format!("Subscriber for {id} already exists")).into());
            }
            self.operations.end(id);
        }
        let (caller, protocol) = (caller.on_socket(caller.viewer.clone()), self.protocol);
        let max = self.server.limits.max_socket_operations;
        let is_excess = self.operations.len() >= max;
        let started = if is_excess {
            let why = format!("This socket has {max} operations already: end one first.");
            Err(Answer::refusal(Code::BadRequest, why))
        } else {
            self.server.api.prepare(&request).and_then(|prepared| self.operations.start(&caller, id, prepared))
        };
        drop(request);
        let Err(refusal) = started else { return Ok(()) };
        caller.record.is_answered(&refusal);
        let refuse = async {
            if is_excess {
                protocol.feed_excess(socket, id, refusal).await?;
            } else {
                protocol.feed_refusal(socket, id, refusal).await?;
            }
            socket.flush().await
        };
        unless_ended(&mut self.initialized, refuse).await
    }

    /// Sends an answer, and with it those that are there already.
    async fn deliver_all(&mut self, socket: &mut WebSocket, first: Delivery) -> SocketResult {
        let Self { operations, initialized, protocol, .. } = self;
        let mut sending = pin!(async {
            deliver(*protocol, operations, socket, first).await?;
            for _ in 1..MAX_DELIVERED_TOGETHER {
                let Some(Some(delivery)) = operations.next().now_or_never() else { break };
                deliver(*protocol, operations, socket, delivery).await?;
            }
            socket.flush().await
        });
        let why = tokio::select! {
            biased;
            sent = &mut sending => return sent,
            why = session_ended(initialized) => why,
        };
        // It may be the answer of the mutation that has ended the session.
        timeout(LAST_ANSWERS_TIMEOUT, sending).await.unwrap_or_else(|_late| Err(Close::new(4403, why).into()))
    }
}

/// Pings on both layers: some clients answer only pings of WebSocket, others see only those of graphql-transport-ws. The
/// payload has the server's time, for clients whose clock is wrong.
async fn ping(time: Option<String>, socket: &mut WebSocket) -> SocketResult {
    socket.send_frame(Message::Ping(Bytes::new())).await?;
    if let Some(at) = time {
        socket.send(ServerMessage::Ping { payload: Time { at } }).await?;
    }
    Ok(())
}

async fn deliver(
    protocol: Protocol,
    operations: &mut Operations,
    socket: &mut WebSocket,
    delivery: Delivery,
) -> SocketResult {
    // Its permits are released when it was sent.
    let Delivery { id, answer, permits: _permits } = delivery;
    match answer {
        Some(answer) if answer.is_refusal() => {
            operations.end(&id);
            protocol.feed_refusal(socket, &id, answer).await
        }
        Some(answer) => protocol.feed_answer(socket, &id, answer).await,
        None => {
            operations.end(&id);
            socket.feed(ServerMessage::Complete { id: &id }).await
        }
    }
}

/// What the client says or an operation answers next, neither of them always before the other.
async fn next(socket: &mut WebSocket, operations: &mut Operations) -> SocketResult<SocketEvent> {
    tokio::select! {
        received = socket.receive() => received.map(SocketEvent::Received),
        Some(delivery) = operations.next() => Ok(SocketEvent::Answered(delivery)),
    }
}
