//! GraphQL over WebSocket: the protocol graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! One task per socket handles messages and answers of running operations one at a time, and takes the next answer only
//! when the last one is written. This is the back-pressure: a client that does not read suspends its own operations, and
//! nothing is buffered for it.

use std::{future::pending, net::IpAddr, sync::Arc};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::FutureExt as _;
use hyper::upgrade::OnUpgrade;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    operations::{Delivery, Operations},
    responses::refused,
    server::Server,
    upgrades::{self, Upgrade},
    wires::{Close, Wire, WireResult},
};
use crate::{
    config::Limits,
    domain::{self, Viewer, connections::ClientConnection},
    execution::{Code, Request},
    graphql::Caller,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// The longest id of an operation, in bytes.
const MAX_ID_BYTES: usize = 128;
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

/// Accepts a socket, unless a page of another site opened it: browsers do not ask before they open one.
pub(super) fn open(server: Arc<Server>, upgrade: Upgrade, headers: &HeaderMap, from: Option<IpAddr>) -> Response {
    // Without an origin it is no browser.
    if headers.get(header::ORIGIN).is_some_and(|origin| !server.hosts.allows(origin, headers)) {
        let why = "This origin may not connect. The server's setting cors-origin names those that may.";
        return refused(StatusCode::FORBIDDEN, Code::Forbidden, why);
    }
    let is_ours = upgrades::has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let (response, connection) = upgrade.accept(is_ours.then(|| HeaderValue::from_static(PROTOCOL)));
    let authorization = headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty());
    let authorization = authorization.and_then(|value| value.to_str().ok().map(str::to_owned));
    let sockets = server.sockets.clone();
    sockets.spawn(run_socket(server, connection, is_ours, Credentials { authorization, from }));
    response
}

async fn run_socket(server: Arc<Server>, upgrade: OnUpgrade, is_ours: bool, credentials: Credentials) {
    // How a client disconnects does not matter.
    let Ok(connection) = upgrade.await else { return };
    let Limits { max_body, stall_timeout, .. } = server.limits;
    let mut wire = Wire::new(connection, max_body, stall_timeout).await;
    let close = if is_ours {
        let operations = Operations::new(server.clone());
        SocketSession { server, credentials, initialized: None, operations }.run(&mut wire).await
    } else {
        Some(Close::new(4406, "Subprotocol not acceptable: use graphql-transport-ws"))
    };
    Box::pin(wire.close(close)).await;
}

/// What the request that opened the socket tells of its client.
struct Credentials {
    /// The header of this name.
    authorization: Option<String>,
    from: Option<IpAddr>,
}

struct SocketSession {
    server: Arc<Server>,
    credentials: Credentials,
    /// Set by `connection_init`.
    initialized: Option<Initialized>,
    operations: Operations,
}

/// The authenticated state of a session.
struct Initialized {
    caller: Caller,
    /// The viewer after a renewal of the access token.
    renewed: watch::Receiver<Viewer>,
    connection: ClientConnection,
}

impl Initialized {
    /// Authenticates the client: by the payload's authorization, or by the header of that name.
    async fn authenticate(
        Server { app, limits, .. }: &Server,
        payload: Map<String, Value>,
        header: Option<String>,
    ) -> Result<Self, Close> {
        let authorization = match given_authorization(&payload) {
            Value::Null => header,
            // Many clients send an empty one as long as nobody has signed in.
            Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(Close::new(4403, "The authorization must be a text"));
            }
        };
        let viewer = Viewer::of(app, authorization.as_deref()).await.map_err(|error| {
            if matches!(error, domain::Error::Unauthenticated) {
                return Close::new(4403, "The access token does not hold");
            }
            tracing::warn!(%error, "a socket could not begin");
            Close::new(1013, "Try again later")
        })?;
        let too_many =
            || Close::new(1008, format!("You have {} sockets already: close one first", limits.max_user_sockets));
        let connection = ClientConnection::try_open(app, &viewer).ok_or_else(too_many)?;
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

/// The member `authorization` of a payload, in any case, or of its `headers`; null, which is nobody, if there is none.
fn given_authorization(payload: &Map<String, Value>) -> &Value {
    fn member<'a>(of: &'a Map<String, Value>, wanted: &str) -> &'a Value {
        of.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or(&Value::Null, |(_, value)| value)
    }
    match (member(payload, "authorization"), member(payload, "headers").as_object()) {
        (Value::Null, Some(headers)) => member(headers, "authorization"),
        (given, _) => given,
    }
}

