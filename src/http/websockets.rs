//! A WebSocket: messages in both directions, how long a write may take, and the closing handshake.

use std::{fmt, time::Duration};

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::{CapacityError, ProtocolError},
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::execution::{CHUNK_BYTES, Chunks};

/// The client has this long to complete the closing handshake.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the read buffer of each socket: there are many sockets, and most messages are small.
const READ_BUFFER: usize = 1_024;
/// Bytes that are written together, if they come together.
const WRITE_BUFFER: usize = 4 * 1_024;

/// Bytes of a reason at most (RFC 6455, 5.5: with the code a close frame has at most 125).
const MAX_REASON_BYTES: usize = 123;

/// What a close frame says: a code, and a reason for people.
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Close {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        Self { code, reason }
    }

    pub(super) fn binary() -> Self {
        Self::new(4400, "Send text, not binary")
    }

    pub(super) fn bad_operation_id() -> Self {
        Self::new(4400, "The id of an operation must have 1 to 128 bytes")
    }

    pub(super) fn not_initialized_in_time() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }
}

/// Why a socket ends.
pub(super) enum Disconnect {
    /// The server closes it.
    Close(Close),
    /// The client is gone.
    Gone,
}

impl From<Close> for Disconnect {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// `Err` ends the socket.
pub(super) type SocketResult<T = ()> = Result<T, Disconnect>;

/// The socket, and how long a write may take.
pub(super) struct WebSocket {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    stall_timeout: Duration,
}

impl WebSocket {
    /// A connection that goes on as a WebSocket, with messages of at most `max_message` bytes from the client.
    pub(super) async fn new(connection: Upgraded, max_message: usize, stall_timeout: Duration) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message))
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
        Self { socket, stall_timeout }
    }

    /// The next message of the client.
    pub(super) async fn receive(&mut self) -> SocketResult<Message> {
        match self.socket.next().await {
            Some(Ok(message)) => {
                // Its pong is sent before anything more is read: those that a client does not read would gather.
                if message.is_ping() {
                    self.flush().await?;
                }
                Ok(message)
            }
            Some(Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                Err(Close::new(1009, "Message too large").into())
            }
            Some(Err(tungstenite::Error::Utf8(_))) => Err(Close::new(1007, "A text is not UTF-8").into()),
            Some(Err(tungstenite::Error::Protocol(violation))) if !is_end(&violation) => {
                Err(Close::new(1002, violation.to_string()).into())
            }
            Some(Err(_)) | None => Err(Disconnect::Gone),
        }
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: impl Serialize) -> SocketResult {
        self.feed(message).await?;
        self.flush().await
    }

    /// Sends a message, which may wait for [`WebSocket::flush`].
    pub(super) async fn feed(&mut self, message: impl Serialize) -> SocketResult {
        let text = serde_json::to_string(&message).map_err(serialization_failed)?;
        // As values it may hold a hundred times as much.
        drop(message);
        self.feed_frame(Message::text(text)).await
    }

    /// Sends a message at once.
    pub(super) async fn send_frame(&mut self, message: Message) -> SocketResult {
        self.feed_frame(message).await?;
        self.flush().await
    }

    /// Sends a message whose payload is JSON already; it may wait for [`WebSocket::flush`]. A large one is sent in fragments
    /// (RFC 6455, 5.4), so that no buffer has to hold all of it.
    pub(super) async fn feed_json(&mut self, kind: &str, id: &str, payload: Chunks) -> SocketResult {
        let id = serde_json::to_string(id).map_err(serialization_failed)?;
        let mut message = Chunks::with_room_for(&payload);
        message.push_str(&format!(r#"{{"type":"{kind}","id":{id},"payload":"#));
        message.append(payload);
        message.push_str("}");
        self.feed_fragments(message.into_iter().map(Bytes::from_owner)).await
    }

    /// Sends a text, in fragments if it is large: each of them may take as long as a message.
    pub(super) async fn send_text(&mut self, text: Bytes) -> SocketResult {
        let fragments = (0..text.len()).step_by(CHUNK_BYTES);
        self.feed_fragments(fragments.map(|at| text.slice(at..text.len().min(at + CHUNK_BYTES)))).await?;
        self.flush().await
    }

    async fn feed_fragments(&mut self, fragments: impl Iterator<Item = Bytes>) -> SocketResult {
        let (mut fragments, mut opcode) = (fragments.peekable(), Data::Text);
        while let Some(fragment) = fragments.next() {
            let frame = Frame::message(fragment, OpCode::Data(opcode), fragments.peek().is_none());
            self.feed_frame(Message::Frame(frame)).await?;
            opcode = Data::Continue;
        }
        Ok(())
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> SocketResult {
        in_time(self.stall_timeout, self.socket.flush()).await
    }

    async fn feed_frame(&mut self, message: Message) -> SocketResult {
        in_time(self.stall_timeout, self.socket.feed(message)).await
    }

    /// Says why, and completes the closing handshake.
    pub(super) async fn close(mut self, why: Disconnect) {
        let handshake = async {
            if let Disconnect::Close(Close { code, reason }) = why {
                let frame = CloseFrame { code: code.into(), reason: reason.into() };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
            }
            // Both sides send a close frame (RFC 6455, 5.5.1): reading on sends our reply, or receives theirs.
            while self.receive().await.is_ok() {}
            // After an error nothing is read there any more. What the client still sends would reset the connection, before the
            // client has read why.
            let connection = self.socket.get_mut();
            let _ = connection.shutdown().await;
            let _ = tokio::io::copy(connection, &mut tokio::io::sink()).await;
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, handshake).await;
    }
}

/// Whether the client went away in the middle, or goes on after its end: then there is nobody to tell.
fn is_end(violation: &ProtocolError) -> bool {
    matches!(violation, ProtocolError::ResetWithoutClosingHandshake | ProtocolError::ReceivedAfterClosing)
}

async fn in_time(limit: Duration, write: impl Future<Output = Result<(), tungstenite::Error>>) -> SocketResult {
    match tokio::time::timeout(limit, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_gone)) => Err(Disconnect::Gone),
        Err(_elapsed) => Err(Close::new(1013, "The client does not read").into()),
    }
}

fn serialization_failed(error: impl fmt::Display) -> Close {
    tracing::error!(%error, "a message could not be written");
    Close::new(1011, "Internal error")
}
