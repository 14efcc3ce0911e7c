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
use serde_json::{Map, Value, json};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    time::{Instant, MissedTickBehavior, timeout_at},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, PollSender};

use super::{
    server::Server,
    sessions::{Credentials, Initialized, LAST_ANSWERS_TIMEOUT, MAX_ID_BYTES, Silence, session_ended, unless_ended},
    wires::{Close, Wire, WireResult},
};
use crate::{
    config::Limits,
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

/// Serves a socket until there is a reason to close it; `None` when the client is gone.
pub(super) async fn serve(
    server: &Arc<Server>,
    credentials: Credentials,
    wire: &mut Wire,
    closing: &CancellationToken,
) -> Option<Close> {
    let named = Request::builder().header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL).body(()).ok()?;
    let protocol = GraphQLProtocol::from_request_parts(&mut named.into_parts().0, &()).await.ok()?;
    let (to_handler, from_client) = mpsc::channel(1);
    let (to_client, mut from_handler) = mpsc::channel(1);
    let (initialized_sender, mut initializing) = oneshot::channel();
    let drain = Drain::default();
    let from_client = stream::unfold((from_client, drain.clone()), |(mut messages, drain)| async {
        let message = messages.recv().await;
        if message.is_none() {
            // The handler ends as soon as there are no more messages.
            drain.done().await;
        }
        Some((message?, (messages, drain)))
    });
    let (own, draining) = (server.clone(), drain.clone());
    let initialize = async move |payload: Value| {
        let payload = if let Value::Object(payload) = payload { payload } else { Map::new() };
        let initialized = Initialized::authenticate(&own, payload, credentials).await.map_err(|Close(_, why)| why)?;
        let mut connection = own.api.connection(initialized.caller.clone(), initialized.renewed.clone());
        connection.ends_by(draining);
        // The socket may have ended meanwhile.
        let _ = initialized_sender.send((initialized, connection.permits()));
        Ok(connection)
    };
    let handler = GraphQLWebSocket::new_with_pair(
        PollSender::new(to_client),
        Box::pin(from_client),
        server.api.clone(),
        protocol,
    )
    .on_connection_init(async move |payload| session_data(initialize(payload).await));
    let mut handler = pin!(handler.serve());
    let (operations, stopped) = (HashSet::new(), Vec::new());
    let mut socket =
        OlderSocket { server, wire, has_begun: false, initialized: None, permits: None, operations, stopped };

    let Limits { init_timeout, ping_interval, .. } = server.limits;
    let mut init_deadline = pin!(tokio::time::sleep(init_timeout));
    let mut pings = tokio::time::interval_at(Instant::now() + ping_interval, ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::begin();
    let (mut to_handler, mut is_over) = (Some(to_handler), false);
    // Why the session has ended, while what was asked before is answered.
    let mut ended = None;
    let mut last_answers = pin!(tokio::time::sleep(Duration::ZERO));
    loop {
        let done = tokio::select! {
            // Ends come before all else, and what is answered before what is asked: so no more is taken in than is answered.
            biased;
            // What was handed on is still answered.
            () = closing.cancelled(), if to_handler.is_some() => {
                to_handler = None;
                drain.begin();
                Ok(())
            }
            why = session_ended(&mut socket.initialized) => {
                (to_handler, socket.initialized, ended) = (None, None, Some(why));
                drain.begin_without_queries();
                last_answers.as_mut().reset(Instant::now() + LAST_ANSWERS_TIMEOUT);
                Ok(())
            }
            () = &mut last_answers, if ended.is_some() => Err(ended.map(|why| Close::new(4403, why))),
            () = &mut init_deadline, if !socket.has_begun => {
                Err(Some(Close::new(4408, "Connection initialisation timeout")))
            }
            message = from_handler.recv() => match message {
                Some(message) => {
                    let last = ended.map(|why| (last_answers.deadline(), Close::new(4403, why)));
                    socket.answer_until(message, last).await
                }
                None => Err(Some(match ended {
                    Some(why) => Close::new(4403, why),
                    None if drain.has_begun() => Close::new(1012, "The server restarts"),
                    None => Close::new(1000, ""),
                })),
            },
            Ok((initialized, permits)) = &mut initializing, if socket.permits.is_none() => {
                (socket.initialized, socket.permits) = (Some(initialized), Some(permits));
                Ok(())
            }
            // Its last messages are still to be sent.
            () = &mut handler, if !is_over => {
                is_over = true;
                Ok(())
            }
            received = receive(&mut *socket.wire, to_handler.as_ref()), if !is_over && to_handler.is_some() => match received {
                Ok((message, permit)) => {
                    silence = Silence::begin();
                    socket.take(message, permit).await
                }
                Err(close) => Err(close),
            },
            _ = pings.tick(), if to_handler.is_some() => {
                if !silence.may_ping(&server.limits) {
                    return None;
                }
                unless_ended(&mut socket.initialized, socket.wire.send_frame(Message::Ping(Bytes::new()))).await
            }
        };
        if let Err(close) = done {
            return close;
        }
    }
}

type ForwardedMessage = Result<ws::Message, axum::Error>;

struct OlderSocket<'a> {
    server: &'a Server,
    wire: &'a mut Wire,
    /// Whether `connection_init` came.
    has_begun: bool,
    initialized: Option<Initialized>,
    /// Those of the answers, in their order.
    permits: Option<UnboundedReceiver<RequestPermits>>,
    /// The ids of operations that go on.
    operations: HashSet<String>,
    /// The ids of operations that the client has stopped, until the handler says so: another one may have the same id already.
    stopped: Vec<String>,
}

