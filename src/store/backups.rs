//! Backups of a SQLite file: a copy of it as it is at one moment, and the way back.
//!
//! A file appears under its name only when it is whole and on the disk: until then its name ends in `.part`. So whoever is interrupted
//! leaves what was there before, and the next one begins anew.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use diesel::{RunQueryDsl, SqliteConnection, connection::SimpleConnection, dsl::sql, sql_query, sql_types::Text};
use jiff::{Timestamp, civil::DateTime};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Conn, DatabaseUrl, Error, Result, ServingLock, audit,
    conn::has_table,
    connections::{blocking, establish, in_utf8},
    inspection::{self, size, with_ending},
    server, serving,
};

/// How the time in the name of a backup looks, such as `20260131T120000Z`.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// How often a backup is synced as far as it is written, and its progress is reported. Synced at its end alone it keeps a disk busy for so
/// long that others wait: docs/concepts/performance.md.
const SYNC_INTERVAL: Duration = Duration::from_millis(50);
/// What SQLite adds to the name of a file for files that belong to it.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Copies the database into a new file, while servers use it; until the copy is whole it is `part`. Reports to `progress` about how
/// many bytes of how many are written.
///
/// # Errors
/// [`Error::Unusable`] with a message for the operator.
pub async fn backup(
    url: &DatabaseUrl,
    part: PathBuf,
    target: PathBuf,
    mut progress: impl FnMut(u64, u64),
) -> Result<()> {
    let source = sqlite_path(url)?;
    let (written, total) = (part.clone(), size(&source));
    let mut copying = pin!(blocking(move || {
        let folder = Folder::of(&target)?;
        let part = Part::of(part, &source)?;
        // Whoever writes the same backup has the lock on that.
        let mut taken = [""].iter().chain(&COMPANIONS).map(|ending| with_ending(&target, ending));
        if let Some(taken) = taken.find(|path| path.symlink_metadata().is_ok()) {
            return Err(Error::Unusable(format!("{} is there already: name another file", taken.display())));
        }
        part.fill(&source)?;
        part.put(&target)?;
        folder.sync()
    }));
    loop {
        if let Ok(copied) = timeout(SYNC_INTERVAL, copying.as_mut()).await {
            return copied;
        }
        progress(size(&written).min(total), total);
        let part = written.clone();
        // It may have its name already; and whether it is on the disk is reported where it gets that.
        let _ = spawn_blocking(move || File::open(part).and_then(|file| file.sync_data())).await;
    }
}

/// Now, as it is in the names of files.
#[must_use]
pub fn time_in_name() -> String {
    Timestamp::now().strftime(TIME).to_string()
}

/// Removes the oldest backups of a database beside one that was just made, so that `keep` are left, with it, of those whose names have this
/// beginning, a time and this end. The database itself may have such a name.
///
/// # Errors
/// [`Error::Unusable`] when one cannot be removed.
pub fn prune(url: &DatabaseUrl, made: &Path, (start, end): (&str, &str), keep: usize) -> Result<()> {
    let source = sqlite_path(url)?;
    // Parsing alone takes shorter numbers, too.
    let is_time = |text: &str| DateTime::strptime(TIME, text).is_ok_and(|time| time.strftime(TIME).to_string() == text);
    let is_backup = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        path != made && path.is_file() && time.is_some_and(is_time) && !is_same_file(&source, path)
    };
    let folder = made.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(folder).map_err(|why| cannot("read", folder, &why))?;
    let mut others: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_backup).collect();
    // By time, as their names differ in nothing else.
    others.sort_unstable_by(|one, other| other.cmp(one));
    for old in others.iter().skip(keep.saturating_sub(1)) {
        fs::remove_file(old).map_err(|why| cannot("remove", old, &why))?;
    }
    Ok(())
}

/// Replaces the database by a backup, which stays as it is, and gives it this epoch. The former file is kept under a name with this ending,
/// which it gives, if there was one.
///
/// # Errors
/// [`Error::Unusable`] with a message for the operator: the backup cannot be used, or another process uses the database.
pub async fn restore(url: &DatabaseUrl, backup: &Path, epoch: String, ending: String) -> Result<Option<PathBuf>> {
    let (target, backup) = (sqlite_path(url)?, inspection::resolved(backup));
    if !backup.exists() {
        return Err(Error::Unusable(format!("there is no backup {}", backup.display())));
    }
    let lock = ServingLock::take(url)?;
    blocking(move || {
        let _held = lock;
        let folder = Folder::of(&target)?;
        let part = Part::of(with_ending(&target, ".part"), &backup)?;
        part.fill(&backup)?;
        part.begin_epoch(&epoch)?;
        part.take_over(&target, &folder)?;
        remove_unfinished(&target, &folder)?;
        let former = SetAside::of(&target, free_name(&with_ending(&target, &ending)))?;
        if let Err(why) = part.put(&target) {
            former.take_back(&target);
            return Err(why);
        }
        folder.sync().map_err(|why| Error::Unusable(format!("{why}; the former one is {}", former.path.display())))?;
        Ok(former.is_there.then_some(former.path))
    })
    .await
}

