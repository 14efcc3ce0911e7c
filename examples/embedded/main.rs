//! Duologue's API inside a program of one's own, beside its other routes: `cargo run --example embedded`, and then
//! <http://127.0.0.1:8001/api>.
//!
//! What `duologue serve` does around the API is then yours: limits of connections, pages, and what is below of sockets whose token ends.

use std::{future::pending, io, net::SocketAddr, sync::Arc};

use async_graphql::{Data, Executor, Request, http::ALL_WEBSOCKET_PROTOCOLS};
use async_graphql_axum::{GraphQLProtocol, GraphQLResponse, GraphQLWebSocket};
use axum::{
    Json, Router,
    extract::{ConnectInfo, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::Response,
    routing::{get, post},
};
use duologue::{
    app::App,
    config::{Cli, Command, Serve},
    domain::{Error, Viewer, connections::ClientConnection, jobs, retention::Retention},
    graphql::{Api, Caller},
    http::{Hosts, check_sites},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

type Shared = State<(Arc<App>, Api)>;

/// The application, with the same settings as `duologue serve`.
pub(crate) async fn opened(settings: &Serve) -> Result<(Arc<App>, Api), Box<dyn std::error::Error>> {
    let mut app = App::open(&settings.database).await?;
    app.configure(settings).await?;
    let app = Arc::new(app);
    let api = Api::open(&app, &settings.limits)?;
    Ok((app, api))
}

/// What goes on in the background, until the set is dropped.
pub(crate) fn begin_jobs(app: &Arc<App>, settings: &Serve) -> JoinSet<()> {
    jobs::spawn(app, Retention { events: settings.feed_retention, audit: settings.audit_retention })
}

/// The routes. Whoever has no token in `Authorization` is nobody; on an open server, everybody.
fn routes(app: Arc<App>, api: Api) -> Router {
    // Pages of its own, and without accounts only names of this machine: a site may give its own name this address (DNS rebinding).
    let hosts = Arc::new(Hosts::new(app.keys.is_none(), Vec::new()));
    let state = (app, api);
    Router::new()
        .route("/api", post(graphql).get(socket))
        .route_layer(from_fn_with_state(hosts, check_sites))
        .route("/", get(async || "This program is another one.\n"))
        .with_state(state)
}

/// Whether it is because of the token: a client drops it then, and not when the database is away for a moment.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Unauthenticated | Error::Forbidden(_))
}

/// Attempts to guess a password are counted by the address, as are sign-ups: behind a proxy, the one that it forwards.
fn caller(viewer: Viewer, from: SocketAddr) -> Caller {
    Caller { from: Some(from.ip()), ..Caller::from(viewer) }
}

/// `Json` takes nothing but `application/json`, which pages of other sites cannot send unasked, and at most 2 MB of it.
async fn graphql(
    State((app, api)): Shared,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<GraphQLResponse, StatusCode> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let viewer = Viewer::of(&app, authorization)
        .await
        .map_err(|error| if is_refused(&error) { StatusCode::UNAUTHORIZED } else { StatusCode::SERVICE_UNAVAILABLE })?;
    Ok(Executor::execute(&api, request.data(caller(viewer, from))).await.into())
}

/// A socket is of whoever has the token that is the `authorization` of its `connection_init`, and ends with that.
async fn socket(
    State((app, api)): Shared,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    protocol: GraphQLProtocol,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.protocols(ALL_WEBSOCKET_PROTOCOLS).on_upgrade(async move |stream| {
        let (sender, connected) = oneshot::channel();
        let begin = async move |payload: Value| -> async_graphql::Result<Data> {
            let authorization = payload.get("authorization").and_then(Value::as_str);
            let viewer = Viewer::of(&app, authorization).await;
            let viewer = viewer
                .map_err(|error| if is_refused(&error) { "The access token is not valid" } else { "Try again" })?;
            let connection = ClientConnection::try_open(&app, &viewer).ok_or("You have too many sockets already")?;
            // It may be closed already.
            let _ = sender.send(connection);
            let mut data = Data::default();
            data.insert(caller(viewer, from));
            Ok(data)
        };
        let ended = async {
            match connected.await {
                Ok(mut connection) => connection.ended().await,
                Err(_refused) => pending().await,
            }
        };
        tokio::select! {
            () = GraphQLWebSocket::new(stream, api, protocol).on_connection_init(begin).serve() => {}
            _why = ended => {}
        }
    })
}

/// Serves the routes, which need the addresses of clients.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, api: Api) -> io::Result<()> {
    axum::serve(listener, routes(app, api).into_make_service_with_connect_info::<SocketAddr>()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = ["duologue", "serve"].map(String::from).into_iter().chain(std::env::args().skip(1));
    let Command::Serve(settings) = <Cli as clap::Parser>::parse_from(arguments).command else { return Ok(()) };
    let (app, api) = opened(&settings).await?;
    let _jobs = begin_jobs(&app, &settings);
    serve(TcpListener::bind("127.0.0.1:8001").await?, app, api).await?;
    Ok(())
}
