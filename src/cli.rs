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
mod serve;
mod settings;
mod signals;
mod systemd;

use std::{
    fmt::Arguments,
    io::{Write, stdout},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reqwest::{StatusCode, redirect::Policy};

use duologue::{
    app::{App, random_epoch},
    config::{Cli, Command, Database, Demo, Listen},
    domain::{self, Viewer, demo},
    graphql,
    model::{ids::UserId, texts::Email},
    store::{
        self, DatabaseUrl, ServingLock,
        backups::{self, time_in_name},
    },
};
use progress::Progress;
use reindex::Parts;
pub(crate) use settings::UnusableSettings;
use settings::resolved;

/// A server that takes longer to say that it is ready is not.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a reason why it is not ready.
const MAX_REASON: usize = 200;

/// Does what the command line says.
///
/// # Errors
/// One sentence for the person at the terminal.
pub(crate) async fn run(command: Command) -> Result<()> {
    signals::outlive_size_limit();
    match command {
        Command::Serve(mut settings) => serve::run(&mut settings).await,
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
            let parts = Parts { words: words || both, vectors: vectors || both };
            reindex::run(&database, &embeddings, parts).await
        }
        Command::Move { from, to: Some(to), copy_only, cancel: false } => moves::run(&from, &to, copy_only).await,
        Command::Move { from, .. } => moves::cancel(&from).await,
        Command::Audit { since, user, action, json, database } => {
            audit::run((since, user.as_deref(), action), json, &database).await
        }
        Command::Admin { task } => admin::run(task).await,
    }
}

/// Where a browser on this machine finds the page.
fn page_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}/", address.port())
    } else {
        format!("http://{address}/")
    }
}

async fn migrate(database: &Database) -> Result<()> {
    // Opening an application is what migrates.
    open(database).await?.close().await;
    print_done(format_args!("The database is up to date."));
    Ok(())
}

async fn backup(file: &Path, keep: Option<usize>, database: &Database) -> Result<()> {
    let ((url, _), file) = (resolved(database)?, std::path::absolute(file)?);
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
    backups::backup(&url, part, target.clone(), |done, total| progress.reach(done, total)).await?;
    drop(progress);
    if let Some(keep) = keep {
        backups::prune(&url, &target, (&start, &end), keep)?;
    }
    print_done(format_args!("Everything is in {}.", target.display()));
    Ok(())
}

async fn restore(file: &Path, database: &Database) -> Result<()> {
    let (url, _) = resolved(database)?;
    let ending = format!(".before-{}", time_in_name());
    let former = backups::restore(&url, file, random_epoch(), ending).await?;
    print_done(format_args!(
        "Restored {} from {}. Clients that come back load everything again.",
        url.absolute(),
        file.display()
    ));
    match former {
        Some(former) => print_done(format_args!("What was there before is kept in {}.", former.display())),
        None => print_done(format_args!("There was no database before.")),
    }
    Ok(())
}

async fn health(url: Option<String>, listen: &[Listen]) -> Result<()> {
    let address = listen.iter().flat_map(|listen| &listen.0).next().copied();
    probe(&url.or(address.map(page_url)).context("--listen names no address")?, READY).await?;
    print_done(format_args!("ready"));
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
    let begin = async |app: &Arc<App>| Ok(domain::admin::begin_new_epoch(app, &Viewer::operator(app)).await?);
    with_app(open_existing(database).await?, begin).await?;
    print_done(format_args!(
        "The database has a new epoch: clients that come back with an old cursor load everything again."
    ));
    Ok(())
}

/// Opens a database that is there and up to date.
async fn open_existing(database: &Database) -> Result<App> {
    let (_, database) = resolved(database)?;
    Ok(App::open_existing(&database).await?)
}

/// Opens a database, and brings it up to date if it must be: but not a SQLite file under a server, which is of an earlier release then.
async fn open(database: &Database) -> Result<App> {
    let (url, database) = resolved(database)?;
    if let DatabaseUrl::Sqlite(_) = url {
        match App::open_existing(&database).await {
            // It may be of an earlier release, or not there yet.
            Err(store::Error::Unusable(_)) => {}
            opened => return Ok(opened?),
        }
    }
    let _lock = ServingLock::take(&url)?;
    let app = App::open(&database).await?;
    app.correct_clock(app.clock_offset().await?);
    Ok(app)
}

/// Does something with an application, and closes it, however that went.
async fn with_app<T>(app: App, work: impl AsyncFnOnce(&Arc<App>) -> Result<T>) -> Result<T> {
    let app = Arc::new(app);
    let done = work(&app).await;
    app.close().await;
    done
}

/// Prints that something was done. It was, also if nobody can read that.
fn print_done(sentence: Arguments<'_>) {
    let _ = writeln!(stdout(), "{sentence}");
}

async fn fill(demo: Demo, database: &Database) -> Result<()> {
    let total = u64::from(demo.users) + u64::from(demo.messages);
    let mut progress = Progress::of(total, "{bar:30} {human_pos} of {human_len} lines, {eta} left");
    let size = demo::Size { users: demo.users, messages: demo.messages, seed: demo.seed };
    let make = async |app: &Arc<App>| {
        let made = demo::make(app, &Viewer::operator(app), size, move || progress.advance(1)).await;
        made.context("the demo data")
    };
    match with_app(open(database).await?, make).await? {
        Some(count) => print_done(format_args!("Made {} users and {} messages.", count.users, count.messages)),
        None => print_done(format_args!("The demo data is there already; another --seed makes more.")),
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
