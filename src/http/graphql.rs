//! Requests of GraphQL over HTTP: by POST, one or a batch, by GET, and what begins a WebSocket.
//!
//! Not here: how they are parsed, how answers are written, and what comes as a stream of events.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    accepts::Accepted,
    access::Client,
    connections::Unread,
    pages, requests,
    responses::{self, Format, refused},
    server::Server,
    sockets, streams,
    upgrades::Upgrade,
};
use crate::{
    domain::{Viewer, connections::begin_request},
    execution::{Answer, Chunks, Code, MAX_HELD_BYTES, OperationType, Request as GraphqlRequest, too_large},
    graphql::{Api, Caller, Prepared},
};

/// Bytes of a query string at most.
const MAX_QUERY_STRING: usize = 16 * 1024;

/// GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>), a WebSocket upgrade, or GraphiQL.
pub(super) async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let upgrade = Upgrade::of(&mut parts);
    let Parts { method, uri, headers, extensions, .. } = parts;
    let client = Client::of(&extensions, &headers, &server.trusted_proxies);
    if let Err(refusal) = server.hosts.check_host(&headers) {
        return refusal;
    }
    match upgrade {
        Some(Ok(upgrade)) => return sockets::open(server, upgrade, &headers, client),
        Some(Err(refusal)) => return refusal,
        None => {}
    }
    match method {
        Method::POST => handle_post(&server, &headers, client, body, extensions.get()).await,
        Method::GET | Method::HEAD => {
            let accepted = Accepted::of(&headers);
            if responses::prefers_page(&accepted) {
                return pages::graphiql(headers).await;
            }
            if let Err(refusal) = server.hosts.check_page(&headers) {
                return refusal;
            }
            handle_get(&server, &headers, &accepted, client, uri.query().unwrap_or_default()).await
        }
        _ => {
            let allow = [(header::ALLOW, HeaderValue::from_static("GET, POST"))];
            (allow, not_allowed().await).into_response()
        }
    }
}

/// The answer to another method than GET and POST.
pub(super) async fn not_allowed() -> Response {
    let why = "Use POST at /graphql, or GET to read.";
    refused(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, why)
}

async fn handle_post(
    server: &Server,
    headers: &HeaderMap,
    client: Client,
    body: Body,
    unread: Option<&Unread>,
) -> Response {
    let accepted = Accepted::of(headers);
    let format = match Format::wanted(&accepted) {
        Ok(format) => format,
        Err(refusal) => return refusal,
    };
    let body = match requests::body(headers, body, &server.limits).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Some(unread) = unread {
        unread.set(false);
    }
    let caller = match caller(server, headers, client).await {
        Ok(caller) => caller,
        Err(refusal) => return format.response(refusal, None),
    };
    let parsed = requests::parse(&body, server.limits.max_batch);
    drop(body);
    match parsed {
        Ok(requests::PostBody::One(request)) => {
            let prepared = server.api.prepare(&request);
            drop(request);
            respond(server, format, &accepted, &caller, prepared).await
        }
        Ok(requests::PostBody::Batch(batch)) => {
            let format = match Format::of_batch(&accepted) {
                Ok(format) => format,
                Err(refusal) => return refusal,
            };
            match begin_request(&server.app, &caller.viewer, caller.from) {
                Ok(permit) => format.batch(run_batch(server, &caller, batch).await, permit),
                Err(error) => format.response(Api::refuse(error, &caller.record.request_id), None),
            }
        }
        Err(why) => format.response(Answer::refusal(Code::BadRequest, why), None),
    }
}

