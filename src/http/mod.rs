//! Wire: GraphQL over HTTP and WebSocket, health, and the pages. Only this room knows axum.
//!
//! Not here: what a request means.

mod requests;
mod responses;
mod sockets;
mod streams;
mod hosts;
mod peers;
mod pages;

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::cors::CorsLayer;

use crate::{
    app::App,
    config::{Limits, Serve},
    domain::{self, Viewer},
    execution::{Answer, Code, OperationType, Request as GraphqlRequest},
    graphql::{Api, Caller, Prepared},
};
use peers::{ForPeer, Peer};
use responses::{Format, refused};

/// Requests that were taken in have this long to be answered once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Connections that wait to be taken in, at most. The usual 128 are few when all clients come back at once.
const BACKLOG: u32 = 4_096;

/// What every handler needs.
#[derive(Clone)]
struct Server {
    app: App,
    api: Api,
    limits: Arc<Limits>,
    /// Origins of other sites that may use the server.
    origins: Arc<[HeaderValue]>,
    trusted_proxies: Arc<[IpNet]>,
    /// Only requests to a name of this machine are answered.
    local: bool,
    stopping: CancellationToken,
    sockets: TaskTracker,
}

/// An origin among the settings that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: write it like https://chat.example.com, without a path")]
pub struct BadOrigin(String);

/// The settings' origins as headers have them.
///
/// # Errors
/// [`BadOrigin`] for the first that is none.
pub fn origins(settings: &Serve) -> Result<Vec<HeaderValue>, BadOrigin> {
    let origin = |text: &String| {
        let (scheme, host) = text.split_once("://").unwrap_or_default();
        let plain = !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*', ' ']);
        let value = plain.then(|| HeaderValue::from_str(text).ok()).flatten();
        value.ok_or_else(|| BadOrigin(text.clone()))
    };
    settings.cors_origins.iter().map(origin).collect()
}

/// Takes an address. Connections that come faster than they can be taken in wait in a queue of the system's.
///
/// # Errors
/// When the address cannot be taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again need not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is done, then lets what was taken in be answered, closes the sockets, and returns.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    app: &App,
    api: Api,
    settings: &Serve,
    origins: Vec<HeaderValue>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let server = Server {
        app: app.clone(),
        api,
        limits: Arc::new(settings.limits.clone()),
        origins: origins.into(),
        trusted_proxies: settings.trusted_proxies.clone().into(),
        local: app.keys.is_none() && listener.local_addr()?.ip().is_loopback() && !settings.allow_open_network,
        stopping: CancellationToken::new(),
        sockets: TaskTracker::new(),
    };
    let (stopping, sockets) = (server.stopping.clone(), server.sockets.clone());
    let told = stopping.clone();
    tokio::spawn(async move {
        stop.await;
        told.cancel();
    });
    let connections = accept(listener, server, stopping).await;
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("some requests were not answered in time");
    }
    sockets.close();
    // Closing takes a moment; a client that does not answer is not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), sockets.wait()).await;
    Ok(())
}

/// Takes connections in until it is told to stop; gives those that are still open.
async fn accept(listener: TcpListener, server: Server, stopping: CancellationToken) -> TaskTracker {
    let mut protocol = http1::Builder::new();
    // A connection that sends nothing, or half a head, is let go in time.
    protocol.timer(TokioTimer::new()).header_read_timeout(server.limits.header_timeout);
    let stall_timeout = server.limits.stall_timeout + sockets::PARTING;
    let router = TowerToHyperService::new(router(server));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Small answers must not wait for more.
                let _ = stream.set_nodelay(true);
                let mut stream = Box::pin(TimeoutWriter::new(stream));
                stream.as_mut().set_timeout_pinned(Some(stall_timeout));
                let service = ForPeer { router: router.clone(), peer: Peer(peer.ip()) };
                let connection = protocol.serve_connection(TokioIo::new(stream), service).with_upgrades();
                connections.spawn(attend(connection, stopping.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections
}

/// Answers the requests of a connection, once the server stops no more than the one that was taken in.
async fn attend(connection: Connection, stopping: CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        // How a client breaks off is of no interest.
        _ = connection.as_mut() => {}
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// A client that takes nothing of what it is sent is cut off in time.
type Stream = Pin<Box<TimeoutWriter<TcpStream>>>;
type Connection = http1::UpgradeableConnection<TokioIo<Stream>, ForPeer>;

fn router(server: Server) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(server.origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::RETRY_AFTER])
        .max_age(Duration::from_mins(10));
    Router::new()
        .route("/graphql", any(graphql).layer(cors))
        .route("/", get(pages::graphiql))
        .route("/demo", get(pages::demo))
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready))
        .fallback(pages::file)
        .method_not_allowed_fallback(not_allowed)
        .with_state(server)
}

