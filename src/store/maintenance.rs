//! Looking after a database: migrations, and what a SQLite file needs now and then.

use std::{future::pending, sync::atomic::Ordering, time::Duration};

use deadpool::managed::Manager;
use diesel::SqliteConnection;

use super::{
    Conn, Error, Result, Store,
    connections::{begin_on_postgres, blocking, run},
    inspection::{self, size, wal_path},
    migrations::{self, Direction},
    pools::Pools,
    remains::Removal,
    server,
    sqlite::SqliteFile,
};

/// What a SQLite file takes, and what there is, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// The file.
    pub database: u64,
    /// Its write-ahead log.
    pub log: u64,
    /// What is free on its disk.
    pub free: u64,
    /// The disk.
    pub disk: u64,
}

impl Store {
    /// What the SQLite file takes, as far as it can be read.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        let Pools::Sqlite { file, .. } = &self.pools else { return None };
        let disk = rustix::fs::statvfs(&file.path).ok()?;
        let [free, disk] = [disk.f_bavail, disk.f_blocks].map(|blocks| blocks.saturating_mul(disk.f_frsize));
        let [database, log] = [size(&file.path), size(&wal_path(&file.path))];
        Some(Space { database, log, free, disk })
    }

    /// Explains an error to the operator: which file cannot be used, and what to do.
    #[must_use]
    pub fn explain(&self, why: Error) -> Error {
        match &self.pools {
            Pools::Sqlite { file, .. } => inspection::explain(&file.path, why),
            Pools::Postgres { .. } => why,
        }
    }

    /// Checks that changes can be made. Something is written for it, the value that is there, on PostgreSQL and once a change of a
    /// SQLite file has failed; otherwise the lock is taken alone, so that a server that nobody uses does not write whenever it is asked.
    ///
    /// # Errors
    /// Why not; as [`Store::write`].
    pub async fn check_writable(&self) -> Result<()> {
        let is_unwritable = &self.observed.is_unwritable;
        if self.is_sqlite() && !is_unwritable.load(Ordering::Relaxed) {
            return self.write(|_| Ok(())).await;
        }
        self.write(server::touch).await?;
        is_unwritable.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the writer of a SQLite file has had a turn, however it went: also if another program has locked the file, or the disk
    /// is full, but not if the writer is stuck or gone. On PostgreSQL there is nothing to wait for.
    pub async fn await_writer(&self) {
        let Pools::Sqlite { writer, .. } = &self.pools else { return };
        // A full queue is waited for: a writer that is stuck soon has one.
        if let Ok(slot) = self.pending_writes.clone().acquire_owned().await {
            let _turn: Result<()> = writer.write(slot, |_| Ok(()), |()| ()).await;
        }
        if !writer.is_running() {
            pending::<()>().await;
        }
    }

    /// Runs the migrations; gives the names of those that ran.
    ///
    /// # Errors
    /// When one failed; it was rolled back, and on SQLite so were those before it.
    pub async fn migrate(&self, direction: Direction) -> Result<Vec<String>> {
        self.outside_transaction(move |conn| migrations::run(conn, direction)).await
    }

    /// Runs the work on a connection that may write, without a transaction.
    async fn outside_transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.pools {
            Pools::Sqlite { file, .. } => {
                let (mut conn, observed) = (file.create().await?, self.observed.clone());
                blocking(move || observed.observe(|| work(&mut Conn::Sqlite(&mut conn)))).await
            }
            Pools::Postgres { pool, .. } => {
                let pool = pool.clone();
                run(async move { begin_on_postgres(&pool, |conn| work(&mut Conn::Postgres(conn))).await }).await
            }
        }
    }

    /// Removes from a SQLite file what is left of deleted rows, in the write-ahead log and in unused parts of pages. It takes some
    /// hundredths of a second, and does nothing once all is removed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn remove_remains(&self) -> Result<Removal> {
        let Pools::Sqlite { file, remaining, .. } = &self.pools else { return Ok(Removal::Done) };
        if self.is_damaged() {
            return Ok(Removal::Done);
        }
        let (file, remaining) = (file.clone(), remaining.clone());
        blocking(move || {
            let mut remaining = remaining.lock();
            file.observed.observe(|| remaining.remove(&file))
        })
        .await
    }

    /// Checks a SQLite file table by table while it is used, with a pause before each; what it finds is in the log and in
    /// [`Store::is_damaged`].
    ///
    /// # Errors
    /// When the file cannot be read. Damage is not one.
    pub async fn check_in_background(&self, pause: Duration) -> Result<()> {
        let Pools::Sqlite { file, .. } = &self.pools else { return Ok(()) };
        let reader = SqliteFile { write: false, ..file.clone() };
        let (mut conn, tables) = self.read_by(reader.create().await?, inspection::tables).await?;
        for table in tables {
            tokio::time::sleep(pause).await;
            let found;
            (conn, found) = self.read_by(conn, move |conn| inspection::quick_check(conn, &table)).await?;
            if let Some(damage) = found {
                self.observed.found_damage(&damage);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads on a connection of one's own, and gives it back.
    async fn read_by<T: Send + 'static>(
        &self,
        mut conn: SqliteConnection,
        read: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
    ) -> Result<(SqliteConnection, T)> {
        let observed = self.observed.clone();
        blocking(move || {
            let read = observed.observe(|| read(&mut conn))?;
            Ok((conn, read))
        })
        .await
    }
}
