//! Duologue's API inside a program of one's own, beside its other routes: `cargo run --example embedded`, and then
//! <http://127.0.0.1:8001/api>.
//!
//! What `duologue serve` does around the API is then yours: limits of connections, the checks of `Host` and `Origin`, pages.

use std::sync::Arc;

use async_graphql::Executor;
use async_graphql_axum::{GraphQLRequest, GraphQLResponse, GraphQLSubscription};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::{get, post},
};
use duologue::{
    app::App,
    config::{Cli, Command, Serve},
    domain::{Viewer, jobs, retention::Retention},
    graphql::{Api, Caller},
};
use tokio::task::JoinSet;

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
pub(crate) fn routes(app: Arc<App>, api: Api) -> Router {
    Router::new()
        .route("/", get(async || "This program is another one.\n"))
        .route("/api", post(graphql).get_service(GraphQLSubscription::new(api.clone())))
        .with_state((app, api))
}

async fn graphql(
    State((app, api)): State<(Arc<App>, Api)>,
    headers: HeaderMap,
    request: GraphQLRequest,
) -> Result<GraphQLResponse, StatusCode> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let viewer = Viewer::of(&app, authorization).await.map_err(|_error| StatusCode::UNAUTHORIZED)?;
    Ok(Executor::execute(&api, request.into_inner().data(Caller::from(viewer))).await.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = ["duologue", "serve"].map(String::from).into_iter().chain(std::env::args().skip(1));
    let Command::Serve(settings) = <Cli as clap::Parser>::parse_from(arguments).command else { return Ok(()) };
    let (app, api) = opened(&settings).await?;
    let _jobs = begin_jobs(&app, &settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8001").await?;
    axum::serve(listener, routes(app, api)).await?;
    Ok(())
}
