//! GraphQL over WebSocket: the protocol graphql-transport-ws
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).
//!
//! One task per socket does everything in turn: it takes a message, or an answer of a running operation, and never
//! takes the next answer before the last one is written. So a client that does not read stops its own operations and
//! costs no memory.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures_util::{
    StreamExt,
    stream::{self, AbortHandle, Abortable, BoxStream, SelectAll},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Server, hosts, responses::refused};
use crate::{
    domain::Viewer,
    graphql::{Answer, Code, Request},
};

const PROTOCOL: &str = "graphql-transport-ws";
/// A ping goes out this often.
const PING: Duration = Duration::from_secs(25);
/// A peer that was not heard of for this long is gone.
const DEAD: Duration = Duration::from_mins(1);
/// A message that could not be written in this time ends the socket.
const STALLED: Duration = Duration::from_secs(30);
/// The other side has this long to close as well.
const PARTING: Duration = Duration::from_secs(1);
/// The longest id of an operation, in bytes.
const MAX_ID: usize = 128;

/// What clients say.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    ConnectionInit {
        #[serde(default, rename = "payload")]
        _payload: Option<Map<String, Value>>,
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
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    Next {
        id: &'a str,
        payload: &'a Answer,
    },
    Error {
        id: &'a str,
        payload: &'a [Value],
    },
    Complete {
        id: &'a str,
    },
}

/// Why a socket ends: a close code and a reason for people.
struct Close(u16, String);

impl Close {
    fn new(code: u16, reason: &str) -> Self {
        Self(code, reason.to_owned())
    }
}

/// Takes a socket in, unless a page of another site opened it: browsers do not ask before they open one.
pub(super) fn open(server: Server, upgrade: WebSocketUpgrade, headers: &HeaderMap) -> Response {
    if !hosts::is_welcome(&server, headers) {
        let why = "This origin may not connect. The server's setting cors-origin names those that may.";
        return refused(StatusCode::FORBIDDEN, Code::Forbidden, why);
    }
    let sockets = server.sockets.clone();
    let max = server.limits.max_body;
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(max)
        .max_frame_size(max)
        .on_upgrade(move |socket| sockets.track_future(converse(server, socket)))
}

