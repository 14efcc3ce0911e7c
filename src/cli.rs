//! The commands, a part of the program and not of the library. Each opens what it needs, says on the terminal what it does, and closes it.
//!
//! Not here: how any of it is done.

mod admin;
mod archives;
mod audit;
mod check;
mod moves;
mod progress;
mod reindex;
mod settings;
mod systemd;

use std::{
    future::pending,
    io::{Write, stdout},
    net::SocketAddr,
    path::Path,
    process::exit,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reqwest::{StatusCode, redirect::Policy};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::SetOnce,
};

use duologue::{
    app::{App, random_epoch},
    config::{Cli, Command, Database, Demo, Listen, Serve},
    domain::{
        self, Viewer, demo, jobs,
        nodes::{self, CannotServe, Membership},
        relaying,
        retention::Retention,
    },
    events::{Nats, NatsSettings},
    graphql::{self, Api},
    http,
    model::{ids::UserId, texts::Email, timestamps::Timestamp},
    store::{self, DatabaseUrl, ServingLock},
};
use progress::Progress;
pub(crate) use settings::UnusableSettings;
use settings::{database_url, prepared, verified};

/// A server that takes longer to say that it is ready is not.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// In which the others are told that this server has stopped.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Characters of a reason why it is not ready.
const MAX_REASON: usize = 200;

/// Does what the command line says.
///
/// # Errors
/// One sentence for the person at the terminal.
pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(settings) => serve(&settings).await,
        Command::Completions { shell } => Ok(stdout().write_all(&Cli::completions(shell))?),
        Command::Man { folder } => {
            Cli::write_manual(&folder).with_context(|| format!("cannot write the pages into {}", folder.display()))
        }
        Command::Schema => Ok(stdout().write_all(graphql::sdl().as_bytes())?),
        Command::Migrate(database) => migrate(&database).await,
        Command::Check(settings) => check::run(&settings).await,
        Command::Backup { file, keep, database } => backup(&file, keep, &database).await,
        Command::Restore { file, database } => restore(&file, &database).await,
        Command::Health { url, addresses } => health(url, &addresses.listen).await,
        Command::NewEpoch(database) => new_epoch(&database).await,
        Command::Import { file, renumber, database } => archives::import(&file, renumber, &database).await,
        Command::Export { file, user, database } => archives::export(&file, user.as_deref(), &database).await,
        Command::Demo { demo, database } => fill(demo, &database).await,
        Command::Reindex { words, vectors, database, embeddings } => {
            let both = words == vectors;
            reindex::run(&database, &embeddings, (words || both, vectors || both)).await
        }
        Command::Move { from, to: Some(to), copy_only, cancel: false } => moves::run(&from, &to, copy_only).await,
        Command::Move { from, .. } => moves::cancel(&from).await,
        Command::Audit { since, user, action, json, database } => {
            audit::run((since, user.as_deref(), action), json, &database).await
        }
        Command::Admin { task } => admin::run(task).await,
    }
}

