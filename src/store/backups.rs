//! Backups of a SQLite file: a copy of it as it is at one moment, and the way back.
//!
//! A file appears under its name only when it is whole and on the disk: it is made under another name beside it, which ends in
//! `.part`. So whoever is interrupted leaves what was there before.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use diesel::{RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_query, sql_types::Text};
use tokio::time::timeout;

use super::{
    Conn, DatabaseUrl, Error, Result, ServingLock,
    connections::blocking,
    inspection::{self, check_file, size, wal_path},
    observing::Observations,
    server,
    sqlite::{SqliteFile, create_private},
};

/// How the time in the name of a backup looks: of any digits.
const TIME: &str = "00000000T000000Z";
/// How often the progress of a backup is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Copies the database into a new file, while servers use it; tells `progress` how many bytes of how many are written, about.
///
/// # Errors
/// [`Error::Unusable`] with a message for the operator.
pub async fn backup(url: &DatabaseUrl, target: &Path, mut progress: impl FnMut(u64, u64)) -> Result<()> {
    let (source, target) = (sqlite_path(url)?, target.to_owned());
    inspection::inspect_existing(source.clone()).await?;
    if target.exists() {
        return Err(Error::Unusable(format!("{} is there already: name another file", target.display())));
    }
    let (part, total) = (with_ending(&target, ".part"), size(&source));
    let written = part.clone();
    let mut copying = pin!(blocking(move || {
        create_empty(&part).map_err(|why| cannot_write(&part, &why))?;
        let copied = vacuum_into(&source, &part).and_then(|()| check(&part));
        let copied = copied.and_then(|()| put(&part, &target));
        if copied.is_err() {
            // What is wrong with it is in the error.
            let _ = fs::remove_file(&part);
        }
        copied
    }));
    loop {
        match timeout(PROGRESS_INTERVAL, copying.as_mut()).await {
            Ok(copied) => return copied,
            Err(_elapsed) => progress(size(&written).min(total), total),
        }
    }
}

/// Removes the oldest backups of a folder, so that `keep` are left of those whose names have this beginning, a time and this end.
///
/// # Errors
/// [`Error::Unusable`] when one cannot be removed.
pub fn prune(folder: &Path, (start, end): (&str, &str), keep: usize) -> Result<()> {
    let is_time =
        |text: &str| text.len() == TIME.len() && text.chars().zip(TIME.chars()).all(|(c, like)| fits(c, like));
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let is_backup =
        |name: &String| name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)).is_some_and(is_time);
    let entries = fs::read_dir(folder).map_err(|why| cannot_write(folder, &why))?;
    let mut backups: Vec<String> = entries.filter_map(name).filter(is_backup).collect();
    // By time, as they differ in nothing else.
    backups.sort_unstable_by(|one, other| other.cmp(one));
    for old in backups.iter().skip(keep) {
        let old = folder.join(old);
        fs::remove_file(&old).map_err(|why| cannot_write(&old, &why))?;
    }
    Ok(())
}

/// Replaces the database by a backup, which stays as it is, and gives it this epoch. The former file is kept under another name with
/// this ending; it gives that name, if there was one.
///
/// # Errors
/// [`Error::Unusable`] with a message for the operator: the backup is damaged or of a later version, or a server uses the database.
pub async fn restore(url: &DatabaseUrl, backup: &Path, epoch: String, ending: String) -> Result<Option<PathBuf>> {
    let (target, backup) = (sqlite_path(url)?, backup.to_owned());
    let lock = ServingLock::take(url)?;
    blocking(move || {
        let _held = lock;
        let part = with_ending(&target, ".part");
        let restored = copy(&backup, &part).map_err(|why| cannot_copy(&backup, &part, &why));
        let restored = restored.and_then(|()| check(&part).map_err(|why| of_backup(&why, &part, &backup)));
        let restored = restored.and_then(|()| begin_epoch(&part, &epoch));
        let restored = restored.and_then(|()| set_aside(&target, &with_ending(&target, &ending)));
        let restored = restored.and_then(|former| put(&part, &target).map(|()| former));
        if restored.is_err() {
            let _ = fs::remove_file(&part);
        }
        restored
    })
    .await
}