fn sqlite_path(url: &DatabaseUrl) -> Result<PathBuf> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let path = inspection::resolved(path);
            in_utf8(&path)?;
            Ok(path)
        }
        DatabaseUrl::Postgres(_) => Err(Error::Unusable(
            "backup and restore are for SQLite files: for PostgreSQL use pg_dump and pg_restore, or a tool such as \
             pgBackRest"
                .to_owned(),
        )),
    }
}

/// The folder of a file.
struct Folder {
    path: PathBuf,
    open: File,
}

impl Folder {
    fn of(file: &Path) -> Result<Self> {
        let path = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let open = File::open(&path).map_err(|why| cannot("read", &path, &why))?;
        Ok(Self { path, open })
    }

    /// Waits until the names of its files are on the disk.
    fn sync(&self) -> Result<()> {
        match self.open.sync_all() {
            // Not every file system can.
            Err(why) if !matches!(why.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                let folder = self.path.display();
                Err(Error::Unusable(format!("the new file is in place, but {folder} could not be synced: {why}")))
            }
            _ => Ok(()),
        }
    }
}

/// A file that is not whole yet. What was not put in its place is removed.
struct Part {
    path: PathBuf,
    is_put: bool,
    /// Locked: two processes cannot write the same file. All errors since it was opened are reported to it.
    file: File,
}

impl Part {
    /// An empty one. It cannot be the file that is to be copied.
    fn of(path: PathBuf, source: &Path) -> Result<Self> {
        in_utf8(&path)?;
        if is_same_file(source, &path) {
            let shown = path.display();
            return Err(Error::Unusable(format!("{shown} would be overwritten: give it another name, and try again")));
        }
        let file = serving::locked(&path).map_err(|why| cannot("write", &path, &why))?;
        let used = || Error::Unusable(format!("another process writes {}: let it end first", path.display()));
        let file = file.ok_or_else(used)?;
        remove_companions(&path).and_then(|()| file.set_len(0)).map_err(|why| cannot("write", &path, &why))?;
        Ok(Self { path, is_put: false, file })
    }

    /// Copies what is in a database at one moment, without what was deleted and without unused pages, and checks it. A damaged index of
    /// words is copied as it is.
    fn fill(&self, source: &Path) -> Result<()> {
        inspection::check_usable(source)?;
        let mut conn = establish(source)?;
        let copied = sql_query("VACUUM INTO ?").bind::<Text, _>(self.path.display().to_string()).execute(&mut conn);
        inspection::close(conn, source);
        match copied.map_err(Error::from) {
            Ok(_) => {}
            Err(Error::Damaged) => return Err(inspection::explain(source, Error::Damaged)),
            Err(why) => return Err(inspection::explain(&self.path, why)),
        }
        inspection::check_copy(&self.path).map_err(|why| {
            let why = inspection::explain(&self.path, why).to_string();
            // What is wrong with the copy is wrong with what was copied.
            Error::Unusable(why.replace(&*self.path.to_string_lossy(), &source.to_string_lossy()))
        })
    }

    /// Tells clients of the servers before that what they have seen may not be in it, and the audit log that it was restored.
    fn begin_epoch(&self, epoch: &str) -> Result<()> {
        let begin = |mut conn: SqliteConnection| {
            let conn = &mut Conn::Sqlite(&mut conn);
            server::set_epoch(conn, epoch)?;
            // A backup of an earlier release has no audit log.
            if has_table(conn, "audit")? { audit::insert_command(conn, "restore") } else { Ok(()) }
        };
        establish(&self.path).and_then(begin).map_err(|why| inspection::explain(&self.path, why))
    }

