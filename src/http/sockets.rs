//! GraphQL over WebSocket: the protocol graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
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
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    access::Client,
    older_sockets,
    operations::{Delivery, Operations},
    requests,
    server::Server,
    sessions::{
        Credentials, Initialized, KeepAlive, LAST_ANSWERS_TIMEOUT, is_operation_id, session_ended, unless_ended,
    },
    upgrades::{Upgrade, has_token},
    websockets::{Close, Disconnect, SocketResult, WebSocket},
};
use crate::{
    config::Limits,
    execution::{OperationType, Request, parse_json},
    graphql::Caller,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// Answers that are sent together, if they are there together.
const MAX_DELIVERED_TOGETHER: usize = 32;

/// Messages of the client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Pong {
        #[serde(default, rename = "payload")]
        _payload: Option<Map<String, Value>>,
    },
    Subscribe {
        id: String,
        payload: Box<Request>,
    },
    Complete {
        id: String,
    },
}

/// Messages of the server, but for answers.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage<'a> {
    ConnectionAck,
    Ping {
        payload: Time,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    Complete {
        id: &'a str,
    },
}

/// The payload of a ping.
#[derive(Serialize)]
struct Time {
    at: String,
}

/// Accepts a socket, unless a page of another site opened it: browsers do not ask before they open one.
pub(super) fn open(server: Arc<Server>, upgrade: Upgrade, headers: &HeaderMap, client: Client) -> Response {
    // Without an origin it is no browser.
    if headers.contains_key(header::ORIGIN)
        && let Err(refusal) = server.hosts.check_page(headers)
    {
        return refusal;
    }
    let offers = |protocol: &&str| has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let protocol = [PROTOCOL, older_sockets::PROTOCOL].into_iter().find(offers);
    let (response, connection) = upgrade.accept(protocol.map(HeaderValue::from_static));
    let credentials = Credentials { authorization: requests::authorization(headers), client };
    let (closing, open) = server.closings.add();
    tokio::spawn(run_socket(server, connection, protocol, credentials, closing, open));
    response
}

async fn run_socket(
    server: Arc<Server>,
    upgrade: OnUpgrade,
    protocol: Option<&'static str>,
    credentials: Credentials,
    closing: CancellationToken,
    _tracked: TaskTrackerToken,
) {
    // How a client disconnects does not matter.
    let Ok(connection) = upgrade.await else { return };
    let (request_id, counters) = (credentials.client.record.request_id.clone(), server.counters.clone());
    let _open = counters.open_socket(protocol.unwrap_or("none"));
    let Limits { max_body, stall_timeout, .. } = server.limits;
    let mut socket = WebSocket::new(connection, max_body, stall_timeout).await;
    let why = match protocol {
        Some(PROTOCOL) => {
            let (credentials, operations) = (Some(credentials), Operations::new(server.clone()));
            let mut session = SocketSession { server, credentials, initialized: None, operations };
            session.run(&mut socket, &closing).await
        }
        Some(_older) => Box::pin(older_sockets::serve(&server, credentials, &mut socket, &closing)).await,
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
        let mut init_deadline = Box::pin(tokio::time::sleep(self.server.limits.init_timeout));
        let mut pings = KeepAlive::interval(&self.server.limits);
        let mut keep_alive = KeepAlive::begin();
        loop {
            let done = tokio::select! {
                // Ends come before all else, however much the client sends. Received messages come before the ping timer: they prove
                // that the client is alive.
                biased;
                () = closing.cancelled() => return Box::pin(self.drain(socket)).await,
                why = session_ended(&mut self.initialized) => return Box::pin(self.answer_mutations(socket, why)).await,
                () = &mut init_deadline, if self.initialized.is_none() => Err(Close::not_initialized_in_time().into()),
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
                    let time = self.initialized.is_some().then(|| self.server.app.now().to_string());
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
            Message::Binary(_) => return Err(Close::binary().into()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(Disconnect::Gone),
        };
        let message = parse_json(text.as_bytes())
            .map_err(|_why| Close::new(4400, "This is no message of graphql-transport-ws"))?;
        match message {
            ClientMessage::ConnectionInit { payload } => self.initialize(socket, payload.unwrap_or_default()).await,
            ClientMessage::Ping { payload } => {
                unless_ended(&mut self.initialized, socket.send(ServerMessage::Pong { payload })).await
            }
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::Subscribe { id, payload } => {
                match self.initialized.as_ref().map(|initialized| initialized.caller.clone()) {
                    Some(caller) => self.start_operation(socket, &caller, &id, *payload).await,
                    None => Err(Close::new(4401, "Unauthorized").into()),
                }
            }
            ClientMessage::Complete { id } => {
                self.operations.end(&id);
                Ok(())
            }
        }
    }

    async fn initialize(&mut self, socket: &mut WebSocket, payload: Map<String, Value>) -> SocketResult {
        // Taken only once: who comes a second time is refused.
        let Some(credentials) = self.credentials.take() else {
            return Err(Close::new(4429, "Too many initialisation requests").into());
        };
        self.initialized = Some(Initialized::authenticate(&self.server, payload, credentials).await?);
        socket.send(ServerMessage::ConnectionAck).await
    }

    async fn start_operation(
        &mut self,
        socket: &mut WebSocket,
        caller: &Caller,
        id: &str,
        request: Request,
    ) -> SocketResult {
        if !is_operation_id(id) {
            return Err(Close::bad_operation_id().into());
        }
        if self.operations.contains(id) {
            // A close reason has at most 123 bytes.
            let id: String = id.chars().take(20).collect();
            return Err(Close::new(4409, format!("Subscriber for {id} already exists")).into());
        }
        let caller = caller.on_socket(caller.viewer.clone());
        let prepared = self.server.api.prepare(&request);
        drop(request);
        let Err(refusal) = prepared.and_then(|prepared| self.operations.start(&caller, id, prepared)) else {
            return Ok(());
        };
        caller.record.is_answered(&refusal);
        let refuse = async {
            socket.feed_json("error", id, refusal.into_errors_json()).await?;
            socket.flush().await
        };
        unless_ended(&mut self.initialized, refuse).await
    }

    /// Sends an answer, and with it those that are there already.
    async fn deliver_all(&mut self, socket: &mut WebSocket, first: Delivery) -> SocketResult {
        let Self { operations, initialized, .. } = self;
        let mut sending = pin!(async {
            deliver(operations, socket, first).await?;
            for _ in 1..MAX_DELIVERED_TOGETHER {
                let Some(Some(delivery)) = operations.next().now_or_never() else { break };
                deliver(operations, socket, delivery).await?;
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

async fn deliver(operations: &mut Operations, socket: &mut WebSocket, delivery: Delivery) -> SocketResult {
    // Its permits are released when it was sent.
    let Delivery { id, answer, permits: _permits } = delivery;
    match answer {
        Some(answer) if answer.is_refusal() => {
            operations.end(&id);
            socket.feed_json("error", &id, answer.into_errors_json()).await
        }
        Some(answer) => socket.feed_json("next", &id, answer.into_json()).await,
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
