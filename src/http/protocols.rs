//! The protocols for WebSockets: graphql-transport-ws (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>), and the older
//! graphql-ws of subscriptions-transport-ws (<https://github.com/apollographql/subscriptions-transport-ws/blob/master/PROTOCOL.md>),
//! which differs in the names of some messages, and in what is said when something is refused.
//!
//! Not here: what the messages do.

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    upgrades::has_token,
    websockets::{Close, Disconnect, SocketResult, WebSocket},
};
use crate::execution::{Answer, Chunks, Request, parse_json};

/// A protocol for WebSockets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// graphql-transport-ws.
    Newer,
    /// graphql-ws.
    Older,
}

/// Messages of the client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
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
    /// `subscribe` in the older protocol.
    Start {
        id: String,
        payload: Box<Request>,
    },
    /// `complete` in the older protocol.
    Stop {
        id: String,
    },
    /// Only in the older protocol.
    ConnectionTerminate,
}

/// Messages of the server, but for answers.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    ConnectionAck,
    /// Only in the older protocol.
    ConnectionError {
        payload: Reason,
    },
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
pub(super) struct Time {
    pub(super) at: String,
}

/// The payload of an error of a connection.
#[derive(Serialize)]
pub(super) struct Reason {
    message: String,
}

impl Protocol {
    /// The first one that the client offers: the newer one, if it offers both.
    pub(super) fn offered(headers: &HeaderMap) -> Option<Self> {
        let offers = |its: &Self| has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, its.name());
        [Self::Newer, Self::Older].into_iter().find(offers)
    }

    /// Its name in the opening handshake.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Newer => "graphql-transport-ws",
            Self::Older => "graphql-ws",
        }
    }

    /// Reads a message of the client. In the older protocol clients may use the names of the newer one, too.
    pub(super) fn parse(self, text: &str) -> Result<ClientMessage, Close> {
        let unknown = || Close::new(4400, format!("This is no message of {}", self.name()));
        let message = parse_json(text.as_bytes()).map_err(|_why| unknown())?;
        let is_older = matches!(
            message,
            ClientMessage::Start { .. } | ClientMessage::Stop { .. } | ClientMessage::ConnectionTerminate
        );
        if is_older && self == Self::Newer { Err(unknown()) } else { Ok(message) }
    }

    /// How a socket ends on which an operation comes before `connection_init`.
    pub(super) fn not_initialized(self) -> Close {
        match self {
            Self::Newer => Close::new(4401, "Unauthorized"),
            Self::Older => Close::new(1011, "The handshake is not completed"),
        }
    }

    /// Ends a socket whose `connection_init` is refused. In the older protocol a message says why.
    pub(super) async fn refuse_init(self, socket: &mut WebSocket, close: Close) -> Disconnect {
        if self == Self::Newer {
            return close.into();
        }
        let payload = Reason { message: close.reason };
        let said = socket.send(ServerMessage::ConnectionError { payload }).await;
        said.err().unwrap_or_else(|| Close::new(1000, "").into())
    }

    /// Sends an answer of an operation that goes on; it may wait for [`WebSocket::flush`].
    pub(super) async fn feed_answer(self, socket: &mut WebSocket, id: &str, answer: Answer) -> SocketResult {
        let kind = if self == Self::Newer { "next" } else { "data" };
        socket.feed_json(kind, id, answer.into_json()).await
    }

    /// Sends the only answer of an operation that is not run; it may wait for [`WebSocket::flush`].
    pub(super) async fn feed_refusal(self, socket: &mut WebSocket, id: &str, refusal: Answer) -> SocketResult {
        if self == Self::Newer {
            return socket.feed_json("error", id, refusal.into_errors_json()).await;
        }
        let mut payload = Chunks::from(r#"{"data":null,"errors":"#.to_owned());
        payload.append(refusal.into_errors_json());
        payload.push_str("}");
        socket.feed_json("data", id, payload).await?;
        socket.feed(ServerMessage::Complete { id }).await
    }

    /// Sends the only answer of an operation for which the socket has no room; it may wait for [`WebSocket::flush`].
    pub(super) async fn feed_excess(self, socket: &mut WebSocket, id: &str, refusal: Answer) -> SocketResult {
        let payload = if self == Self::Newer { refusal.into_errors_json() } else { refusal.into_first_error_json() };
        socket.feed_json("error", id, payload).await
    }
}
