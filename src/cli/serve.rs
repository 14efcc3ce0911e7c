//! The command that serves: it opens what a server needs, answers until it is told to stop, and closes all of it.

use std::{
    future::pending,
    io::{Write, stdout},
    process::exit,
    sync::Arc,
    time::Duration,
};

use anyhow::{Error, Result, bail};
use duologue::{
    app::{App, Keys},
    config::{Cli, Serve},
    domain::{
        self, Viewer, jobs,
        nodes::{self, CannotServe, Membership},
        relaying,
        retention::Retention,
    },
    events::Nats,
    graphql::Api,
    http,
    store::ServingLock,
};
use sd_notify::NotifyState;
use tokio::{sync::SetOnce, task::JoinSet};

use super::{
    page_url,
    settings::{Prepared, nats_settings, prepared},
    signals::StopSignals,
    systemd,
};

/// In which the others are told that this server has stopped.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a server cannot serve any more, once that is known.
type Ended = Arc<SetOnce<CannotServe>>;

pub(super) async fn run(settings: &mut Serve) -> Result<()> {
    for why in Cli::misspelled_variables() {
        tracing::warn!("{why}");
    }
    let Prepared { origins, keys, url } = prepared(settings)?;
    let mut lock = ServingLock::take(&url)?;
    let listeners = http::listen(&settings.addresses.listen)?;
    let metrics_listeners = http::listen(settings.metrics_listen.as_slice())?;
    let pages = listeners.iter().map(|listener| Ok(page_url(listener.local_addr()?)));
    let pages = pages.collect::<Result<Vec<_>>>()?.join(" or ");
    let mut signals = StopSignals::listen()?;
    // Boxed, as it is large.
    let opening = Box::pin(open(settings, keys));
    let opening = http::serve_while_starting(listeners.iter().chain(&metrics_listeners), settings, opening);
    let Opened { app, api, membership, nats, contents } = tokio::select! {
        opened = opening => opened?,
        // In a container nothing else ends the first process. Migrations are transactions: what is under way is undone.
        () = signals.next() => exit(0),
    };
    // Whoever started the server need not listen: that is no reason not to serve.
    let _ = writeln!(
        stdout(),
        "Duologue is ready: open {pages} and say something.\nThe messages are kept in {}: {contents}.",
        url.absolute()
    );
    systemd::notify(NotifyState::Ready);
    let (ended, node) = (Ended::default(), membership.id());
    let mut jobs = spawn_jobs(&app, settings, membership, nats, &ended);
    let stop = stop(signals, ended.clone(), settings.drain_delay);
    let freed = async {
        if let CannotServe::Moved = ended.wait().await {
            // The move waits for it before the new database is served.
            drop(lock.take());
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = http::serve(listeners, metrics_listeners, &app, api, settings, origins, stop) => {}
        () = freed => {}
    }
    jobs.shutdown().await;
    // Otherwise its lease expires soon.
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, nodes::leave(&app, node)).await;
    app.close().await;
    match ended.get() {
        None | Some(CannotServe::Moved) => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// What a server works with.
struct Opened {
    app: Arc<App>,
    api: Api,
    membership: Membership,
    nats: Option<Nats>,
    /// How much is in the database, in words.
    contents: String,
}

async fn open(settings: &Serve, keys: Option<Keys>) -> Result<Opened> {
    let mut app = App::open(&settings.database).await?;
    app.configure_with_keys(settings, keys).await?;
    let app = Arc::new(app);
    let api = Api::open(&app, &settings.limits)?;
    let nats = open_nats(settings, &app).await?;
    let contents = domain::admin::count_contents(&app, &Viewer::operator(&app)).await?;
    let membership = Membership::join(&app).await?;
    membership.check_connections(&app, settings.database.database_connections.into()).await?;
    Ok(Opened { app, api, membership, nats, contents })
}

/// The connection to NATS, if the settings name one and there can be other servers.
async fn open_nats(settings: &Serve, app: &App) -> Result<Option<Nats>> {
    if settings.nats.is_empty() {
        return Ok(None);
    }
    if app.store.is_sqlite() {
        tracing::warn!("--nats has no effect: only one server uses a SQLite file");
        return Ok(None);
    }
    Ok(Some(Nats::open(&nats_settings(settings)).await.map_err(Error::msg)?))
}

/// Begins what is done beside the requests.
fn spawn_jobs(
    app: &Arc<App>,
    settings: &Serve,
    membership: Membership,
    nats: Option<Nats>,
    ended: &Ended,
) -> JoinSet<()> {
    let mut jobs = jobs::spawn(app, Retention { events: settings.feed_retention, audit: settings.audit_retention });
    jobs.spawn(systemd::run_watchdog(app.clone()));
    let (checked, after) = (app.clone(), settings.check_after);
    jobs.spawn(async move { checked.check_database(after).await });
    let (node, member, ended) = (membership.id(), app.clone(), ended.clone());
    jobs.spawn(async move {
        let _ = ended.set(membership.run(member).await);
    });
    if let Some(nats) = nats {
        jobs.spawn(relaying::run_job(app.clone(), nats, node));
    }
    jobs
}

/// Waits until the server is to stop; gives for how long it serves as before after that.
async fn stop(mut signals: StopSignals, ended: Ended, drain_delay: Duration) -> Duration {
    tokio::select! {
        () = signals.next() => {}
        why = ended.wait() => {
            tracing::warn!("{why}");
            return Duration::ZERO;
        }
    }
    tracing::info!("stopping");
    systemd::notify(NotifyState::Stopping);
    drain_delay
}