/// Ready: the database answers and nobody told the server to stop.
async fn ready(State(server): State<Server>) -> Response {
    let answers = server.app.answers().await;
    if answers && !server.stopping.is_cancelled() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

/// GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>), or the way to a socket or to the page.
async fn graphql(
    State(server): State<Server>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, extensions, .. }, body) = request.into_parts();
    let peer = extensions.get().copied();
    let from = peer.map(|peer| peers::address(peer, &headers, &server.trusted_proxies));
    if !hosts::is_ours(&server, &headers) {
        return refused(StatusCode::FORBIDDEN, Code::Forbidden, hosts::WHY);
    }
    if let Ok(upgrade) = upgrade {
        return sockets::open(server, upgrade, &headers, from);
    }
    match method {
        Method::POST => posted(&server, &headers, from, body).await,
        Method::GET | Method::HEAD if responses::wants_html(&headers) => pages::graphiql(headers).await,
        Method::GET | Method::HEAD => got(&server, &headers, from, uri.query().unwrap_or_default()).await,
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

async fn posted(server: &Server, headers: &HeaderMap, from: Option<IpAddr>, body: Body) -> Response {
    let format = match Format::wanted(headers) {
        Ok(format) => format,
        Err(refusal) => return refusal,
    };
    let body = match requests::body(headers, body, &server.limits).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let caller = match caller(server, headers, from).await {
        Ok(caller) => caller,
        Err(refusal) => return format.response(&refusal),
    };
    match requests::parse(&body, server.limits.max_batch) {
        Ok(requests::Posted::One(request)) if format == Format::EventStream => {
            streams::response(server, &caller, server.api.prepare(&request))
        }
        Ok(requests::Posted::One(request)) => {
            let answer = answer(server, &caller, *request).await;
            format.response(&answer)
        }
        Ok(requests::Posted::Batch(batch)) => {
            let mut answers = Vec::with_capacity(batch.len());
            for request in batch {
                answers.push(match request {
                    Ok(request) => answer(server, &caller, request).await,
                    Err(answer) => answer,
                });
            }
            format.batch(&answers)
        }
        Err(why) => format.response(&Answer::refusal(Code::BadRequest, why)),
    }
}

/// Who asks, by the header `Authorization`.
async fn caller(server: &Server, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Caller, Answer> {
    let viewer = match headers.get(header::AUTHORIZATION).map(HeaderValue::to_str) {
        None => Viewer::of(&server.app, None).await,
        Some(Ok(authorization)) => Viewer::of(&server.app, Some(authorization)).await,
        Some(Err(_no_text)) => Err(domain::Error::Unauthenticated),
    };
    let last_event_id = streams::last_event_id(headers);
    viewer.map(|viewer| Caller { from, last_event_id, ..viewer.into() }).map_err(Api::refuse)
}

async fn answer(server: &Server, caller: &Caller, request: GraphqlRequest) -> Answer {
    match server.api.prepare(&request) {
        Ok(prepared) => run(server, caller, prepared).await,
        Err(answer) => answer,
    }
}

async fn run(server: &Server, caller: &Caller, prepared: Prepared) -> Answer {
    match prepared.operation() {
        OperationType::Query | OperationType::Mutation => server.api.execute(caller, prepared).await,
        OperationType::Subscription => Answer::refusal(
            Code::BadRequest,
            "A subscription needs a WebSocket with the subprotocol graphql-transport-ws, or Accept: text/event-stream.",
        ),
    }
}

async fn got(server: &Server, headers: &HeaderMap, from: Option<IpAddr>, query: &str) -> Response {
    let format = match Format::wanted(headers) {
        Ok(format) => format,
        Err(refusal) => return refusal,
    };
    let caller = match caller(server, headers, from).await {
        Ok(caller) => caller,
        Err(refusal) => return format.response(&refusal),
    };
    let ready = requests::from_query_string(query)
        .map_err(|why| Answer::refusal(Code::BadRequest, why))
        .and_then(|request| server.api.prepare(&request));
    match ready {
        Ok(prepared) if prepared.operation() == OperationType::Mutation => {
            let allow = [(header::ALLOW, HeaderValue::from_static("POST"))];
            let why = "A mutation needs POST: GET only reads.";
            (allow, refused(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, why)).into_response()
        }
        ready if format == Format::EventStream => streams::response(server, &caller, ready),
        Ok(prepared) => format.response(&run(server, &caller, prepared).await),
        Err(answer) => format.response(&answer),
    }
}