async fn serve(settings: &Serve) -> Result<()> {
    for why in Cli::misspelled_variables() {
        tracing::warn!("{why}");
    }
    let (origins, url) = prepared(settings)?;
    let mut lock = ServingLock::take(&url)?;
    let listeners = http::listen(&settings.addresses.listen)?;
    let metrics_listeners = http::listen(settings.metrics_listen.as_slice())?;
    let pages = listeners.iter().map(|listener| Ok(page(listener.local_addr()?)));
    let pages = pages.collect::<Result<Vec<_>>>()?.join(" or ");
    // Boxed, as it is large.
    let opening = Box::pin(async {
        let mut app = App::open(&settings.database).await?;
        app.configure(settings).await?;
        let app = Arc::new(app);
        let api = Api::open(&app, &settings.limits)?;
        let nats = nats(settings, &app).await?;
        let contents = domain::admin::count_contents(&app, &Viewer::operator(&app)).await?;
        let membership = Membership::join(&app).await?;
        membership.check_connections(&app, settings.database.database_connections.into()).await?;
        Ok::<_, anyhow::Error>((app, api, membership, nats, contents))
    });
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let opened = http::serve_while_starting(listeners.iter().chain(&metrics_listeners), settings, opening);
    let (app, api, membership, nats, contents) = tokio::select! {
        opened = opened => opened?,
        // In a container nothing else ends the first process. Migrations are transactions: what is under way is undone.
        _ = terminated.recv() => exit(0),
        _ = interrupted.recv() => exit(0),
    };
    let (ended, drain_delay) = (Arc::new(SetOnce::new()), settings.drain_delay);
    let must_end = ended.clone();
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
            why = must_end.wait() => {
                tracing::warn!("{why}");
                return Duration::ZERO;
            }
        }
        tracing::info!("stopping");
        systemd::notify(NotifyState::Stopping);
        drain_delay
    };
    // Whoever started the server need not listen: that is no reason not to serve.
    let _ = writeln!(
        stdout(),
        "Duologue is ready: open {pages} and say something.\nThe messages are kept in {}: {contents}.",
        url.absolute()
    );
    systemd::notify(NotifyState::Ready);
    let mut jobs = jobs::spawn(&app, Retention { events: settings.feed_retention, audit: settings.audit_retention });
    jobs.spawn(systemd::run_watchdog(app.clone()));
    let (job, after) = (app.clone(), settings.check_after);
    jobs.spawn(async move { job.check_database(after).await });
    let (node, member, why_ended) = (membership.id(), app.clone(), ended.clone());
    jobs.spawn(async move {
        let _ = why_ended.set(membership.run(member).await);
    });
    if let Some(nats) = nats {
        jobs.spawn(relaying::run_job(app.clone(), nats, node));
    }
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

/// The connection to NATS, if the settings name one and there can be other servers.
async fn nats(settings: &Serve, app: &App) -> Result<Option<Nats>> {
    if settings.nats.is_empty() {
        return Ok(None);
    }
    if app.store.is_sqlite() {
        tracing::warn!("--nats has no effect: only one server uses a SQLite file");
        return Ok(None);
    }
    Ok(Some(Nats::open(&nats_settings(settings)).await.map_err(anyhow::Error::msg)?))
}

fn nats_settings(settings: &Serve) -> NatsSettings {
    NatsSettings { servers: settings.nats.clone(), credentials: settings.nats_credentials.clone() }
}

/// Where a browser on this machine finds the page.
fn page(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}/", address.port())
    } else {
        format!("http://{address}/")
    }
}

async fn migrate(database: &Database) -> Result<()> {
    // Opening an application is what migrates.
    open(database).await?.close().await;
    writeln!(stdout(), "The database is up to date.")?;
    Ok(())
}

async fn backup(file: &Path, keep: Option<usize>, database: &Database) -> Result<()> {
    let (url, file) = (database_url(database)?, std::path::absolute(file)?);
    let Some(stem) = file.file_stem().and_then(|stem| stem.to_str()) else {
        bail!("{} names no file", file.display());
    };
    let end = file.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    let start = format!("{stem}-");
    let mut target = file.clone();
    if keep.is_some() {
        let with_time = || file.with_file_name(format!("{start}{}{end}", time_in_name()));
        target = with_time();
        while target.exists() {
            // There was another one in this second.
            tokio::time::sleep(Duration::from_millis(100)).await;
            target = with_time();
        }
    }
    let part = file.with_file_name(format!("{stem}{end}.part"));
    let mut progress = Progress::of(0, "{bar:30} {bytes} of {total_bytes}");
    store::backups::backup(&url, part, target.clone(), |done, total| progress.reach(done, total)).await?;
    drop(progress);
    if let Some(keep) = keep {
        store::backups::prune(&target, (&start, &end), keep)?;
    }
    writeln!(stdout(), "Everything is in {}.", target.display())?;
    Ok(())
}

async fn restore(file: &Path, database: &Database) -> Result<()> {
    let url = database_url(database)?;
    let ending = format!(".before-{}", time_in_name());
    let former = store::backups::restore(&url, file, random_epoch(), ending).await?;
    writeln!(
        stdout(),
        "Restored {} from {}. Clients that come back load everything again.",
        url.absolute(),
        file.display()
    )?;
    match former {
        Some(former) => writeln!(stdout(), "What was there before is kept in {}.", former.display())?,
        None => writeln!(stdout(), "There was no database before.")?,
    }
    Ok(())
}