async fn converse(server: Server, mut socket: WebSocket) {
    let close = if socket.protocol().is_some_and(|protocol| protocol == PROTOCOL) {
        let viewer = Viewer::open(&server.app);
        Conversation { server, viewer, ready: false, running: SelectAll::new(), operations: HashMap::new() }
            .run(&mut socket)
            .await
    } else {
        Some(Close::new(4406, "Subprotocol not acceptable: use graphql-transport-ws"))
    };
    if let Some(Close(code, reason)) = close {
        let frame = CloseFrame { code, reason: reason.into() };
        let _ = tokio::time::timeout(STALLED, socket.send(Message::Close(Some(frame)))).await;
    }
    // Both sides say that they close (RFC 6455, 5.5.1): our answer goes out, or theirs comes in, while we read on.
    let _ = tokio::time::timeout(PARTING, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// An answer of the operation with this id; `None` is its end.
type Event = (String, Option<Answer>);

struct Conversation {
    server: Server,
    viewer: Viewer,
    /// Whether `connection_init` came.
    ready: bool,
    running: SelectAll<Abortable<BoxStream<'static, Event>>>,
    operations: HashMap<String, AbortHandle>,
}

impl Conversation {
    /// Goes on until there is a reason to close, or `None` when the peer is gone.
    async fn run(mut self, socket: &mut WebSocket) -> Option<Close> {
        let stopping = self.server.stopping.clone();
        let init_deadline = tokio::time::sleep(self.server.limits.init_timeout);
        tokio::pin!(init_deadline);
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let done = tokio::select! {
                received = socket.recv() => {
                    heard = Instant::now();
                    match received? {
                        Ok(message) => self.hear(socket, message).await,
                        Err(error) if error.to_string().contains("too long") => {
                            Err(Some(Close::new(1009, "Message too large")))
                        }
                        Err(_broken) => return None,
                    }
                }
                Some(event) = self.running.next() => self.tell(socket, event).await,
                () = &mut init_deadline, if !self.ready => {
                    Err(Some(Close::new(4408, "Connection initialisation timeout")))
                }
                _ = pings.tick() => {
                    if heard.elapsed() > DEAD {
                        return None;
                    }
                    send(socket, Message::Ping(Bytes::new())).await
                }
                () = stopping.cancelled() => Err(Some(Close::new(1012, "The server restarts"))),
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    async fn hear(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), Option<Close>> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Some(Close::new(4400, "Send text, not binary"))),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        let said = serde_json::from_str(&text)
            .map_err(|_why| Close::new(4400, "This is no message of graphql-transport-ws"))?;
        match said {
            Said::ConnectionInit { .. } if self.ready => {
                Err(Some(Close::new(4429, "Too many initialisation requests")))
            }
            Said::ConnectionInit { .. } => {
                self.ready = true;
                say(socket, &Say::ConnectionAck).await
            }
            Said::Ping { payload } => say(socket, &Say::Pong { payload }).await,
            Said::Pong { .. } => Ok(()),
            Said::Subscribe { .. } if !self.ready => Err(Some(Close::new(4401, "Unauthorized"))),
            Said::Subscribe { id, payload } => self.start(socket, id, *payload).await,
            Said::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn start(&mut self, socket: &mut WebSocket, id: String, request: Request) -> Result<(), Option<Close>> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(Some(Close::new(4400, "The id of an operation must have 1 to 128 bytes")));
        }
        if self.operations.contains_key(&id) {
            // A reason has 123 bytes at most.
            let id: String = id.chars().take(20).collect();
            return Err(Some(Close(4409, format!("Subscriber for {id} already exists"))));
        }
        let most = self.server.limits.max_socket_operations;
        if self.operations.len() >= most {
            let why = format!("This socket has {most} operations already: end one first.");
            return refuse(socket, &id, &Answer::refusal(Code::BadRequest, why)).await;
        }
        let answers = match self.server.api.prepare(request) {
            Ok(prepared) => self.server.api.stream(&self.viewer, prepared),
            Err(answer) => return refuse(socket, &id, &answer).await,
        };
        let (named, ended) = (id.clone(), id.clone());
        let events = answers.map(move |answer| (named.clone(), Some(answer)));
        let end = stream::once(async move { (ended, None) });
        let (handle, registration) = AbortHandle::new_pair();
        self.running.push(Abortable::new(events.chain(end).boxed(), registration));
        self.operations.insert(id, handle);
        Ok(())
    }

    async fn tell(&mut self, socket: &mut WebSocket, (id, answer): Event) -> Result<(), Option<Close>> {
        match answer {
            Some(answer) if answer.is_refusal() => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.abort();
                }
                refuse(socket, &id, &answer).await
            }
            Some(answer) => say(socket, &Say::Next { id: &id, payload: &answer }).await,
            None => {
                self.operations.remove(&id);
                say(socket, &Say::Complete { id: &id }).await
            }
        }
    }
}

async fn refuse(socket: &mut WebSocket, id: &str, answer: &Answer) -> Result<(), Option<Close>> {
    let errors: Vec<Value> = answer.errors().iter().filter_map(|error| serde_json::to_value(error).ok()).collect();
    say(socket, &Say::Error { id, payload: &errors }).await
}

async fn say(socket: &mut WebSocket, message: &Say<'_>) -> Result<(), Option<Close>> {
    let text = serde_json::to_string(message).map_err(|error| {
        tracing::error!(%error, "a message could not be written");
        Close::new(1011, "Internal error")
    })?;
    send(socket, Message::text(text)).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Option<Close>> {
    match tokio::time::timeout(STALLED, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_gone)) => Err(None),
        Err(_elapsed) => Err(Some(Close::new(1013, "The client does not read"))),
    }
}
