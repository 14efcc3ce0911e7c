//! GraphQL over server-sent events: the protocol graphql-sse, in its «distinct connections mode»
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>).
//!
//! An event of a feed has its cursor as its id: a client that reconnects with it as `Last-Event-ID` resumes from there.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::server::Server;
use crate::{
    domain::connections::{ClientConnection, Permit},
    execution::{Answer, Chunks, Code, OperationType},
    graphql::{Caller, Prepared},
};

/// A comment is sent when there was no event for this long.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The cursor of the last event that the client has received. An empty one is none
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#concept-event-stream-last-event-id>).
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("last-event-id").filter(|id| !id.is_empty())?;
    Some(String::from_utf8_lossy(id.as_bytes()).into_owned())
}

/// The answers of an operation, one event each, and then the event `complete`. The permit is released at the end.
pub(super) fn response(
    server: &Server,
    caller: &Caller,
    prepared: Result<Prepared, Answer>,
    permit: Option<Permit>,
) -> Response {
    let max = server.limits.max_user_sockets;
    let connection = ClientConnection::try_open(&server.app, &caller.viewer);
    let too_many = || Answer::refusal(Code::Forbidden, format!("You have {max} connections already: close one first."));
    let (prepared, mut connection) = match connection {
        Some(connection) => (prepared, connection),
        None => (Err(too_many()), ClientConnection::uncounted(&server.app, &caller.viewer)),
    };
    let is_subscription = prepared.as_ref().is_ok_and(|its| its.plan.operation == OperationType::Subscription);
    let answers: BoxStream<'static, Answer> = match prepared {
        Ok(prepared) => server.api.stream(caller, prepared),
        Err(refusal) => {
            caller.record.is_answered(&refusal);
            stream::once(async move { refusal }).boxed()
        }
    };
    let (closing, open) = server.closings.add();
    let counted = server.counters.open_socket("sse");
    let stopped = async move {
        let _held = (permit, open, counted);
        if !is_subscription {
            // Its answer is sent also when the server stops, and when it has ended its own session.
            pending::<()>().await;
        }
        tokio::select! {
            () = closing.cancelled() => {}
            _ = connection.ended() => {}
        }
    };
    let events = answers
        .flat_map(|answer| stream::iter(next_event(answer)))
        .chain(stream::once(async { Bytes::from_static(b"event: complete\ndata:\n\n") }))
        .take_until(Box::pin(stopped));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // Neither may a proxy keep events back to compress them, nor nginx to fill its buffer.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    (headers, Body::from_stream(kept_alive(events).map(Ok::<_, Infallible>))).into_response()
}

/// Sends a comment whenever nothing else was sent for a while.
fn kept_alive(events: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> BoxStream<'static, Bytes> {
    stream::unfold(Box::pin(events), |mut events| async move {
        match tokio::time::timeout(KEEP_ALIVE_INTERVAL, events.next()).await {
            Ok(sent) => Some((sent?, events)),
            Err(_elapsed) => Some((Bytes::from_static(b":\n\n"), events)),
        }
    })
    .boxed()
}

/// An event in chunks. JSON has no line breaks outside of its texts, and in them they are escaped; nor has a cursor any.
fn next_event(answer: Answer) -> impl Iterator<Item = Bytes> {
    let id = answer.event_id().map(|id| format!("id: {id}\n")).unwrap_or_default();
    let mut event = Chunks::from(format!("event: next\n{id}data: "));
    event.append(answer.into_json());
    event.push_str("\n\n");
    event.into_iter().map(Bytes::from_owner)
}
