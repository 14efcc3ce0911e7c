//! The connections: one SQLite file with one writer and several readers, or a PostgreSQL pool, chosen by the URL.

use std::{
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{Manager, Object, Pool, PoolError, Timeouts},
};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Conn, Error, Result,
    conn::{Postgres, at_one_moment, sqlite_snapshot, transaction},
    inspection,
    sqlite::{SqliteFile, make_private},
    writer::Writer,
};

/// How long a unit of work waits for a connection, and a connection for a lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// How long a change waits until it may have a PostgreSQL connection: under load it is better told soon to come again. After
/// that it may have to wait for locks, too.
const TURN: Duration = Duration::from_millis(1_500);
/// A PostgreSQL statement is stopped after this.
pub(super) const STATEMENT: Duration = Duration::from_secs(10);
const SQLITE_READERS: usize = 4;
/// Changes in hand at most; who comes then is told to come again.
const WRITES: usize = 512;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
    Postgres(String),
}

/// The text is no URL of a database that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database must be given as sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct BadUrl;

impl FromStr for DatabaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (!path.is_empty() && !path.starts_with(':')).then(|| Self::Sqlite(path.into())).ok_or(BadUrl)
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(text.into())),
            _ => Err(BadUrl),
        }
    }
}

/// For people: without the password and the address of a server.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite, {}", path.display()),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}

/// How several things are read at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// On PostgreSQL too.
    pub always: bool,
    /// It takes less than a millisecond. What takes longer leaves a reader of SQLite to what does not.
    pub light: bool,
}

type PostgresPool = Pool<AsyncDieselConnectionManager<AsyncPgConnection>>;

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    writes: Arc<Semaphore>,
    statements: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Pools {
    Sqlite { file: SqliteFile, writer: Arc<Writer>, readers: Pool<SqliteFile>, heavy: Arc<Semaphore> },
    Postgres { pool: PostgresPool, writers: Arc<Semaphore> },
}

impl Store {
    /// Opens the database and proves that it answers. A SQLite file that is not there is made. `connections` bounds the
    /// PostgreSQL pool.
    ///
    /// # Errors
    /// [`Error::Unusable`] with a sentence for the operator.
    pub async fn open(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        let statements = Arc::new(AtomicU64::new(0));
        let pools = match url {
            DatabaseUrl::Sqlite(path) => {
                let path = &inspection::resolved(path);
                inspection::inspect(path.clone()).await?;
                make_private(path);
                let file = |write| SqliteFile { path: path.clone(), write, statements: statements.clone() };
                let writer = Writer::open(file(true)).await.map_err(|why| inspection::sentence(path, why))?;
                Pools::Sqlite {
                    file: file(true),
                    writer: Arc::new(writer),
                    readers: pool(file(false), SQLITE_READERS)?,
                    // One reader is left to what is light.
                    heavy: Arc::new(Semaphore::new(SQLITE_READERS - 1)),
                }
            }
            DatabaseUrl::Postgres(url) => {
                // Changes that wait for a lock leave a connection in four to those who read.
                let writers = Arc::new(Semaphore::new(connections - connections / 4));
                Pools::Postgres { pool: pool(postgres(url, &statements), connections)?, writers }
            }
        };
        let store = Self { pools, writes: Arc::new(Semaphore::new(WRITES)), statements };
        store.write(|_| Ok::<_, Error>(())).await.map_err(|why| match url {
            DatabaseUrl::Sqlite(path) => inspection::sentence(path, why),
            DatabaseUrl::Postgres(_) => Error::Unusable(format!("cannot open the database: {why}")),
        })?;
        Ok(store)
    }

    /// Reads: what is read by several statements may be from several moments.
    ///
    /// # Errors
    /// Those of the work, and [`Error::Busy`] when no connection was free in 5 seconds.
    pub async fn read<T, E>(&self, work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.pools {
            Pools::Sqlite { readers, .. } => on_sqlite(readers, work).await,
            Pools::Postgres { pool, .. } => on_postgres(pool, |conn| work(&mut Conn::Postgres(conn))).await,
        }
    }

