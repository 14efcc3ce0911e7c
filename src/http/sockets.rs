//! GraphQL over WebSocket: the protocol graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! One task per socket handles messages and answers of running operations one at a time, and takes the next answer only
//! when the last one is written. This is the back-pressure: a client that does not read suspends its own operations, and
//! nothing is buffered for it.

use std::{collections::HashMap, future::pending, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use futures_util::{
    StreamExt,
    stream::{self, AbortHandle, Abortable, BoxStream, SelectAll},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{hosts, responses::refused, server::Server};
use crate::{
    config::Limits,
    domain::{self, Viewer, connections::ClientConnection},
    execution::{Answer, Code, Request},
    graphql::Caller,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// The client has this long to complete the closing handshake.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the read buffer of each socket: there are many sockets, and most messages are small.
const READ_BUFFER: usize = 1_024;
/// The longest id of an operation, in bytes.
const MAX_ID_BYTES: usize = 128;

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

/// Messages of the server.
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

/// Why a socket ends: a close code and a reason for people.
struct Close(u16, String);

impl Close {
    fn new(code: u16, reason: &str) -> Self {
        Self(code, reason.to_owned())
    }
}

/// Takes a socket in, unless a page of another site opened it: browsers do not ask before they open one.
pub(super) fn open(
    server: Arc<Server>,
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    from: Option<IpAddr>,
) -> Response {
    if !hosts::is_allowed_origin(&server, headers) {
        let why = "This origin may not connect. The server's setting cors-origin names those that may.";
        return refused(StatusCode::FORBIDDEN, Code::Forbidden, why);
    }
    let sockets = server.sockets.clone();
    let max = server.limits.max_body;
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok().map(str::to_owned));
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(max)
        .max_frame_size(max)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .on_upgrade(move |socket| sockets.track_future(run_socket(server, socket, authorization, from)))
}

async fn run_socket(server: Arc<Server>, socket: WebSocket, authorization: Option<String>, from: Option<IpAddr>) {
    let mut wire = Wire { socket, stall_timeout: server.limits.stall_timeout };
    let close = if wire.socket.protocol().is_some_and(|protocol| protocol == PROTOCOL) {
        let (running, operations) = (SelectAll::new(), HashMap::new());
        SocketSession { server, authorization, from, initialized: None, running, operations }.run(&mut wire).await
    } else {
        Some(Close::new(4406, "Subprotocol not acceptable: use graphql-transport-ws"))
    };
    Box::pin(wire.close(close)).await;
}

/// An answer of the operation with this id; `None` when it is complete.
type OperationEvent = (Arc<str>, Option<Answer>);

struct SocketSession {
    server: Arc<Server>,
    /// The header of the request that opened the socket.
    authorization: Option<String>,
    from: Option<IpAddr>,
    /// Set by `connection_init`.
    initialized: Option<Initialized>,
    running: SelectAll<Abortable<BoxStream<'static, OperationEvent>>>,
    operations: HashMap<Arc<str>, AbortHandle>,
}

/// The authenticated state of a session.
struct Initialized {
    caller: Caller,
    /// The viewer after a renewal of the access token.
    renewed: watch::Receiver<Viewer>,
    connection: ClientConnection,
}

impl Initialized {
    /// Authenticates the client: by the payload's `authorization`, in any case, or by the header of that name.
    async fn authenticate(
        Server { app, limits, .. }: &Server,
        payload: Map<String, Value>,
        header: Option<String>,
    ) -> Result<Self, Close> {
        let given = payload.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let authorization = match given {
            Some((_, Value::String(text))) => Some(text),
            Some(_) => return Err(Close::new(4403, "The authorization must be a text")),
            None => header,
        };
        let viewer = Viewer::of(app, authorization.as_deref()).await.map_err(|error| {
            if matches!(error, domain::Error::Unauthenticated) {
                return Close::new(4403, "The access token does not hold");
            }
            tracing::warn!(%error, "a socket could not begin");
            Close::new(1013, "Try again later")
        })?;
        let max = limits.max_user_sockets;
        let too_many = || Close(1008, format!("You have {max} sockets already: close one first"));
        let connection = ClientConnection::try_open(app, &viewer, max).ok_or_else(too_many)?;
        let (renewal, renewed) = watch::channel(viewer.clone());
        let renewal = viewer.user().map(|_| Arc::new(renewal));
        Ok(Self { caller: Caller { renewal, ..viewer.into() }, renewed, connection })
    }

    /// Waits until the credential expires or is revoked; a renewal replaces it. Gives the reason to close with.
    async fn ended(&mut self) -> &'static str {
        loop {
            tokio::select! {
                why = self.connection.ended() => return why,
                Ok(()) = self.renewed.changed() => {
                    self.caller.viewer = self.renewed.borrow_and_update().clone();
                    self.connection.renew(&self.caller.viewer);
                }
            }
        }
    }
}

impl SocketSession {
    /// Runs until there is a reason to close; `None` when the client is gone.
    async fn run(mut self, wire: &mut Wire) -> Option<Close> {
        let stopping = self.server.stopping.clone();
        let Limits { init_timeout, ping_interval, dead_after, .. } = self.server.limits;
        let mut init_deadline = Box::pin(tokio::time::sleep(init_timeout));
        let mut pings = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_received = Instant::now();
        loop {
            let done = tokio::select! {
                // Received messages come before the ping timer: they prove that the client is alive.
                biased;
                () = stopping.cancelled() => Err(Some(Close::new(1012, "The server restarts"))),
                received = wire.socket.recv() => {
                    last_received = Instant::now();
                    match received? {
                        // Boxed to keep the future of an idle socket small.
                        Ok(message) => Box::pin(self.on_message(wire, message)).await,
                        Err(error) if error.to_string().contains("too long") => {
                            Err(Some(Close::new(1009, "Message too large")))
                        }
                        Err(_broken) => return None,
                    }
                }
                why = session_ended(&mut self.initialized) => Err(Some(Close::new(4403, why))),
                () = &mut init_deadline, if self.initialized.is_none() => {
                    Err(Some(Close::new(4408, "Connection initialisation timeout")))
                }
                _ = pings.tick() => {
                    if last_received.elapsed() > dead_after {
                        return None;
                    }
                    self.ping(wire).await
                }
                Some(event) = self.running.next() => self.deliver(wire, event).await,
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    async fn on_message(&mut self, wire: &mut Wire, message: Message) -> SocketResult {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Some(Close::new(4400, "Send text, not binary"))),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        let message = serde_json::from_str(&text)
            .map_err(|_why| Close::new(4400, "This is no message of graphql-transport-ws"))?;
        match message {
            ClientMessage::ConnectionInit { .. } if self.initialized.is_some() => {
                Err(Some(Close::new(4429, "Too many initialisation requests")))
            }
            ClientMessage::ConnectionInit { payload } => {
                let (payload, header) = (payload.unwrap_or_default(), self.authorization.take());
                let mut initialized = Initialized::authenticate(&self.server, payload, header).await?;
                initialized.caller.from = self.from;
                self.initialized = Some(initialized);
                wire.send_message(&ServerMessage::ConnectionAck).await
            }
            ClientMessage::Ping { payload } => wire.send_message(&ServerMessage::Pong { payload }).await,
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::Subscribe { id, payload } => {
                match self.initialized.as_ref().map(|initialized| initialized.caller.clone()) {
                    Some(caller) => {
                        let caller = Caller { sign_ins: Arc::default(), ..caller };
                        self.start_operation(wire, &caller, &id, *payload).await
                    }
                    None => Err(Some(Close::new(4401, "Unauthorized"))),
                }
            }
            ClientMessage::Complete { id } => {
                self.end_operation(&id);
                Ok(())
            }
        }
    }

    /// Pings on both layers: some clients answer only pings of WebSocket, others see only those of graphql-transport-ws. The
    /// payload has the server's time, for clients whose clock is wrong.
    async fn ping(&mut self, wire: &mut Wire) -> SocketResult {
        wire.send_frame(Message::Ping(Bytes::new())).await?;
        if self.initialized.is_some() {
            let payload = Time { at: self.server.app.now().to_string() };
            wire.send_message(&ServerMessage::Ping { payload }).await?;
        }
        Ok(())
    }

    async fn start_operation(&mut self, wire: &mut Wire, caller: &Caller, id: &str, request: Request) -> SocketResult {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Some(Close::new(4400, "The id of an operation must have 1 to 128 bytes")));
        }
        if self.operations.contains_key(id) {
            // A close reason has at most 123 bytes.
            let id: String = id.chars().take(20).collect();
            return Err(Some(Close(4409, format!("Subscriber for {id} already exists"))));
        }
        let max = self.server.limits.max_socket_operations;
        if self.operations.len() >= max {
            let why = format!("This socket has {max} operations already: end one first.");
            return wire.refuse(id, &Answer::refusal(Code::BadRequest, why)).await;
        }
        let answers = match self.server.api.prepare(&request) {
            Ok(prepared) => self.server.api.stream(caller, prepared),
            Err(answer) => return wire.refuse(id, &answer).await,
        };
        let id: Arc<str> = id.into();
        let (named, ended) = (id.clone(), id.clone());
        let events = answers.map(move |answer| (named.clone(), Some(answer)));
        let end = stream::once(async move { (ended, None) });
        let (handle, registration) = AbortHandle::new_pair();
        self.running.push(Abortable::new(events.chain(end).boxed(), registration));
        self.operations.insert(id, handle);
        Ok(())
    }

    fn end_operation(&mut self, id: &str) {
        if let Some(operation) = self.operations.remove(id) {
            operation.abort();
        }
    }

    async fn deliver(&mut self, wire: &mut Wire, (id, answer): OperationEvent) -> SocketResult {
        match answer {
            Some(answer) if answer.is_refusal() => {
                self.end_operation(&id);
                wire.refuse(&id, &answer).await
            }
            Some(answer) => wire.send_json("next", &id, answer.json()).await,
            None => {
                self.operations.remove(&id);
                wire.send_message(&ServerMessage::Complete { id: &id }).await
            }
        }
    }
}

/// Waits until the credential of an initialized session expires or is revoked.
async fn session_ended(initialized: &mut Option<Initialized>) -> &'static str {
    match initialized {
        Some(initialized) => initialized.ended().await,
        None => pending().await,
    }
}

