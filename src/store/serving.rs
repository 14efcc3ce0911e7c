//! The lock of the only server that uses a SQLite file.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, OFlags, access};

use super::{DatabaseUrl, Error, Result, Store, inspection, nodes, pools::Pools};

/// Held by the server of a SQLite file until it is dropped or its process ends, however it does. Other commands may use the file
/// meanwhile.
///
/// The lock is on a file beside it, as to open and close the SQLite file itself would release the locks of SQLite
/// (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).
#[must_use]
pub struct ServingLock {
    path: PathBuf,
    _file: File,
}

impl ServingLock {
    /// Takes the lock, if the database is a SQLite file.
    ///
    /// # Errors
    /// [`Error::Unusable`] if another process has it.
    pub fn take(url: &DatabaseUrl) -> Result<Option<Self>> {
        let DatabaseUrl::Sqlite(database) = url else { return Ok(None) };
        let database = inspection::resolved(database);
        match Self::try_take(&database) {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => {
                let process = fs::read_to_string(lock_path(&database)).unwrap_or_default();
                Err(Error::Unusable(format!(
                    "{} is in use by process {}, a server or a command that needs it alone: stop it or wait for its end, or name \
                     another database",
                    database.display(),
                    process.trim()
                )))
            }
            // Whoever opens the database says that there is no such folder.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(explain(&database, &error)),
        }
    }

    /// Checks that a server could take the lock, unless another process has it, without changing anything.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it could not.
    pub fn check(url: &DatabaseUrl) -> Result<()> {
        let DatabaseUrl::Sqlite(database) = url else { return Ok(()) };
        let database = inspection::resolved(database);
        let path = lock_path(&database);
        let checked = match path.symlink_metadata() {
            Ok(found) if !found.is_file() => Err(io::Error::other("it is no file")),
            Ok(_) => access(&path, Access::READ_OK | Access::WRITE_OK).map_err(io::Error::from),
            Err(_not_there) => {
                let folder = path.parent().unwrap_or(&path);
                access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
            }
        };
        checked.map_err(|error| explain(&database, &error))
    }

    /// The lock of this file; `None` if another process has it.
    fn try_take(database: &Path) -> io::Result<Option<Self>> {
        let path = lock_path(database);
        let Some(mut file) = locked(&path)? else { return Ok(None) };
        // Otherwise a command of root that is ended would lock the user of the server out.
        let owner =
            fs::metadata(database).or_else(|_no_database| fs::metadata(path.parent().unwrap_or(Path::new("/"))));
        let _ = owner.and_then(|owner| fchown(&file, Some(owner.uid()), Some(owner.gid())));
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()))?;
        Ok(Some(Self { path, _file: file }))
    }
}

fn lock_path(database: &Path) -> PathBuf {
    inspection::with_ending(database, "-server")
}

/// Why the lock of a file cannot be taken that no other process has.
fn explain(database: &Path, error: &io::Error) -> Error {
    let path = lock_path(database);
    if error.kind() == ErrorKind::PermissionDenied && !path.exists() {
        return inspection::explain(database, Error::Unopened);
    }
    let (database, lock) = (database.display(), path.display());
    Error::Unusable(format!("cannot open the database {database}: cannot lock {lock}: {error}"))
}

/// That no server uses a database. As long as this is held none begins to use a SQLite file; one may begin to use a PostgreSQL database.
#[must_use]
pub struct Unserved {
    _lock: Option<ServingLock>,
}

impl Store {
    /// That no server uses the database; `None` if one does, or another process that needs a SQLite file alone.
    ///
    /// # Errors
    /// When that cannot be known: those of the database, and of a SQLite file [`Error::Unusable`].
    pub async fn unserved(&self) -> Result<Option<Unserved>> {
        let Pools::Sqlite { file, .. } = &self.pools else {
            return Ok(if self.read(nodes::is_any_alive).await? { None } else { Some(Unserved { _lock: None }) });
        };
        let lock = ServingLock::try_take(&file.path).map_err(|error| explain(&file.path, &error))?;
        Ok(lock.map(|lock| Unserved { _lock: Some(lock) }))
    }
}

impl Drop for ServingLock {
    /// Removes the file while it is locked.
    fn drop(&mut self) {
        // One that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// The file, locked; `None` if another process has locked it.
pub(super) fn locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut options = OpenOptions::new();
        // A link could lead to a file that is not ours.
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The one that had it before may have removed the file after it was opened here.
        let (mine, theirs) = (file.metadata()?, fs::metadata(path));
        if theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (mine.dev(), mine.ino())) {
            return Ok(Some(file));
        }
    }
}