/// Runs the requests of a batch one after the other; gives their answers as a JSON array, which has the size of one answer at most.
async fn run_batch(server: &Server, caller: &Caller, batch: Vec<Result<GraphqlRequest, Answer>>) -> Chunks {
    // What is not needed of the requests is not kept while others of them are run.
    let mut bytes = 0;
    let prepare = |request: Result<GraphqlRequest, _>| {
        let prepared = server.api.prepare(&request?)?;
        if bytes + prepared.bytes() > MAX_HELD_BYTES {
            return Err(too_large("The operations of this batch", "Send them one by one.").into());
        }
        bytes += prepared.bytes();
        Ok(prepared)
    };
    let prepared: Vec<Result<Prepared, Answer>> = batch.into_iter().map(prepare).collect();
    let mut answers = Chunks::from("[".to_owned());
    for (index, mut prepared) in prepared.into_iter().enumerate() {
        // Those before it may have taken long.
        if index > 0 && prepared.as_ref().is_ok_and(|its| its.plan.operation == OperationType::Mutation) {
            let checked = caller.viewer.check(&server.app).await;
            prepared = checked.map_err(|error| Api::refuse(error, &caller.record.request_id)).and(prepared);
        }
        let remaining = server.api.max_answer(&caller.viewer).saturating_sub(answers.len());
        let answer = run(server, caller, prepared, remaining).await;
        if answers.len() > 1 {
            answers.push_str(",");
        }
        answers.append(answer.into_json());
    }
    answers.push_str("]");
    answers
}

/// Runs a request and answers it, or refuses it.
async fn respond(
    server: &Server,
    format: Format,
    accepted: &Accepted,
    caller: &Caller,
    prepared: Result<Prepared, Answer>,
) -> Response {
    let is_subscription = prepared.as_ref().is_ok_and(|its| its.plan.operation == OperationType::Subscription);
    let (format, permit) = if is_subscription {
        // It has its own limits.
        (format.of_subscription(accepted), Ok(None))
    } else {
        (format, begin_request(&server.app, &caller.viewer, caller.from))
    };
    match permit {
        Ok(permit) if format == Format::EventStream => streams::response(server, caller, prepared, permit),
        Ok(permit) => {
            let max_bytes = server.api.max_answer(&caller.viewer);
            format.response(run(server, caller, prepared, max_bytes).await, permit)
        }
        Err(error) => format.response(Api::refuse(error, &caller.record.request_id), None),
    }
}

/// The caller, by the header `Authorization`.
async fn caller(server: &Server, headers: &HeaderMap, client: Client) -> Result<Caller, Answer> {
    let viewer = Viewer::of(&server.app, requests::authorization(headers).as_deref()).await;
    let viewer = viewer.map_err(|error| Api::refuse(error, &client.record.request_id))?;
    let (from, last_event_id) = (client.address, streams::last_event_id(headers));
    Ok(Caller { from, last_event_id, ..Caller::new(viewer, client.record) })
}

/// Runs a request, unless it must not be run. Its answer has at most `max_bytes` of data.
async fn run(server: &Server, caller: &Caller, prepared: Result<Prepared, Answer>, max_bytes: usize) -> Answer {
    let refusal = match prepared {
        Ok(prepared) if prepared.plan.operation != OperationType::Subscription => {
            return server.api.execute(caller, prepared, max_bytes).await;
        }
        Ok(_subscription) => Answer::refusal(
            Code::BadRequest,
            "A subscription needs a WebSocket with the subprotocol graphql-transport-ws, or Accept: text/event-stream.",
        ),
        Err(refusal) => refusal,
    };
    caller.record.is_answered(&refusal);
    refusal
}

async fn handle_get(
    server: &Server,
    headers: &HeaderMap,
    accepted: &Accepted,
    client: Client,
    query: &str,
) -> Response {
    if query.len() > MAX_QUERY_STRING {
        let why = format!("The query string may have at most {MAX_QUERY_STRING} bytes. Send the request by POST.");
        return refused(StatusCode::URI_TOO_LONG, Code::PayloadTooLarge, why);
    }
    let format = match Format::wanted(accepted) {
        Ok(format) => format,
        Err(refusal) => return refusal,
    };
    let caller = match caller(server, headers, client).await {
        Ok(caller) => caller,
        Err(refusal) => return format.response(refusal, None),
    };
    let prepared = requests::from_query_string(query)
        .map_err(|why| Answer::refusal(Code::BadRequest, why))
        .and_then(|request| server.api.prepare(&request));
    if prepared.as_ref().is_ok_and(|prepared| prepared.plan.operation == OperationType::Mutation) {
        let allow = [(header::ALLOW, HeaderValue::from_static("POST"))];
        let why = "A mutation needs POST: GET only reads.";
        return (allow, refused(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, why)).into_response();
    }
    respond(server, format, accepted, &caller, prepared).await
}
