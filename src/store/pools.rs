//! Connection pools: a SQLite file with one writer and several readers, or a PostgreSQL pool, chosen by the URL.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use deadpool::managed::{Manager, Pool};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use super::{
    Conn, Error, Result,
    conn::{Postgres, repeatable_read, sqlite_snapshot, transaction},
    connections::{Begun, PostgresPool, acquire, begin_on_postgres, connection, pool, run},
    feed::{self, FeedSlice},
    feed_reads::FeedReads,
    inspection,
    locks::Lock,
    metrics::{Metrics, logging_if_slow},
    migrations,
    observing::Observations,
    postgres::{postgres, warnings},
    remains::Remaining,
    sqlite::{SqliteFile, create_private},
    timeouts::{BUSY_TIMEOUT, WRITE_PERMIT_TIMEOUT},
    urls::DatabaseUrl,
    writer::SqliteWriter,
};
use crate::model::ids::UserId;

const SQLITE_READERS: usize = 5;
/// Connections that are left to [`Store::lookup`].
const LOOKUPS: usize = 1;
/// Connections of a check.
const CHECK_CONNECTIONS: usize = 2;
/// Changes in progress or queued, at most; more get [`Error::Overloaded`].
const MAX_PENDING_WRITES: usize = 512;

/// How several reads are isolated.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// One snapshot also on PostgreSQL; on SQLite it always is.
    pub one_snapshot: bool,
    /// The reads take less than a millisecond. Those that take longer leave one SQLite reader to those that do not.
    pub light: bool,
}

/// The database. Clones share its connection pools.
#[derive(Clone)]
pub struct Store {
    pub(super) pools: Pools,
    pub(super) pending_writes: Arc<Semaphore>,
    /// For whatever uses a pooled connection, except lookups.
    permits: Arc<Semaphore>,
    pub(super) observed: Arc<Observations>,
    feed_reads: Arc<FeedReads>,
}

/// The connections.
#[derive(Clone)]
pub(super) enum Pools {
    Sqlite {
        file: SqliteFile,
        writer: Arc<SqliteWriter>,
        readers: Pool<SqliteFile>,
        heavy_permits: Arc<Semaphore>,
        remaining: Arc<Mutex<Remaining>>,
    },
    Postgres {
        pool: PostgresPool,
        write_permits: Arc<Semaphore>,
    },
}

impl Store {
    /// Opens the database and checks that it answers. A SQLite file is created if it does not exist. `connections` bounds
    /// the PostgreSQL pool.
    ///
    /// # Errors
    /// [`Error::Unusable`] with a message for the operator.
    pub async fn open(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        if let DatabaseUrl::Sqlite(path) = url {
            let path = inspection::resolved(path);
            inspection::inspect(path.clone()).await?;
            create_private(&path);
        }
        Self::connect(url, connections).await
    }

