//! Connections and permits of the pools, and work on threads that may block.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{Manager, Object, Pool, PoolError, Timeouts},
};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use diesel_async::{AsyncPgConnection, pooled_connection::AsyncDieselConnectionManager};
use futures_util::{future::BoxFuture, poll};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::{JoinError, JoinHandle, spawn_blocking},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Result, conn::Postgres, errors, timeouts::BUSY_TIMEOUT};

/// Between two looks whether a connection of the pool is free.
const OWN_CONNECTION_PAUSE: Duration = Duration::from_millis(10);

pub(super) type PostgresPool = Pool<AsyncDieselConnectionManager<AsyncPgConnection>>;

/// A connection to a SQLite file as SQLite makes it: it does not change how the file keeps its log.
pub(super) fn establish(path: &Path) -> Result<SqliteConnection> {
    let conn = SqliteConnection::establish(in_utf8(path)?);
    let mut conn = conn.map_err(|why| Error::from_message(&why.to_string()))?;
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis()))?;
    Ok(conn)
}

/// The name of a file for SQLite, which knows no others.
pub(super) fn in_utf8(path: &Path) -> Result<&str> {
    let other = || Error::Unusable(format!("the name {} must be UTF-8: give the file another one", path.display()));
    path.to_str().ok_or_else(other)
}

pub(super) async fn acquire(permits: &Arc<Semaphore>, timeout: Duration) -> Result<OwnedSemaphorePermit> {
    let waiting = tokio::time::timeout(timeout, permits.clone().acquire_owned());
    waiting.await.ok().and_then(Result::ok).ok_or(Error::Busy)
}

/// Work that has begun, on a thread that may block. It goes on if nobody waits for it any more.
pub(super) type Begun<T, E> = JoinHandle<Result<T, E>>;

/// Waits until work has begun, and for its end. What has to wait for permits or for a connection waits in a task of its own: the permits
/// that it gets meanwhile are not held up by a caller that nobody polls, such as an operation on the socket of a client that does not
/// read. The task ends with its caller.
pub(super) fn run<T, E>(
    begin: impl Future<Output = Result<Begun<T, E>, E>> + Send + 'static,
) -> impl Future<Output = Result<T, E>> + Send
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    // Boxed before all else, which keeps the futures of callers small.
    let mut begin: BoxFuture<'static, _> = Box::pin(begin);
    async move {
        let work = match poll!(&mut begin) {
            Poll::Ready(work) => work,
            Poll::Pending => {
                let (sender, receiver) = oneshot::channel();
                // Of one type for all work, which keeps the program small.
                let task: BoxFuture<'static, ()> = Box::pin(async move { drop(sender.send(begin.await)) });
                let _ends_with_the_caller = AbortOnDropHandle::new(tokio::spawn(task));
                receiver.await.unwrap_or_else(|_ended| Err(Error::Failed("a unit of work has not begun".into()).into()))
            }
        };
        result(work?.await)
    }
}

/// The result of a task.
fn result<T, E: From<Error>>(ended: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    ended.unwrap_or_else(|why| Err(Error::Failed(format!("a unit of work has ended: {why}")).into()))
}

pub(super) async fn begin_on_postgres<T, E>(
    pool: &PostgresPool,
    work: impl FnOnce(&mut Postgres) -> Result<T, E> + Send + 'static,
) -> Result<Begun<T, E>, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (conn, pool) = (connection(pool).await?, pool.clone());
    Ok(spawn_blocking(move || {
        // What this thread met before may have been another server.
        errors::take_read_only_server();
        let done = work(&mut Postgres::from(conn));
        if errors::take_read_only_server() {
            // It was the primary when the pool connected to it; another one may be now.
            pool.retain(|_, _| false);
        }
        done
    }))
}

/// A connection of the pool. If the server gives no more, one that the pool has already is waited for.
pub(super) async fn connection<M: Manager<Error: fmt::Display + Into<Error>>>(pool: &Pool<M>) -> Result<Object<M>> {
    let began = Instant::now();
    loop {
        let error = match pool.get().await {
            Ok(conn) => return Ok(conn),
            Err(PoolError::Timeout(_)) => Error::Busy,
            Err(PoolError::Backend(error)) => error.into(),
            Err(PoolError::Closed) => Error::Unavailable("it is being closed".into()),
            Err(error @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_))) => {
                Error::Failed(error.to_string())
            }
        };
        if !error.is_no_connection_left() {
            return Err(error);
        }
        while pool.status().available == 0 {
            if pool.status().size == 0 || began.elapsed() >= BUSY_TIMEOUT {
                return Err(error);
            }
            tokio::time::sleep(OWN_CONNECTION_PAUSE).await;
        }
    }
}

pub(super) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    result(spawn_blocking(work).await)
}

pub(super) fn pool<M: Manager>(manager: M, connections: usize) -> Result<Pool<M>> {
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(BUSY_TIMEOUT), create: Some(BUSY_TIMEOUT), recycle: Some(BUSY_TIMEOUT) })
        .build()
        .map_err(|error| Error::Failed(error.to_string()))
}
