//! Metrics for Prometheus, on a listener of their own: the names of all that the layers count, and what is read when it is asked for.
//! Labels come from closed lists, and never tell of a user, a conversation or an address.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use super::{hosts::Hosts, process::Process, server::Server};
use crate::{
    app::App,
    domain::{embedding, indexing},
    telemetry,
};

/// Messages that are not indexed are counted up to here: to count more would take time.
const MAX_UNINDEXED: i64 = 10_000;

/// What is read when the metrics are asked for.
#[derive(Default)]
struct Gauges {
    ready: Gauge,
    users_online: Gauge,
    nats_linked: Gauge,
    unindexed: Family<[(&'static str, &'static str); 1], Gauge>,
    writes_waiting: Gauge,
    statements: Counter,
    log_lines_dropped: Counter,
    database_bytes: Family<[(&'static str, &'static str); 1], Gauge>,
    disk_free_bytes: Gauge,
    disk_size_bytes: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    started_at: Gauge<f64, AtomicU64>,
}

struct Metrics {
    server: Arc<Server>,
    hosts: Hosts,
    registry: Registry,
    gauges: Gauges,
}

/// Serves the metrics of a server. On loopback addresses they are not for pages of the web, whatever names those give them.
pub(super) fn router(server: Arc<Server>, is_loopback_only: bool) -> Router {
    let gauges = Gauges::default();
    let hosts = Hosts::new(is_loopback_only, Vec::new());
    let metrics = Metrics { registry: registry(&server, &gauges), server, hosts, gauges };
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new(metrics))
}

async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = metrics.hosts.check_host(&headers) {
        return refusal;
    }
    metrics.gauges.read(&metrics.server).await;
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &metrics.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// All names, which docs/reference/metrics.md has as well.
fn registry(server: &Server, gauges: &Gauges) -> Registry {
    let mut registry = Registry::default();
    let own = registry.sub_registry_with_prefix("duologue");
    let (store, counters, operations) = (server.app.store.metrics(), &server.app.counters, server.api.metrics());
    let database = if server.app.store.is_sqlite() { "sqlite" } else { "postgresql" };
    let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("database", database)]);
    own.register("build", "The version of the program, and its database", build);
    own.register("ready", "Whether requests can be served, as /health/ready says", gauges.ready.clone());

    own.register("operations", "GraphQL operations that have ended", operations.operations.clone());
    own.register("operation_seconds", "Time until queries and mutations were answered", operations.seconds.clone());
    own.register("subscriptions", "Subscriptions that go on", operations.subscriptions.clone());
    own.register("http_responses", "Responses over HTTP", server.counters.responses.clone());
    own.register("sockets", "WebSockets and event streams that are open", server.counters.sockets.clone());
    own.register("sockets_closed", "WebSockets that have ended", server.counters.sockets_closed.clone());

    own.register("feed_resumes", "Followers of feeds that came back with a cursor", counters.feed_resumes.clone());
    let replayed = "Events that a follower got from its cursor until it had caught up";
    own.register("feed_replayed_events", replayed, counters.replayed_events.clone());
    let lag = "Time from a change until a follower that waited for it had it ready to be sent";
    own.register("feed_lag_seconds", lag, counters.feed_lag.clone());
    let wakeups = "Notifications of followers that a feed has changed";
    own.register("wakeups", wakeups, server.app.notifier.notifications.clone());
    if server.app.relay.is_open() {
        own.register("nats_linked", "Whether this server hears itself over NATS", gauges.nats_linked.clone());
    }
    own.register("users_online", "Users who are online", gauges.users_online.clone());

    own.register("messages_sent", "Messages that were sent", counters.sends.clone());
    own.register("sign_ins", "Attempts to sign in", counters.sign_ins.clone());
    own.register("rate_limited", "What was refused as it was done too often", server.app.rates.refusals.clone());

    let unindexed = "Messages that a search does not find by its index yet, of at most 10,000";
    own.register("messages_unindexed", unindexed, gauges.unindexed.clone());
    own.register("embeddings", "Messages that got vectors or not, and failed requests", counters.embeddings.clone());

    own.register("writes_waiting", "Changes in progress or queued, of at most 512", gauges.writes_waiting.clone());
    own.register("write_wait_seconds", "Time that changes waited for their turn", store.write_wait.clone());
    own.register("commit_seconds", "Time of a transaction that changes something", store.commit.clone());
    own.register("commit_units", "Changes that shared a commit", store.commit_units.clone());
    own.register("read_wait_seconds", "Time that reads waited for a connection", store.read_wait.clone());
    own.register("statements", "Statements of SQL", gauges.statements.clone());
    own.register("database_bytes", "Size of the SQLite file and of its log", gauges.database_bytes.clone());
    own.register("disk_free_bytes", "Free space on the disk of the SQLite file", gauges.disk_free_bytes.clone());
    own.register("disk_size_bytes", "Size of the disk of the SQLite file", gauges.disk_size_bytes.clone());

    let dropped = "Lines of the log that were lost because nobody read it";
    own.register("log_lines_dropped", dropped, gauges.log_lines_dropped.clone());

    register_process(registry.sub_registry_with_prefix("process"), gauges);
    registry
}

fn register_process(process: &mut Registry, gauges: &Gauges) {
    process.register("cpu_seconds", "CPU time of all threads", gauges.cpu_seconds.clone());
    process.register("resident_memory_bytes", "Memory", gauges.resident_bytes.clone());
    process.register("open_fds", "Open file descriptors", gauges.open_files.clone());
    process.register("max_fds", "File descriptors at most", gauges.max_files.clone());
    process.register(
        "start_time_seconds",
        "When the process started, in seconds since 1970",
        gauges.started_at.clone(),
    );
}

impl Gauges {
    async fn read(&self, server: &Server) {
        let app = &server.app;
        let is_ready = server.problem().await.is_none();
        self.ready.set(is_ready.into());
        if is_ready {
            self.count_unindexed(app).await;
        }
        self.nats_linked.set(app.relay.is_linked().into());
        self.users_online.set(signed(app.presences.count_online() as u64));
        self.writes_waiting.set(signed(app.store.pending_writes() as u64));
        set(self.statements.inner(), app.store.statements());
        set(self.log_lines_dropped.inner(), telemetry::dropped_lines());
        if let Some(space) = app.store.space() {
            for (file, bytes) in [("db", space.database), ("wal", space.log)] {
                self.database_bytes.get_or_create(&[("file", file)]).set(signed(bytes));
            }
            self.disk_free_bytes.set(signed(space.free));
            self.disk_size_bytes.set(signed(space.disk));
        }
        if let Some(process) = Process::read() {
            set(self.cpu_seconds.inner(), process.cpu_seconds.to_bits());
            self.resident_bytes.set(signed(process.resident_bytes));
            self.open_files.set(signed(process.open_files));
            self.max_files.set(process.max_files.map_or(-1, signed));
            self.started_at.set(process.started_at);
        }
    }

    async fn count_unindexed(&self, app: &App) {
        let words = indexing::count_pending(app, MAX_UNINDEXED).await.map(Some);
        for (index, count) in [("words", words), ("vectors", embedding::count_pending(app, MAX_UNINDEXED).await)] {
            if let Ok(Some(count)) = count {
                self.unindexed.get_or_create(&[("index", index)]).set(count);
            }
        }
    }
}

fn set(counter: &AtomicU64, value: u64) {
    counter.store(value, Ordering::Relaxed);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
