//! Connections and permits of the pools, and work on threads that may block.

use std::{fmt, sync::Arc, task::Poll, time::Duration};

use deadpool::{
    Runtime,
    managed::{Manager, Object, Pool, PoolError, Timeouts},
};
use diesel_async::{AsyncPgConnection, pooled_connection::AsyncDieselConnectionManager};
use futures_util::{future::BoxFuture, poll};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::{JoinError, JoinHandle, spawn_blocking},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Result, conn::Postgres, errors, timeouts::BUSY_TIMEOUT};

pub(super) type PostgresPool = Pool<AsyncDieselConnectionManager<AsyncPgConnection>>;

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

pub(super) async fn connection<M: Manager<Error: fmt::Display + Into<Error>>>(pool: &Pool<M>) -> Result<Object<M>> {
    pool.get().await.map_err(|error| match error {
        PoolError::Timeout(_) => Error::Busy,
        PoolError::Backend(error) => error.into(),
        PoolError::Closed => Error::Unavailable("it is being closed".into()),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Error::Failed(error.to_string()),
    })
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
