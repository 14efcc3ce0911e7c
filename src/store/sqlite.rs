//! Connections to a SQLite file.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use diesel::{
    Connection, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
};

use super::{
    Error, Result,
    connections::establish,
    inspection::{APPLICATION_ID, header},
    observing::Observations,
    timeouts::BUSY_TIMEOUT,
};

/// A file, and whether its connections may write.
#[derive(Clone)]
pub(super) struct SqliteFile {
    pub(super) path: PathBuf,
    pub(super) write: bool,
    pub(super) observed: Arc<Observations>,
}

impl Manager for SqliteFile {
    type Type = SqliteConnection;
    type Error = Error;

    async fn create(&self) -> Result<SqliteConnection> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || file.open()).await.map_err(|panic| Error::Failed(panic.to_string()))?
    }

    /// A reader that panicked has left its transaction open. And where the disk failed SQLite may have ended one by itself, after which
    /// diesel refuses every other one.
    async fn recycle(&self, conn: &mut SqliteConnection, _: &Metrics) -> RecycleResult<Error> {
        if <SqliteConnection as Connection>::TransactionManager::is_broken_transaction_manager(conn) {
            return Err(RecycleError::message("its transaction was not ended"));
        }
        Ok(())
    }
}

impl SqliteFile {
    /// A new connection.
    pub(super) fn open(&self) -> Result<SqliteConnection> {
        // SQLite would create it, even if its disk is only unmounted for a moment, or use another one beside the log of this one.
        self.observed.require_file()?;
        let mut conn = establish(&self.path)?;
        configure(&mut conn, self.write)?;
        conn.set_instrumentation(self.observed.counting());
        Ok(conn)
    }
}

/// Creates a file that does not exist yet, readable by its owner only. If that fails, opening it gives the error.
pub(super) fn create_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Applies the settings, all of which are per connection.
fn configure(conn: &mut SqliteConnection, write: bool) -> Result<()> {
    if write {
        if header(conn)?.tables == 0 {
            conn.batch_execute(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
        }
        use_write_ahead_log(conn)?;
        // What is deleted is overwritten, also in pages that become free.
        conn.batch_execute("PRAGMA secure_delete = ON")?;
    } else {
        conn.batch_execute("PRAGMA query_only = ON")?;
    }
    for setting in [
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -16384",
        "PRAGMA mmap_size = 2147418112",
    ] {
        conn.batch_execute(setting)?;
    }
    Ok(())
}

/// Retries until the timeout: SQLite ignores `busy_timeout` when it changes the journal mode.
fn use_write_ahead_log(conn: &mut SqliteConnection) -> Result<()> {
    let started = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL").map_err(Error::from) {
            Err(Error::Busy) if started.elapsed() < BUSY_TIMEOUT => thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
}
