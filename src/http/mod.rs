//! HTTP: GraphQL over HTTP, server-sent events and WebSocket, health checks, and the pages. Only this layer knows axum.
//!
//! Not here: what a request means.

mod requests;
mod access;
mod accepts;
mod compression;
mod responses;
mod server;
mod upgrades;
mod websockets;
mod sessions;
mod closings;
mod operations;
mod older_sockets;
mod sockets;
mod streams;
mod graphql;
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
    extract::State,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::map_request,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::{app::App, config::Serve, execution::Code, graphql::Api};
use closings::Closings;
pub use connections::raise_descriptor_limit;
use counters::HttpCounters;
pub use hosts::{BadOrigin, Hosts, check_sites, origins};
use listeners::accept;
pub use listeners::{CannotListen, listen};
use responses::refused;
use server::Server;

/// Requests in flight have this long to finish once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Connections wait so long for the server to start before they are told that it does.
const START_GRACE: Duration = Duration::from_millis(200);

/// Sockets that are authenticated at a time.
const MAX_AUTHENTICATIONS: usize = 256;

/// Serves answers that the server is starting until `starting` completes; gives what that gives.
pub async fn serve_while_starting<T>(
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
    let graphql = any(graphql::answer)
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
        .method_not_allowed_fallback(graphql::not_allowed)
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