impl OlderSocket<'_> {
    /// Hands a message of the client on.
    async fn take(&mut self, message: Message, permit: mpsc::OwnedPermit<ForwardedMessage>) -> WireResult {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Err(Some(Close::new(4400, "Send text, not binary"))),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(None),
        };
        let unknown = || Close::new(4400, "This is no message of graphql-ws");
        let Head { kind, id } = parse_json(text.as_bytes()).map_err(|_why| unknown())?;
        match (kind.as_str(), id) {
            // The library takes the names of the newer protocol as well.
            ("start" | "subscribe", Some(id)) => {
                let max = self.server.limits.max_socket_operations;
                if id.is_empty() || id.len() > MAX_ID_BYTES {
                    return Err(Some(Close::new(4400, "The id of an operation must have 1 to 128 bytes")));
                }
                if self.operations.len() >= max && !self.operations.contains(&id) {
                    let why = format!("This socket has {max} operations already: end one first.");
                    let error = json!({ "message": why, "extensions": { "code": "BAD_REQUEST" } });
                    let refusal = json!({ "type": "error", "id": id, "payload": error });
                    return unless_ended(&mut self.initialized, self.wire.send(refusal)).await;
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
            _ => return Err(Some(unknown())),
        }
        permit.send(Ok(ws::Message::Text(text.as_str().into())));
        Ok(())
    }

    fn ended(&mut self, id: &str) {
        match self.stopped.iter().position(|stopped| stopped == id) {
            Some(at) => drop(self.stopped.swap_remove(at)),
            None => drop(self.operations.remove(id)),
        }
    }

    /// Sends what the handler has to say; after the session has ended, until a deadline.
    async fn answer_until(&mut self, message: ws::Message, last: Option<(Instant, Close)>) -> WireResult {
        let sending = self.answer(message);
        match last {
            Some((deadline, close)) => timeout_at(deadline, sending).await.unwrap_or(Err(Some(close))),
            None => sending.await,
        }
    }

    /// Sends what the handler has to say.
    async fn answer(&mut self, message: ws::Message) -> WireResult {
        match message {
            ws::Message::Text(text) => {
                if text.starts_with(r#"{"type":"complete""#)
                    && let Ok(Head { id: Some(id), .. }) = serde_json::from_str(&text)
                {
                    self.ended(&id);
                }
                // Those of an answer are released when it was sent.
                let is_answer = text.starts_with(r#"{"type":"data""#);
                let _permits = self.permits.as_mut().filter(|_| is_answer).map(UnboundedReceiver::try_recv);
                unless_ended(&mut self.initialized, self.wire.send_text(text.into())).await
            }
            ws::Message::Close(Some(frame)) => Err(Some(Close::new(frame.code, frame.reason.as_str()))),
            ws::Message::Close(None) => Err(Some(Close::new(1000, ""))),
            ws::Message::Binary(_) | ws::Message::Ping(_) | ws::Message::Pong(_) => Ok(()),
        }
    }
}

/// The next message of the client, once there is room for it.
async fn receive(
    wire: &mut Wire,
    to_handler: Option<&mpsc::Sender<ForwardedMessage>>,
) -> WireResult<(Message, mpsc::OwnedPermit<ForwardedMessage>)> {
    let to_handler = to_handler.cloned().ok_or(None)?;
    let permit = to_handler.reserve_owned().await.map_err(|_ended| None)?;
    Ok((wire.receive().await?, permit))
}
