//! The older protocol for WebSockets, graphql-ws of subscriptions-transport-ws
//! (<https://github.com/apollographql/subscriptions-transport-ws/blob/master/PROTOCOL.md>), as async-graphql serves it.
//!
//! Here is what that does not do: how many operations a socket has, pings, the end of the session and of the server.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::{
    body::Bytes,
    extract::{FromRequestParts, ws},
    http::{Request, header},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    time::{Instant, timeout_at},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, PollSender};

use super::{
    operations::too_many_operations,
    server::Server,
    sessions::{
        Credentials, Initialized, KeepAlive, LAST_ANSWERS_TIMEOUT, is_operation_id, session_ended, unless_ended,
    },
    websockets::{Close, Disconnect, SocketResult, WebSocket},
};
use crate::{
    execution::parse_json,
    graphql::{Drain, RequestPermits, session_data},
};

/// The name of the protocol.
pub(super) const PROTOCOL: &str = "graphql-ws";

/// The part of a message by which operations are counted, of the client or of the server.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
}

type ForwardedMessage = Result<ws::Message, axum::Error>;
/// What `connection_init` leads to, and the permits of the answers in their order.
type SessionStart = (Initialized, UnboundedReceiver<RequestPermits>);

/// The library's handler of a socket.
struct Handler<F> {
    serving: F,
    messages: mpsc::Receiver<ws::Message>,
    initializing: oneshot::Receiver<SessionStart>,
}

struct OlderSession<'a> {
    server: &'a Server,
    socket: &'a mut WebSocket,
    /// Takes messages of the client until the socket is to end.
    to_handler: Option<mpsc::Sender<ForwardedMessage>>,
    drain: Drain,
    /// Whether `connection_init` came.
    has_begun: bool,
    initialized: Option<Initialized>,
    permits: Option<UnboundedReceiver<RequestPermits>>,
    /// Why the session has ended, and until when mutations that were received before are answered.
    ended: Option<(&'static str, Instant)>,
    /// The ids of operations that go on.
    operations: HashSet<String>,
    /// The ids of operations that the client has stopped, until the handler says so: another one may have the same id already.
    stopped: Vec<String>,
}

/// Serves a socket until there is a reason to end it.
pub(super) async fn serve(
    server: &Arc<Server>,
    credentials: Credentials,
    socket: &mut WebSocket,
    closing: &CancellationToken,
) -> Disconnect {
    let drain = Drain::default();
    let (to_handler, from_client) = mpsc::channel(1);
    let Some(handler) = handler(server, credentials, from_client, drain.clone()).await else { return Disconnect::Gone };
    let session = OlderSession {
        server,
        socket,
        to_handler: Some(to_handler),
        drain,
        has_begun: false,
        initialized: None,
        permits: None,
        ended: None,
        operations: HashSet::new(),
        stopped: Vec::new(),
    };
    session.run(handler, closing).await
}

async fn handler(
    server: &Arc<Server>,
    credentials: Credentials,
    from_client: mpsc::Receiver<ForwardedMessage>,
    drain: Drain,
) -> Option<Handler<impl Future<Output = ()>>> {
    let named = Request::builder().header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL).body(()).ok()?;
    let protocol = GraphQLProtocol::from_request_parts(&mut named.into_parts().0, &()).await.ok()?;
    let (to_client, messages) = mpsc::channel(1);
    let (initialized_sender, initializing) = oneshot::channel();
    let from_client = stream::unfold((from_client, drain.clone()), |(mut messages, drain)| async {
        let message = messages.recv().await;
        if message.is_none() {
            // The handler ends as soon as there are no more messages.
            drain.done().await;
        }
        Some((message?, (messages, drain)))
    });
    let own = server.clone();
    let initialize = async move |payload: Value| {
        let payload = if let Value::Object(payload) = payload { payload } else { Map::new() };
        let initialized = Initialized::authenticate(&own, payload, credentials).await.map_err(|close| close.reason)?;
        let mut connection = own.api.connection(initialized.caller.clone(), initialized.renewed.clone());
        connection.ends_by(drain);
        // The socket may have ended meanwhile.
        let _ = initialized_sender.send((initialized, connection.permits()));
        Ok(connection)
    };
    let sender = PollSender::new(to_client);
    let handler = GraphQLWebSocket::new_with_pair(sender, Box::pin(from_client), server.api.clone(), protocol)
        .on_connection_init(async move |payload| session_data(initialize(payload).await));
    Some(Handler { serving: handler.serve(), messages, initializing })
}