fn sqlite_path(url: &DatabaseUrl) -> Result<PathBuf> {
    match url {
        DatabaseUrl::Sqlite(path) => Ok(inspection::resolved(path)),
        DatabaseUrl::Postgres(_) => Err(Error::Unusable(
            "backup and restore are for SQLite files: for PostgreSQL use pg_dump and pg_restore, or a tool such as pgBackRest".to_owned(),
        )),
    }
}

fn check(path: &Path) -> Result<()> {
    check_file(path, &mut |_, _| {}).map_err(|why| inspection::explain(path, why))
}

/// What is wrong with the copy of a backup is wrong with the backup.
fn of_backup(why: &Error, part: &Path, backup: &Path) -> Error {
    Error::Unusable(why.to_string().replace(&*part.to_string_lossy(), &backup.to_string_lossy()))
}

/// Whether a character of a name is like this one of [`TIME`].
fn fits(c: char, like: char) -> bool {
    if like.is_ascii_digit() { c.is_ascii_digit() } else { c == like }
}

/// What is in a database at one moment, without what was deleted and without unused pages.
fn vacuum_into(source: &Path, part: &Path) -> Result<()> {
    let mut conn = connect(source)?;
    let done = sql_query("VACUUM INTO ?").bind::<Text, _>(part.display().to_string()).execute(&mut conn);
    done.map(drop).map_err(|why| inspection::explain(part, why.into()))
}

fn connect(path: &Path) -> Result<SqliteConnection> {
    let file = SqliteFile { path: path.to_owned(), write: true, observed: Observations::of_file(path.to_owned()) };
    file.open().map_err(|why| inspection::explain(path, why))
}

/// Also tells clients of the servers before that what they have seen may not be in it.
fn begin_epoch(path: &Path, epoch: &str) -> Result<()> {
    let mut conn = connect(path)?;
    let begun = server::set_epoch(&mut Conn::Sqlite(&mut conn), epoch);
    // The log is copied into the file, so that this is all of it.
    let begun = begun.and_then(|()| Ok(conn.batch_execute("PRAGMA journal_mode = DELETE")?));
    begun.map_err(|why| inspection::explain(path, why))
}

/// Keeps a database under another name, with its log; gives that name if there was a database. Under its own name it stays as well.
fn set_aside(database: &Path, aside: &Path) -> Result<Option<PathBuf>> {
    let log = wal_path(database);
    if size(database) == 0 && size(&log) == 0 {
        return Ok(None);
    }
    // The last connection that is closed copies the log into the file. One that is damaged is kept with its log.
    let _ = connect(database).map(drop);
    let keep = || {
        // Not every file system has links.
        fs::hard_link(database, aside).or_else(|_no_link| fs::rename(database, aside))?;
        if size(&log) > 0 {
            fs::rename(&log, wal_path(aside))?;
        }
        remove_if_there(&log)?;
        remove_if_there(&with_ending(database, "-shm"))
    };
    keep().map_err(|why| cannot_write(aside, &why))?;
    Ok(Some(aside.to_owned()))
}

/// Gives a file its name, once it is on the disk.
fn put(part: &Path, target: &Path) -> Result<()> {
    let put = || {
        File::open(part)?.sync_all()?;
        fs::rename(part, target)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    put().map_err(|why| cannot_write(target, &why))
}

/// Copies a database that nobody uses, with its log if it has one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let copy = |from: &Path, to: &Path| {
        create_empty(to)?;
        io::copy(&mut File::open(from)?, &mut File::options().write(true).open(to)?).map(drop)
    };
    remove_if_there(&wal_path(to))?;
    copy(from, to)?;
    if size(&wal_path(from)) > 0 { copy(&wal_path(from), &wal_path(to)) } else { Ok(()) }
}

fn create_empty(path: &Path) -> io::Result<()> {
    remove_if_there(path)?;
    create_private(path);
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn cannot_write(path: &Path, why: &io::Error) -> Error {
    Error::Unusable(format!("cannot write {}: {why}", path.display()))
}

fn cannot_copy(from: &Path, to: &Path, why: &io::Error) -> Error {
    Error::Unusable(format!("cannot copy {} to {}: {why}", from.display(), to.display()))
}
