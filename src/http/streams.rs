//! GraphQL over server-sent events: the protocol graphql-sse, in its «distinct connections mode»
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>).
//!
//! An event of a feed has its cursor as its id: a client that reconnects with it as `Last-Event-ID` resumes from there.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::server::Server;
use crate::{
    domain::connections::ClientConnection,
    execution::{Answer, Code},
    graphql::{Caller, Prepared},
};

/// A comment is sent when there was no event for this long.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The cursor of the last event that the client has received.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<String> {
    headers.get("last-event-id")?.to_str().ok().map(str::to_owned)
}

/// The answers of an operation, one event each, and then the event `complete`.
pub(super) fn response(server: &Server, caller: &Caller, prepared: Result<Prepared, Answer>) -> Response {
    let max = server.limits.max_user_sockets;
    let connection = ClientConnection::try_open(&server.app, &caller.viewer, max);
    let too_many = || Answer::refusal(Code::Forbidden, format!("You have {max} connections already: close one first."));
    let (prepared, mut connection) = match connection {
        Some(connection) => (prepared, connection),
        None => (Err(too_many()), ClientConnection::uncounted(&server.app, &caller.viewer)),
    };
    let answers: BoxStream<'static, Answer> = match prepared {
        Ok(prepared) => server.api.stream(caller, prepared),
        Err(answer) => stream::once(async move { answer }).boxed(),
    };
    let stopping = server.stopping.clone();
    let stopped = async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            _ = connection.ended() => {}
        }
    };
    let complete = stream::once(async { Event::default().event("complete").data("") });
    let events = answers
        .map(|answer| next_event(&answer))
        .chain(complete)
        .take_until(Box::pin(stopped))
        .map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)).into_response()
}

fn next_event(answer: &Answer) -> Event {
    let event = Event::default().event("next");
    let event = match answer.event_id() {
        Some(id) => event.id(id),
        None => event,
    };
    event.data(answer.json())
}