/// `Err` ends the session: with a close frame, or `None` when the client is gone.
type SocketResult = Result<(), Option<Close>>;

/// The socket, and how long a write may take.
struct Wire {
    socket: WebSocket,
    stall_timeout: Duration,
}

impl Wire {
    async fn refuse(&mut self, id: &str, answer: &Answer) -> SocketResult {
        self.send_json("error", id, &answer.errors_json()).await
    }

    /// Sends a message whose payload is JSON already.
    async fn send_json(&mut self, kind: &str, id: &str, payload: &str) -> SocketResult {
        let id = serde_json::to_string(id).map_err(|error| serialization_failed(&error))?;
        self.send_frame(Message::text(format!(r#"{{"type":"{kind}","id":{id},"payload":{payload}}}"#))).await
    }

    async fn send_message(&mut self, message: &ServerMessage<'_>) -> SocketResult {
        let text = serde_json::to_string(message).map_err(|error| serialization_failed(&error))?;
        self.send_frame(Message::text(text)).await
    }

    async fn send_frame(&mut self, message: Message) -> SocketResult {
        match tokio::time::timeout(self.stall_timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(None),
            Err(_elapsed) => Err(Some(Close::new(1013, "The client does not read"))),
        }
    }

    async fn close(mut self, close: Option<Close>) {
        let handshake = async {
            if let Some(Close(code, reason)) = close {
                let frame = CloseFrame { code, reason: reason.into() };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
            }
            // Both sides send a close frame (RFC 6455, 5.5.1): reading on sends our reply, or receives theirs.
            while let Some(Ok(_)) = self.socket.recv().await {}
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, handshake).await;
    }
}

fn serialization_failed(error: &serde_json::Error) -> Close {
    tracing::error!(%error, "a message could not be written");
    Close::new(1011, "Internal error")
}