    /// The owner and the permissions of the file that it replaces; without one, the owner of the folder.
    fn take_over(&self, former: &Path, folder: &Folder) -> Result<()> {
        let like = fs::metadata(former);
        let taken =
            like.as_ref().map_or_else(|_not_there| folder.open.metadata(), |like| Ok(like.clone())).and_then(|owner| {
                let own = fs::metadata(&self.path)?;
                if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
                    let changed = chown(&self.path, Some(owner.uid()), Some(owner.gid()));
                    // Who may write into a folder of somebody else may have files there.
                    if like.is_ok() { changed } else { Ok(()) }?;
                }
                like.as_ref().map_or(Ok(()), |like| fs::set_permissions(&self.path, like.permissions()))
            });
        taken.map_err(|why| {
            let shown = former.display();
            Error::Unusable(format!("{shown} belongs to another user ({why}): run this as that user, or as root"))
        })
    }

    /// Gives it its name, once it is on the disk. If that fails, nothing was changed.
    fn put(mut self, target: &Path) -> Result<()> {
        let put = self.file.sync_all().and_then(|()| fs::rename(&self.path, target));
        put.map_err(|why| cannot("write", target, &why))?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_put {
            // The next one overwrites it otherwise.
            let _ = remove_companions(&self.path);
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A database that is kept under another name, too, until it is replaced.
struct SetAside {
    path: PathBuf,
    is_there: bool,
    /// Until this is dropped, nobody else can open it; there is none of one that is damaged.
    _closed: Option<SqliteConnection>,
}

impl SetAside {
    fn of(database: &Path, path: PathBuf) -> Result<Self> {
        let is_there = size(database) > 0;
        let closed = match closed(database) {
            Err(Error::Damaged) => None,
            closed => Some(closed.map_err(|why| inspection::explain(database, why))?),
        };
        let new = Self { path, is_there, _closed: None };
        let keep = || {
            if is_there {
                link_or_copy(database, &new.path)?;
            }
            // A damaged one is kept with its log, which must not be there beside the new file.
            for ending in COMPANIONS.iter().filter(|_| closed.is_none()) {
                let companion = with_ending(database, ending);
                if companion.exists() {
                    link_or_copy(&companion, &with_ending(&new.path, ending))?;
                    fs::remove_file(&companion)?;
                }
            }
            Ok(())
        };
        if let Err(why) = keep() {
            new.take_back(database);
            return Err(cannot("keep", database, &why));
        }
        Ok(Self { _closed: closed.flatten(), ..new })
    }

    /// It was not replaced.
    fn take_back(&self, database: &Path) {
        for ending in COMPANIONS {
            // Those that are not there were not moved.
            let _ = fs::rename(with_ending(&self.path, ending), with_ending(database, ending));
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Another name of a file, or a copy where a file cannot have several.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    match fs::hard_link(from, to) {
        Err(why) if matches!(why.kind(), PermissionDenied | Unsupported | TooManyLinks) => {
            let mut copy = File::create_new(to)?;
            io::copy(&mut File::open(from)?, &mut copy)?;
            copy.set_permissions(fs::metadata(from)?.permissions())?;
            copy.sync_all()
        }
        linked => linked,
    }
}

/// A connection to a database that nobody else uses, and of which nothing is left in a log. None if there is no database.
fn closed(database: &Path) -> Result<Option<SqliteConnection>> {
    if size(database) == 0 {
        // What there is of a log belongs to nothing any more.
        let has_log = ["-wal", "-journal"].iter().any(|ending| with_ending(database, ending).exists());
        return if has_log { Err(Error::Damaged) } else { Ok(None) };
    }
    let mut conn = establish(database)?;
    // It needs to be the only connection.
    let mode = sql::<Text>("PRAGMA journal_mode = DELETE").get_result::<String>(&mut conn).map_err(Error::from);
    let alone = mode
        .and_then(|mode| if mode == "delete" { Ok(conn.batch_execute("BEGIN EXCLUSIVE")?) } else { Err(Error::Busy) });
    match alone {
        Ok(()) => Ok(Some(conn)),
        Err(why) => {
            inspection::close(conn, database);
            Err(why)
        }
    }
}

/// Removes names of the database itself that a restore has left which was killed before it replaced anything.
fn remove_unfinished(database: &Path, folder: &Folder) -> Result<()> {
    let start = database.file_name().map(|name| format!("{}.before-", name.to_string_lossy())).unwrap_or_default();
    let entries = fs::read_dir(&folder.path).map_err(|why| cannot("read", &folder.path, &why))?;
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&start)) {
        if is_same_file(&entry.path(), database) {
            fs::remove_file(entry.path()).map_err(|why| cannot("remove", &entry.path(), &why))?;
        }
    }
    Ok(())
}

/// Whether both are names of one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|path| inspection::identity(path).ok());
    one.is_some() && one == other
}

/// This name, or one with a number.
fn free_name(wanted: &Path) -> PathBuf {
    let numbered = (2..).map(|number| with_ending(wanted, &format!("-{number}")));
    let mut names = [wanted.to_owned()].into_iter().chain(numbered);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| wanted.to_owned())
}

fn remove_companions(path: &Path) -> io::Result<()> {
    COMPANIONS.iter().try_for_each(|ending| match fs::remove_file(with_ending(path, ending)) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    })
}

fn cannot(what: &str, path: &Path, why: &io::Error) -> Error {
    Error::Unusable(format!("cannot {what} {}: {why}", path.display()))
}