impl OlderSession<'_> {
    async fn run(mut self, handler: Handler<impl Future<Output = ()>>, closing: &CancellationToken) -> Disconnect {
        let Handler { serving, mut messages, mut initializing } = handler;
        let mut serving = pin!(serving);
        let mut is_served = false;
        let mut init_deadline = pin!(tokio::time::sleep(self.server.limits.init_timeout));
        let mut last_answers = pin!(tokio::time::sleep(Duration::ZERO));
        let mut pings = KeepAlive::interval(&self.server.limits);
        let mut keep_alive = KeepAlive::begin();
        loop {
            let done = tokio::select! {
                // Ends come before all else, and what is answered before what is asked: so no more is taken in than is answered.
                biased;
                // What was handed on is still answered.
                () = closing.cancelled(), if self.to_handler.is_some() => {
                    self.to_handler = None;
                    self.drain.begin();
                    Ok(())
                }
                why = session_ended(&mut self.initialized) => {
                    last_answers.as_mut().reset(self.end_session(why));
                    Ok(())
                }
                () = &mut last_answers, if self.ended.is_some() => Err(self.end()),
                () = &mut init_deadline, if !self.has_begun => Err(Close::not_initialized_in_time().into()),
                message = messages.recv() => match message {
                    Some(message) => self.answer_in_time(message).await,
                    None => Err(self.end()),
                },
                Ok((initialized, permits)) = &mut initializing, if self.permits.is_none() => {
                    (self.initialized, self.permits) = (Some(initialized), Some(permits));
                    Ok(())
                }
                // Its last messages are still to be sent.
                () = &mut serving, if !is_served => {
                    is_served = true;
                    Ok(())
                }
                received = receive(self.socket, self.to_handler.as_ref()), if !is_served && self.to_handler.is_some() => {
                    keep_alive = KeepAlive::begin();
                    self.take(received).await
                }
                _ = pings.tick(), if self.to_handler.is_some() => {
                    if !keep_alive.may_ping(&self.server.limits) {
                        return Disconnect::Gone;
                    }
                    unless_ended(&mut self.initialized, self.socket.send_frame(Message::Ping(Bytes::new()))).await
                }
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// From now on only mutations that were received before are answered, until the instant that is returned.
    fn end_session(&mut self, why: &'static str) -> Instant {
        let deadline = Instant::now() + LAST_ANSWERS_TIMEOUT;
        (self.to_handler, self.initialized, self.ended) = (None, None, Some((why, deadline)));
        self.drain.begin_without_queries();
        deadline
    }

    /// How the socket ends once there is nothing more to send.
    fn end(&self) -> Disconnect {
        let close = match self.ended {
            Some((why, _)) => Close::new(4403, why),
            None if self.drain.has_begun() => Close::new(1012, "The server restarts"),
            None => Close::new(1000, ""),
        };
        close.into()
    }

    /// Hands a message of the client on.
    async fn take(&mut self, received: SocketResult<(Message, mpsc::OwnedPermit<ForwardedMessage>)>) -> SocketResult {
        let (message, permit) = received?;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Close::binary().into()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(Disconnect::Gone),
        };
        let unknown = || Close::new(4400, "This is no message of graphql-ws");
        let Head { kind, id } = parse_json(text.as_bytes()).map_err(|_why| unknown())?;
        match (kind.as_str(), id) {
            // The library takes the names of the newer protocol as well.
            ("start" | "subscribe", Some(id)) => {
                let max = self.server.limits.max_socket_operations;
                if !is_operation_id(&id) {
                    return Err(Close::bad_operation_id().into());
                }
                if self.operations.len() >= max && !self.operations.contains(&id) {
                    return self.refuse(&id, max).await;
                }
                self.operations.insert(id);
            }
            ("stop" | "complete", Some(id)) => {
                if self.operations.remove(&id) {
                    self.stopped.push(id);
                }
            }
            ("connection_init", _) => self.has_begun = true,
            ("stop" | "complete" | "connection_terminate" | "ping" | "pong", _) => {}
            _ => return Err(unknown().into()),
        }
        permit.send(Ok(ws::Message::Text(text.as_str().into())));
        Ok(())
    }

    async fn refuse(&mut self, id: &str, max: usize) -> SocketResult {
        let refusing = async {
            self.socket.feed_json("error", id, too_many_operations(max).into_first_error_json()).await?;
            self.socket.flush().await
        };
        unless_ended(&mut self.initialized, refusing).await
    }

    /// Sends a message of the handler; after the session has ended, until a deadline.
    async fn answer_in_time(&mut self, message: ws::Message) -> SocketResult {
        match self.ended {
            Some((_, deadline)) => {
                let answered = timeout_at(deadline, self.answer(message)).await;
                answered.unwrap_or_else(|_late| Err(self.end()))
            }
            None => self.answer(message).await,
        }
    }

    /// Sends a message of the handler.
    async fn answer(&mut self, message: ws::Message) -> SocketResult {
        match message {
            ws::Message::Text(text) => {
                if text.starts_with(r#"{"type":"complete""#)
                    && let Ok(Head { id: Some(id), .. }) = serde_json::from_str(&text)
                {
                    self.complete(&id);
                }
                // Those of an answer are released when it was sent.
                let is_answer = text.starts_with(r#"{"type":"data""#);
                let _permits = self.permits.as_mut().filter(|_| is_answer).map(UnboundedReceiver::try_recv);
                unless_ended(&mut self.initialized, self.socket.send_text(text.into())).await
            }
            ws::Message::Close(Some(frame)) => Err(Close::new(frame.code, frame.reason.as_str()).into()),
            ws::Message::Close(None) => Err(Close::new(1000, "").into()),
            ws::Message::Binary(_) | ws::Message::Ping(_) | ws::Message::Pong(_) => Ok(()),
        }
    }

    fn complete(&mut self, id: &str) {
        match self.stopped.iter().position(|stopped| stopped == id) {
            Some(at) => drop(self.stopped.swap_remove(at)),
            None => drop(self.operations.remove(id)),
        }
    }
}

/// The next message of the client, once there is room for it.
async fn receive(
    socket: &mut WebSocket,
    to_handler: Option<&mpsc::Sender<ForwardedMessage>>,
) -> SocketResult<(Message, mpsc::OwnedPermit<ForwardedMessage>)> {
    let to_handler = to_handler.cloned().ok_or(Disconnect::Gone)?;
    let permit = to_handler.reserve_owned().await.map_err(|_ended| Disconnect::Gone)?;
    Ok((socket.receive().await?, permit))
}