    /// Reads several things as they are at one moment: always on SQLite, and where it is said on PostgreSQL, where it takes
    /// three more trips to the server. Not on the thread that asks: a disk that is slow for a moment would hold up
    /// everybody.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn snapshot<T, E>(
        &self,
        snapshot: Snapshot,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        match &self.pools {
            Pools::Sqlite { readers, heavy, .. } => {
                let mut turn = None;
                if !snapshot.light {
                    let waiting = tokio::time::timeout(BUSY, heavy.clone().acquire_owned());
                    turn = Some(waiting.await.ok().and_then(Result::ok).ok_or(Error::Busy)?);
                }
                let mut conn = checked_out(readers).await?;
                blocking(move || {
                    let _held: Option<OwnedSemaphorePermit> = turn;
                    sqlite_snapshot(&mut conn, work)
                })
                .await
            }
            Pools::Postgres { pool, .. } if snapshot.always => {
                on_postgres(pool, |conn| at_one_moment(conn, work)).await
            }
            Pools::Postgres { .. } => self.read(work).await,
        }
    }

    /// Does the work in one transaction: when this returns `Ok`, it is on the disk; when it returns `Err`, nothing was
    /// changed. Once begun, it goes on to its end even if this future is dropped.
    ///
    /// # Errors
    /// Those of the work, [`Error::Overloaded`] when 512 others are in hand, and [`Error::Busy`] when its turn did not
    /// come, or a lock was not free, in 5 seconds. Work must give back an error of the database: after one, SQLite may have
    /// undone all that was done before, and would keep what is done next.
    pub async fn write<T, E>(&self, work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let place = self.writes.clone().try_acquire_owned().map_err(|_none_left| Error::Overloaded)?;
        match &self.pools {
            Pools::Sqlite { writer, .. } => writer.write(place, work).await,
            Pools::Postgres { pool, writers } => {
                let turn = tokio::time::timeout(TURN, writers.clone().acquire_owned());
                let turn = turn.await.ok().and_then(Result::ok).ok_or(Error::Busy)?;
                on_postgres(pool, move |conn| {
                    let _held: [OwnedSemaphorePermit; 2] = [place, turn];
                    transaction(conn, work)
                })
                .await
            }
        }
    }

    /// Does the work on a connection that may write, but in no transaction.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.pools {
            Pools::Sqlite { file, .. } => {
                let mut conn = file.create().await?;
                blocking(move || work(&mut Conn::Sqlite(&mut conn))).await
            }
            Pools::Postgres { pool, .. } => on_postgres(pool, |conn| work(&mut Conn::Postgres(conn))).await,
        }
    }

    /// How many statements were run since the database was opened, those that begin and end transactions too.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Closes the connections once nobody uses them. The last SQLite connection takes the write-ahead log along.
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

async fn on_sqlite<T, E>(
    pool: &Pool<SqliteFile>,
    work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let mut conn = checked_out(pool).await?;
    blocking(move || work(&mut Conn::Sqlite(&mut conn))).await
}

async fn on_postgres<T, E>(
    pool: &PostgresPool,
    work: impl FnOnce(&mut Postgres) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let conn = checked_out(pool).await?;
    blocking(move || work(&mut Postgres::from(conn))).await
}

async fn checked_out<M: Manager<Error: fmt::Display + Into<Error>>>(pool: &Pool<M>) -> Result<Object<M>> {
    pool.get().await.map_err(|error| match error {
        PoolError::Timeout(_) => Error::Busy,
        PoolError::Backend(error) => error.into(),
        PoolError::Closed => Error::Unavailable("it is being closed".into()),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Error::Failed(error.to_string()),
    })
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|panic| Err(Error::Failed(format!("a unit of work broke off: {panic}")).into()))
}

fn pool<M: Manager>(manager: M, connections: usize) -> Result<Pool<M>> {
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(BUSY), create: Some(BUSY), recycle: Some(BUSY) })
        .build()
        .map_err(|error| Error::Failed(error.to_string()))
}

fn postgres(url: &str, statements: &Arc<AtomicU64>) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let statements = statements.clone();
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let statements = statements.clone();
        async move {
            let mut conn = AsyncPgConnection::establish(url).await?;
            // A role or a database may have other defaults: what is answered must be on the disk.
            let settings = format!(
                "SET synchronous_commit = on; SET statement_timeout = {}; SET lock_timeout = {}",
                STATEMENT.as_millis(),
                BUSY.as_millis()
            );
            conn.batch_execute(&settings).await.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            conn.set_instrumentation(counting(statements));
            Ok(conn)
        }
        .boxed()
    });
    AsyncDieselConnectionManager::new_with_config(url, config)
}

/// Counts the statements of a connection.
pub(super) fn counting(statements: Arc<AtomicU64>) -> impl Instrumentation {
    move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { .. } = event {
            statements.fetch_add(1, Ordering::Relaxed);
        }
    }
}