/// Now, as it can be in the name of a file, such as `20260131T120000Z`.
fn time_in_name() -> String {
    let now = Timestamp::now().to_string();
    let (to_seconds, _) = now.split_once('.').unwrap_or((now.trim_end_matches('Z'), ""));
    format!("{}Z", to_seconds.replace(['-', ':'], ""))
}

async fn health(url: Option<String>, listen: &[Listen]) -> Result<()> {
    let address = listen.iter().flat_map(|listen| &listen.0).next().copied();
    probe(&url.or(address.map(page)).context("--listen names no address")?, READY).await?;
    writeln!(stdout(), "ready")?;
    Ok(())
}

/// A path, and whether what is answered to it is of a server that is ready, and not of another program.
type Probe = (&'static str, fn(&str) -> bool);
/// For the address of clients.
const READY: Probe = ("/health/ready", |body| body == "ok\n");
/// For that of metrics.
const METRICS: Probe = ("/metrics", |body| body.contains("\nduologue_ready "));

/// Asks the server at this URL, which may leave out `http://`, whether it is ready.
async fn probe(url: &str, (path, is_expected): Probe) -> Result<()> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let mut url: reqwest::Url =
        with_scheme.parse().context("this is no URL of a server, such as http://127.0.0.1:8000/")?;
    url.set_path(path);
    url.set_query(None);
    // A page to sign in, or another server, is not an answer.
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(HEALTH_TIMEOUT).build()?;
    let asked = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url);
    // It may be in a log.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    let response = asked.with_context(|| format!("no answer from {url}"))?;
    let (status, body) = (response.status(), response.text().await.unwrap_or_default());
    if status != StatusCode::OK || !is_expected(&body) {
        let reason: String = body.lines().next().unwrap_or_default().chars().take(MAX_REASON).collect();
        bail!("{url} answers {}: {reason}", status.as_u16());
    }
    Ok(())
}

async fn new_epoch(database: &Database) -> Result<()> {
    let app = open_existing(database).await?;
    domain::admin::begin_new_epoch(&app, &Viewer::operator(&app)).await?;
    app.close().await;
    writeln!(
        stdout(),
        "The database has a new epoch: clients that come back with an old cursor load everything again."
    )?;
    Ok(())
}

/// Opens a database that is there and up to date.
async fn open_existing(database: &Database) -> Result<App> {
    // A file, which may be a pipe, is read once.
    if database.database_file.is_none() {
        database_url(database)?;
    }
    Ok(App::open_existing(database).await?)
}

/// Opens a database, and brings it up to date if it must be: but not a SQLite file under a server, which is of an earlier release then.
async fn open(database: &Database) -> Result<App> {
    let url = database_url(database)?;
    if let DatabaseUrl::Sqlite(_) = url {
        match App::open_existing(database).await {
            // It may be of an earlier release, or not there yet.
            Err(store::Error::Unusable(_)) => {}
            opened => return Ok(opened?),
        }
    }
    let _lock = ServingLock::take(&url)?;
    let app = App::open(database).await?;
    app.correct_clock(app.clock_offset().await?);
    Ok(app)
}

async fn fill(demo: Demo, database: &Database) -> Result<()> {
    let app = open(database).await?;
    let total = u64::from(demo.users) + u64::from(demo.messages);
    let mut progress = Progress::of(total, "{bar:30} {human_pos} of {human_len} lines, {eta} left");
    let size = demo::Size { users: demo.users, messages: demo.messages, seed: demo.seed };
    let made = demo::make(&app, &Viewer::operator(&app), size, move || progress.advance(1)).await;
    app.close().await;
    match made.context("the demo data")? {
        Some(count) => writeln!(stdout(), "Made {} users and {} messages.", count.users, count.messages)?,
        None => writeln!(stdout(), "The demo data is there already; another --seed makes more.")?,
    }
    Ok(())
}

/// The user with this id or address.
async fn user_named(app: &App, operator: &Viewer, text: &str) -> Result<UserId> {
    if !text.contains('@') {
        return Ok(text.parse()?);
    }
    let user = domain::admin::user_by_email(app, operator, Email::of_account(text)?).await?;
    user.context("there is no account with this address")
}

/// A text that users wrote, for a terminal: characters that control it, hide or reorder text are escaped.
pub(crate) fn printable(text: &str) -> String {
    // Quotes do no harm, and are left as they are.
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