    /// Opens a database that is there and has run all migrations, and no others; of any other nothing is changed.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_existing(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        if let DatabaseUrl::Sqlite(path) = url {
            inspection::inspect_existing(inspection::resolved(path)).await?;
        }
        let store = Self::connect(url, connections).await?;
        if let DatabaseUrl::Postgres(_) = url {
            store.read(|conn| migrations::require_current(conn, "the database")).await?;
        }
        Ok(store)
    }

    /// Checks a database without changing it: all of a SQLite file for damage, and that a PostgreSQL server can be used. Reports to
    /// `progress` how many tables of how many are done. Gives the names of the migrations that it has not run yet; `None` if a SQLite file
    /// is not there yet, and can be created.
    ///
    /// # Errors
    /// [`Error::Unusable`] with a message for the operator.
    pub async fn check(
        url: &DatabaseUrl,
        progress: impl FnMut(usize, usize) + Send + 'static,
    ) -> Result<Option<Vec<String>>> {
        match url {
            DatabaseUrl::Sqlite(path) => inspection::check(inspection::resolved(path), progress).await,
            DatabaseUrl::Postgres(_) => {
                let store = Self::connect(url, CHECK_CONNECTIONS).await?;
                let pending = store.read(migrations::pending).await;
                store.close().await;
                pending.map(Some)
            }
        }
    }

    async fn connect(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        let observed;
        let pooled;
        let pools = match url {
            DatabaseUrl::Sqlite(path) => {
                let path = &inspection::resolved(path);
                observed = Observations::of_file(path.clone());
                pooled = SQLITE_READERS;
                let file = |write| SqliteFile { path: path.clone(), write, observed: observed.clone() };
                let writer = SqliteWriter::open(file(true)).await.map_err(|why| inspection::explain(path, why))?;
                Pools::Sqlite {
                    file: file(true),
                    writer: Arc::new(writer),
                    readers: pool(file(false), SQLITE_READERS)?,
                    // One reader is left to what is light.
                    heavy_permits: Arc::new(Semaphore::new(SQLITE_READERS - LOOKUPS - 1)),
                    remaining: Arc::default(),
                }
            }
            DatabaseUrl::Postgres(url) => {
                observed = Arc::default();
                pooled = connections;
                // A quarter of the connections is reserved for reads, because changes may wait for locks.
                let write_permits = Arc::new(Semaphore::new(connections - connections / 4));
                Pools::Postgres { pool: pool(postgres(url, &observed)?, connections)?, write_permits }
            }
        };
        let permits = Arc::new(Semaphore::new(pooled - LOOKUPS));
        let store = Self {
            pools,
            pending_writes: Arc::new(Semaphore::new(MAX_PENDING_WRITES)),
            permits,
            observed,
            feed_reads: Arc::default(),
        };
        store.write(|_| Ok::<_, Error>(())).await.map_err(|why| match url {
            DatabaseUrl::Sqlite(path) => inspection::explain(path, why),
            DatabaseUrl::Postgres(url) => {
                Error::Unusable(format!("cannot open the database on {}: {why}", url.servers()))
            }
        })?;
        for warning in store.read(warnings).await? {
            tracing::warn!("{warning}");
        }
        Ok(store)
    }

    /// Reads without a transaction: several statements may see several states of the database.
    ///
    /// # Errors
    /// Those of the work, and [`Error::Busy`] when no connection was free within 5 seconds.
    pub async fn read<T, E>(&self, work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (store, work) = (self.clone(), logging_if_slow(work));
        run(async move { store.begin(store.permit().await?, work).await }).await
    }

    /// A [`Store::read`] that is short, without which nothing else begins, such as of a session. One connection is left to these.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn lookup<T, E>(&self, work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (store, work) = (self.clone(), logging_if_slow(work));
        run(async move { store.begin((), work).await }).await
    }

    /// Begins a read. What is held is kept until its end.
    async fn begin<T, E>(
        &self,
        held: impl Send + 'static,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Begun<T, E>, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let work = move |conn: &mut Conn<'_>| {
            let _held = held;
            work(conn)
        };
        match &self.pools {
            Pools::Sqlite { readers, .. } => {
                let (mut conn, observed) = (connection(readers).await?, self.observed.clone());
                Ok(spawn_blocking(move || observed.observe(|| work(&mut Conn::Sqlite(&mut conn)))))
            }
            Pools::Postgres { pool, .. } => begin_on_postgres(pool, |conn| work(&mut Conn::Postgres(conn))).await,
        }
    }

    /// The feed of a user after a position, as [`feed::after`] reads it; errors as of [`Store::read`]. Reads that wait run together.
    pub async fn feed_after(&self, user: UserId, position: i64, limit: usize) -> Result<Option<FeedSlice>> {
        let (answer, must_run) = self.feed_reads.add(user, position, limit);
        if must_run {
            let store = self.clone();
            tokio::spawn(async move {
                // Whoever was woken with this one comes now.
                tokio::task::yield_now().await;
                while let Some(batch) = store.feed_reads.next() {
                    let (wanted, limit) = (batch.wanted(), batch.limit);
                    batch.answer(store.read(move |conn| feed::after_each(conn, &wanted, limit)).await);
                }
            });
        }
        answer.await
    }

    /// Reads on one snapshot: always on SQLite, and with `one_snapshot` on PostgreSQL, where it takes three more round trips. Not on
    /// the calling thread: a disk that is slow for a moment would block every other task on it. It begins after `permits`, which are
    /// kept until its end.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn snapshot<T, E>(
        &self,
        permits: impl Future<Output: Send> + Send + 'static,
        snapshot: Snapshot,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (store, work) = (self.clone(), logging_if_slow(work));
        let begin = async move {
            let permits = permits.await;
            let heavy = match &store.pools {
                Pools::Sqlite { heavy_permits, .. } if !snapshot.light => {
                    Some(acquire(heavy_permits, BUSY_TIMEOUT).await?)
                }
                Pools::Sqlite { .. } | Pools::Postgres { .. } => None,
            };
            let held = (permits, heavy, store.permit().await?);
            let isolated = move |conn: &mut Conn<'_>| match conn {
                Conn::Sqlite(conn) => sqlite_snapshot(conn, work),
                Conn::Postgres(conn) if snapshot.one_snapshot => repeatable_read(conn, work),
                Conn::Postgres(_) => work(conn),
            };
            store.begin(held, isolated).await
        };
        run(begin).await
    }

    /// Runs the work in one transaction: `Ok` means that it was committed, `Err` that nothing was changed. Once begun, it
    /// runs to its end even if this future is dropped.
    ///
    /// # Errors
    /// Those of the work, [`Error::Overloaded`] when 512 others are pending, and [`Error::Busy`] when it waited 5 seconds for its turn or
    /// for a lock; on PostgreSQL 1.5 seconds for its turn. Work must return an error of the database and not go on after it: SQLite may
    /// have rolled back all statements before the error, and would commit those after it.
    pub async fn write<T, E>(&self, work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.write_then(work, |_| ()).await
    }

    /// A [`Store::write`] that runs `on_commit` on the result after the commit, even if this future is dropped. It must not block.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_then<T, E>(
        &self,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        on_commit: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let slot = self.pending_writes.clone().try_acquire_owned().map_err(|_none_left| Error::Overloaded)?;
        let work = logging_if_slow(work);
        match &self.pools {
            Pools::Sqlite { writer, .. } => writer.write(slot, work, on_commit).await,
            Pools::Postgres { pool, write_permits } => {
                let (store, pool, write_permits) = (self.clone(), pool.clone(), write_permits.clone());
                let begin = async move {
                    let began = Instant::now();
                    let permit = acquire(&write_permits, WRITE_PERMIT_TIMEOUT).await?;
                    let shared = acquire(&store.permits, WRITE_PERMIT_TIMEOUT.saturating_sub(began.elapsed())).await?;
                    store.observed.metrics.write_wait.observe(began.elapsed().as_secs_f64());
                    let write = move |conn: &mut Postgres| {
                        let _held = [slot, permit, shared];
                        let began = Instant::now();
                        let done = transaction(conn, work)?;
                        store.observed.metrics.count_commit(began, 1);
                        // A panic is in the log; the change is made.
                        let _ = catch_unwind(AssertUnwindSafe(|| on_commit(&done)));
                        Ok(done)
                    };
                    begin_on_postgres(&pool, write).await
                };
                run(begin).await
            }
        }
    }

    /// A permit to use a pooled connection.
    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let began = Instant::now();
        let permit = acquire(&self.permits, BUSY_TIMEOUT).await;
        self.observed.metrics.read_wait.observe(began.elapsed().as_secs_f64());
        permit
    }

    /// A lock that only one holds at a time, of all servers on a schema of PostgreSQL; `None` if somebody else does.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn try_lock(&self, key: i32) -> Result<Option<Lock>> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(Some(Lock::of_sqlite())),
            Pools::Postgres { pool, .. } => Lock::try_on(pool.manager().create().await?, key).await,
        }
    }

    /// What is measured of it.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.observed.metrics
    }

    /// Changes in progress or queued, of at most 512.
    #[must_use]
    pub fn pending_writes(&self) -> usize {
        MAX_PENDING_WRITES - self.pending_writes.available_permits()
    }

    /// The number of statements since the database was opened, including those that begin and end transactions.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.observed.statements()
    }

    /// The number of connections to PostgreSQL since the database was opened: the server of each new one may be another primary.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.observed.connections()
    }

    /// Whether it is a SQLite file, which only one server uses.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        matches!(self.pools, Pools::Sqlite { .. })
    }

    /// Whether damage was found in the SQLite file. Changes answer [`Error::Damaged`] then.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.observed.is_damaged()
    }

    /// Closes the connections once they are unused. The last SQLite connection checkpoints and removes the write-ahead log.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close();
                writer.close().await;
            }
            Pools::Postgres { pool, .. } => pool.close(),
        }
    }
}