/// What happens on a socket.
enum Happened {
    Received(Message),
    Answered(Delivery),
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
                // Ends come before all else, however much the client sends. Received messages come before the ping timer: they prove
                // that the client is alive.
                biased;
                () = stopping.cancelled() => return Box::pin(self.drain(wire)).await,
                why = session_ended(&mut self.initialized) => Err(Some(Close::new(4403, why))),
                () = &mut init_deadline, if self.initialized.is_none() => {
                    Err(Some(Close::new(4408, "Connection initialisation timeout")))
                }
                happened = next(wire, &mut self.operations) => match happened {
                    Ok(Happened::Received(message)) => {
                        last_received = Instant::now();
                        // Boxed to keep the future of an idle socket small.
                        Box::pin(self.on_message(wire, message)).await
                    }
                    Ok(Happened::Answered(delivery)) => self.deliver_all(wire, delivery).await,
                    Err(close) => return close,
                },
                _ = pings.tick() => {
                    if last_received.elapsed() > dead_after {
                        return None;
                    }
                    self.ping(wire).await
                }
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    /// Answers the queries and mutations that were received before the server stops.
    async fn drain(mut self, wire: &mut Wire) -> Option<Close> {
        self.operations.end_subscriptions();
        while !self.operations.is_empty() {
            let done = tokio::select! {
                biased;
                why = session_ended(&mut self.initialized) => Err(Some(Close::new(4403, why))),
                Some(delivery) = self.operations.next() => self.deliver_all(wire, delivery).await,
            };
            if let Err(close) = done {
                return close;
            }
        }
        Some(Close::new(1012, "The server restarts"))
    }

    async fn on_message(&mut self, wire: &mut Wire, message: Message) -> WireResult {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Some(Close::new(4400, "Send text, not binary"))),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        let message = serde_json::from_str(&text)
            .map_err(|_why| Close::new(4400, "This is no message of graphql-transport-ws"))?;
        match message {
            ClientMessage::ConnectionInit { .. } if self.initialized.is_some() => {
                Err(Some(Close::new(4429, "Too many initialisation requests")))
            }
            ClientMessage::ConnectionInit { payload } => {
                let (payload, header) = (payload.unwrap_or_default(), self.credentials.authorization.take());
                let mut initialized = Initialized::authenticate(&self.server, payload, header).await?;
                initialized.caller.from = self.credentials.from;
                self.initialized = Some(initialized);
                wire.send(&ServerMessage::ConnectionAck).await
            }
            ClientMessage::Ping { payload } => wire.send(&ServerMessage::Pong { payload }).await,
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
                self.operations.end(&id);
                Ok(())
            }
        }
    }

    /// Pings on both layers: some clients answer only pings of WebSocket, others see only those of graphql-transport-ws. The
    /// payload has the server's time, for clients whose clock is wrong.
    async fn ping(&mut self, wire: &mut Wire) -> WireResult {
        wire.send_frame(Message::Ping(Bytes::new())).await?;
        if self.initialized.is_some() {
            let payload = Time { at: self.server.app.now().to_string() };
            wire.send(&ServerMessage::Ping { payload }).await?;
        }
        Ok(())
    }

    async fn start_operation(&mut self, wire: &mut Wire, caller: &Caller, id: &str, request: Request) -> WireResult {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Some(Close::new(4400, "The id of an operation must have 1 to 128 bytes")));
        }
        if self.operations.contains(id) {
            // A close reason has at most 123 bytes.
            let id: String = id.chars().take(20).collect();
            return Err(Some(Close::new(4409, format!("Subscriber for {id} already exists"))));
        }
        let prepared = self.server.api.prepare(&request);
        drop(request);
        match prepared.and_then(|prepared| self.operations.start(caller, id, prepared)) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                wire.feed_json("error", id, refusal.into_errors_json()).await?;
                wire.flush().await
            }
        }
    }

    /// Sends an answer, and with it those that are there already.
    async fn deliver_all(&mut self, wire: &mut Wire, first: Delivery) -> WireResult {
        self.deliver(wire, first).await?;
        for _ in 1..MAX_DELIVERED_TOGETHER {
            let Some(Some(delivery)) = self.operations.next().now_or_never() else { break };
            self.deliver(wire, delivery).await?;
        }
        wire.flush().await
    }

    async fn deliver(&mut self, wire: &mut Wire, delivery: Delivery) -> WireResult {
        // Its permits are released when it was sent.
        let Delivery { id, answer, permits: _permits } = delivery;
        match answer {
            Some(answer) if answer.is_refusal() => {
                self.operations.end(&id);
                wire.feed_json("error", &id, answer.into_errors_json()).await
            }
            Some(answer) => wire.feed_json("next", &id, answer.into_json()).await,
            None => {
                self.operations.end(&id);
                wire.feed(&ServerMessage::Complete { id: &id }).await
            }
        }
    }
}

/// What the client says or an operation answers next, neither of them always before the other.
async fn next(wire: &mut Wire, operations: &mut Operations) -> WireResult<Happened> {
    tokio::select! {
        received = wire.receive() => received.map(Happened::Received),
        Some(delivery) = operations.next() => Ok(Happened::Answered(delivery)),
    }
}

/// Waits until the credential of an initialized session expires or is revoked.
async fn session_ended(initialized: &mut Option<Initialized>) -> &'static str {
    match initialized {
        Some(initialized) => initialized.ended().await,
        None => pending().await,
    }
}
