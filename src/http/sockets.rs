//! GraphQL over WebSocket: the protocol graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! One task per socket does everything in turn: it takes a message, or an answer of a running operation, and never
//! takes the next answer before the last one is written. So a client that does not read stops its own operations and
//! costs no memory.

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

use super::{Server, hosts, responses::refused};
use crate::{
    app::App,
    config::Limits,
    domain::{self, Viewer, connections::Connection},
    execution::{Answer, Code, Request},
    graphql::Caller,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// The other side has this long to close as well.
pub(super) const PARTING: Duration = Duration::from_secs(1);
/// Bytes that each socket holds ready to read into. Most say little, and there are many of them.
const READ_BUFFER: usize = 1_024;
/// The longest id of an operation, in bytes.
const MAX_ID: usize = 128;

/// What clients say.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
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

/// What the server says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Say<'a> {
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

/// What a ping tells.
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
pub(super) fn open(server: Server, upgrade: WebSocketUpgrade, headers: &HeaderMap, from: Option<IpAddr>) -> Response {
    if !hosts::is_welcome(&server, headers) {
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
        .on_upgrade(move |socket| sockets.track_future(converse(server, socket, authorization, from)))
}

async fn converse(server: Server, socket: WebSocket, authorization: Option<String>, from: Option<IpAddr>) {
    let mut wire = Wire { socket, stall_timeout: server.limits.stall_timeout };
    let close = if wire.socket.protocol().is_some_and(|protocol| protocol == PROTOCOL) {
        let (running, operations) = (SelectAll::new(), HashMap::new());
        Conversation { server, authorization, from, ready: None, running, operations }.run(&mut wire).await
    } else {
        Some(Close::new(4406, "Subprotocol not acceptable: use graphql-transport-ws"))
    };
    wire.close(close).await;
}

/// An answer of the operation with this id; `None` is its end.
type Event = (Arc<str>, Option<Answer>);

struct Conversation {
    server: Server,
    /// Of the request that opened the socket.
    authorization: Option<String>,
    from: Option<IpAddr>,
    /// Once `connection_init` came.
    ready: Option<Ready>,
    running: SelectAll<Abortable<BoxStream<'static, Event>>>,
    operations: HashMap<Arc<str>, AbortHandle>,
}

/// On whose behalf a socket speaks.
struct Ready {
    caller: Caller,
    /// With whom it goes on after a renewal.
    renewed: watch::Receiver<Viewer>,
    connection: Connection,
}

impl Ready {
    /// Finds out who speaks: by the payload's `authorization`, in whatever case, or by the header of that name.
    async fn begin(
        app: &App,
        limits: &Limits,
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
        let most = limits.max_user_sockets;
        let too_many = || Close(1008, format!("You have {most} sockets already: close one first"));
        let connection = Connection::counted(app, &viewer, most).ok_or_else(too_many)?;
        let (renewal, renewed) = watch::channel(viewer.clone());
        let renewal = viewer.user().map(|_| Arc::new(renewal));
        Ok(Self { caller: Caller { renewal, ..viewer.into() }, renewed, connection })
    }

    /// Waits until the socket must close; a renewal puts it off.
    async fn end(&mut self) -> &'static str {
        loop {
            tokio::select! {
                why = self.connection.end() => return why,
                Ok(()) = self.renewed.changed() => {
                    self.caller.viewer = self.renewed.borrow_and_update().clone();
                    self.connection.renew(&self.caller.viewer);
                }
            }
        }
    }
}

impl Conversation {
    /// Goes on until there is a reason to close, or `None` when the peer is gone.
    async fn run(mut self, wire: &mut Wire) -> Option<Close> {
        let stopping = self.server.stopping.clone();
        let Limits { init_timeout, ping_interval, dead_after, .. } = *self.server.limits;
        let init_deadline = tokio::time::sleep(init_timeout);
        tokio::pin!(init_deadline);
        let mut pings = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let done = tokio::select! {
                // What the client said comes first: it is alive.
                biased;
                () = stopping.cancelled() => Err(Some(Close::new(1012, "The server restarts"))),
                received = wire.socket.recv() => {
                    heard = Instant::now();
                    match received? {
                        Ok(message) => self.hear(wire, message).await,
                        Err(error) if error.to_string().contains("too long") => {
                            Err(Some(Close::new(1009, "Message too large")))
                        }
                        Err(_broken) => return None,
                    }
                }
                why = ended(&mut self.ready) => Err(Some(Close::new(4403, why))),
                () = &mut init_deadline, if self.ready.is_none() => {
                    Err(Some(Close::new(4408, "Connection initialisation timeout")))
                }
                _ = pings.tick() => {
                    if heard.elapsed() > dead_after {
                        return None;
                    }
                    self.ping(wire).await
                }
                Some(event) = self.running.next() => self.tell(wire, event).await,
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    async fn hear(&mut self, wire: &mut Wire, message: Message) -> Outcome {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Some(Close::new(4400, "Send text, not binary"))),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        let said = serde_json::from_str(&text)
            .map_err(|_why| Close::new(4400, "This is no message of graphql-transport-ws"))?;
        match said {
            Said::ConnectionInit { .. } if self.ready.is_some() => {
                Err(Some(Close::new(4429, "Too many initialisation requests")))
            }
            Said::ConnectionInit { payload } => {
                let (app, limits) = (&self.server.app, &self.server.limits);
                let mut ready =
                    Ready::begin(app, limits, payload.unwrap_or_default(), self.authorization.take()).await?;
                ready.caller.from = self.from;
                self.ready = Some(ready);
                wire.say(&Say::ConnectionAck).await
            }
            Said::Ping { payload } => wire.say(&Say::Pong { payload }).await,
            Said::Pong { .. } => Ok(()),
            Said::Subscribe { id, payload } => match self.ready.as_ref().map(|ready| ready.caller.clone()) {
                Some(caller) => {
                    let caller = Caller { sign_ins: Arc::default(), ..caller };
                    self.start(wire, &caller, &id, *payload).await
                }
                None => Err(Some(Close::new(4401, "Unauthorized"))),
            },
            Said::Complete { id } => {
                self.end(&id);
                Ok(())
            }
        }
    }

    /// A ping of each kind: some clients answer only those of WebSocket, and some see only those of GraphQL. It tells the
    /// server's time, for those whose clock is wrong.
    async fn ping(&mut self, wire: &mut Wire) -> Outcome {
        wire.send(Message::Ping(Bytes::new())).await?;
        if self.ready.is_some() {
            let payload = Time { at: self.server.app.now().to_string() };
            wire.say(&Say::Ping { payload }).await?;
        }
        Ok(())
    }

    async fn start(&mut self, wire: &mut Wire, caller: &Caller, id: &str, request: Request) -> Outcome {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(Some(Close::new(4400, "The id of an operation must have 1 to 128 bytes")));
        }
        if self.operations.contains_key(id) {
            // A reason has 123 bytes at most.
            let id: String = id.chars().take(20).collect();
            return Err(Some(Close(4409, format!("Subscriber for {id} already exists"))));
        }
        let most = self.server.limits.max_socket_operations;
        if self.operations.len() >= most {
            let why = format!("This socket has {most} operations already: end one first.");
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

    fn end(&mut self, id: &str) {
        if let Some(operation) = self.operations.remove(id) {
            operation.abort();
        }
    }

    async fn tell(&mut self, wire: &mut Wire, (id, answer): Event) -> Outcome {
        match answer {
            Some(answer) if answer.is_refusal() => {
                self.end(&id);
                wire.refuse(&id, &answer).await
            }
            Some(answer) => wire.say_with("next", &id, answer.json()).await,
            None => {
                self.operations.remove(&id);
                wire.say(&Say::Complete { id: &id }).await
            }
        }
    }
}

/// Waits until a socket that speaks for somebody must close.
async fn ended(ready: &mut Option<Ready>) -> &'static str {
    match ready {
        Some(ready) => ready.end().await,
        None => pending().await,
    }
}

/// Why a conversation ends, if it does; `None` when the peer is gone.
type Outcome = Result<(), Option<Close>>;

/// The socket, and how long the peer may take to take what it is sent.
struct Wire {
    socket: WebSocket,
    stall_timeout: Duration,
}

impl Wire {
    async fn refuse(&mut self, id: &str, answer: &Answer) -> Outcome {
        self.say_with("error", id, &answer.errors_json()).await
    }

    /// A message whose payload is JSON already.
    async fn say_with(&mut self, kind: &str, id: &str, payload: &str) -> Outcome {
        let id = serde_json::to_string(id).map_err(|error| broken(&error))?;
        self.send(Message::text(format!(r#"{{"type":"{kind}","id":{id},"payload":{payload}}}"#))).await
    }

    async fn say(&mut self, message: &Say<'_>) -> Outcome {
        let text = serde_json::to_string(message).map_err(|error| broken(&error))?;
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Outcome {
        match tokio::time::timeout(self.stall_timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(None),
            Err(_elapsed) => Err(Some(Close::new(1013, "The client does not read"))),
        }
    }

    async fn close(mut self, close: Option<Close>) {
        let parting = async {
            if let Some(Close(code, reason)) = close {
                let frame = CloseFrame { code, reason: reason.into() };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
            }
            // Both sides say that they close (RFC 6455, 5.5.1): our answer goes out, or theirs comes in, while we read on.
            while let Some(Ok(_)) = self.socket.recv().await {}
        };
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
}

fn broken(error: &serde_json::Error) -> Close {
    tracing::error!(%error, "a message could not be written");
    Close::new(1011, "Internal error")
}
