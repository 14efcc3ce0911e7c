//! HTTP: GraphQL over HTTP, server-sent events and WebSocket, health checks, and the pages. Only this room knows axum.
//!
//! Not here: what a request means.

mod requests;
mod access;
mod accepts;
mod compression;
mod responses;
mod server;
mod upgrades;
mod wires;
mod sessions;
mod closings;
mod operations;
mod protocols;
mod sockets;
mod streams;
mod hosts;
mod connections;
mod counters;
mod listeners;
mod metrics;
mod process;
mod addresses;
mod pages;
mod timeouts;

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::map_request,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::{
    app::App,
    config::Serve,
    domain::{Viewer, connections::begin_request},
    execution::{Answer, Chunks, Code, MAX_HELD_BYTES, OperationType, Request as GraphqlRequest, too_large},
    graphql::{Api, Caller, Prepared},
};
use accepts::Accepted;
use access::Client;
use closings::Closings;
use connections::Unread;
pub use connections::raise_descriptor_limit;
use counters::HttpCounters;
use hosts::Hosts;
pub use hosts::{BadOrigin, origins};
use listeners::accept;
pub use listeners::{CannotListen, listen};
use responses::{Format, refused};
use server::Server;
use upgrades::Upgrade;

/// Requests in flight have this long to finish once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Connections wait so long for the server to start before they are told that it does.
const START_GRACE: Duration = Duration::from_millis(200);

/// Sockets that are authenticated at a time.
const MAX_AUTHENTICATIONS: usize = 256;

/// Bytes of a query string at most.
const MAX_QUERY_STRING: usize = 16 * 1024;

/// Answers that the server is starting until `starting` completes; gives what that gives.
pub async fn answering_meanwhile<T>(
    listeners: impl IntoIterator<Item = &TcpListener>,
    Serve { limits, trusted_proxies, .. }: &Serve,
    starting: impl Future<Output = T>,
) -> T {
    const STARTING: &str = "the database is opened, and brought up to date if it must be";
    let mut starting = pin!(starting);
    // Usually it takes less, and whoever connects meanwhile need not come again.
    tokio::select! {
        done = &mut starting => return done,
        () = tokio::time::sleep(START_GRACE) => {}
    }
    let started = CancellationToken::new();
    let _guard = started.clone().drop_guard();
    let router = Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(|| async { not_ready(STARTING) }))
        .fallback(|| async {
            refused(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "The server is starting. Try again.")
        });
    let uncounted = Arc::new(HttpCounters::default());
    tokio::select! {
        done = starting => done,
        _ = accept(listeners, router, limits, trusted_proxies, &uncounted, started) => unreachable!("it ends when the token is cancelled"),
    }
}

/// Serves until `stop` completes, and for as long as it says, then finishes the requests in flight, closes the sockets, and returns.
pub async fn serve(
    listeners: Vec<TcpListener>,
    metrics_listeners: Vec<TcpListener>,
    app: &Arc<App>,
    api: Api,
    settings: &Serve,
    origins: Vec<HeaderValue>,
    stop: impl Future<Output = Duration> + Send + 'static,
) {
    let is_loopback = |listener: &TcpListener| listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let are_loopback = |listeners: &[TcpListener]| listeners.iter().all(is_loopback);
    let is_loopback_only = app.keys.is_none() && are_loopback(&listeners) && !settings.allow_open_network;
    let server = Arc::new(Server {
        app: app.clone(),
        api,
        limits: settings.limits.clone(),
        hosts: Hosts::new(is_loopback_only, origins),
        trusted_proxies: settings.trusted_proxies.clone(),
        leaving: CancellationToken::new(),
        closings: Closings::new(),
        authentications: Semaphore::new(MAX_AUTHENTICATIONS),
        counters: Arc::default(),
        probed: Arc::default(),
    });
    let (leaving, closings, stopping) = (server.leaving.clone(), server.closings.clone(), CancellationToken::new());
    let cancel = stopping.clone();
    tokio::spawn(async move {
        let drain_delay = stop.await;
        leaving.cancel();
        tokio::time::sleep(drain_delay).await;
        cancel.cancel();
    });
    let (limits, counted, uncounted) = (&settings.limits, server.counters.clone(), Arc::default());
    let scrapes = metrics::router(server.clone(), are_loopback(&metrics_listeners) && !settings.allow_open_metrics);
    let scrapes = accept(&metrics_listeners, scrapes, limits, &[], &uncounted, stopping.clone());
    let requests = accept(&listeners, router(server), limits, &settings.trusted_proxies, &counted, stopping);
    let (connections, _scrapes) = tokio::join!(requests, scrapes);
    drop((listeners, metrics_listeners));
    // The closing handshakes of sockets take a moment of it; a client that does not answer is not waited for.
    let drained = async { tokio::join!(connections.wait(), closings.close_all()) };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("some requests were not answered in time");
    }
}

fn router(server: Arc<Server>) -> Router {
    let sites = server.clone();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, parts| sites.hosts.allows(origin, &parts.headers)))
        .allow_methods([Method::GET, Method::POST])
        // There are no cookies: what a page of an allowed origin sends is what it knows itself.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([header::RETRY_AFTER, access::REQUEST_ID])
        .max_age(Duration::from_mins(10));
    let graphql = any(graphql)
        .layer::<_, Infallible>(compression::layer(server.limits.compress_above))
        .layer::<_, Infallible>(map_request(compression::only_gzip))
        .layer(cors);
    Router::new()
        .route("/graphql", graphql)
        .route("/", get(pages::graphiql))
        .route("/demo", get(pages::demo))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(pages::file)
        .method_not_allowed_fallback(not_allowed)
        .with_state(server)
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(server): State<Arc<Server>>) -> Response {
    match server.problem().await {
        None => "ok\n".into_response(),
        Some(problem) => not_ready(problem),
    }
}

fn not_ready(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
}

/// GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>), a WebSocket upgrade, or GraphiQL.
async fn graphql(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let upgrade = Upgrade::of(&mut parts);
    let Parts { method, uri, headers, extensions, .. } = parts;
    let client = Client::of(&extensions, &headers, &server.trusted_proxies);
    if !server.hosts.accepts_host(&headers) {
        return refused(StatusCode::FORBIDDEN, Code::Forbidden, hosts::WRONG_HOST);
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
            if server.hosts.is_of_refused_page(&headers) {
                return refused(StatusCode::FORBIDDEN, Code::Forbidden, hosts::WRONG_ORIGIN);
            }
            handle_get(&server, &headers, &accepted, client, uri.query().unwrap_or_default()).await
        }
        _ => {
            let allow = [(header::ALLOW, HeaderValue::from_static("GET, POST"))];
            (allow, not_allowed().await).into_response()
        }
    }
}

async fn not_allowed() -> Response {
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
        Ok(requests::PostBody::Batch(batch)) => match begin_request(&server.app, &caller.viewer, caller.from) {
            Ok(permit) => format.batch(run_batch(server, &caller, batch).await, permit),
            Err(error) => format.response(Api::refuse(error, &caller.record.request_id), None),
        },
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
