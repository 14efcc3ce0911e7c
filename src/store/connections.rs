//! Connections and permits of the pools, and work on threads that may block.

use std::{fmt, sync::Arc, time::Duration};

use deadpool::{
    Runtime,
    managed::{Manager, Object, Pool, PoolError, Timeouts},
};
use diesel_async::{AsyncPgConnection, pooled_connection::AsyncDieselConnectionManager};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, Result, conn::Postgres, errors, timeouts::BUSY_TIMEOUT};

pub(super) type PostgresPool = Pool<AsyncDieselConnectionManager<AsyncPgConnection>>;

pub(super) async fn acquire(permits: &Arc<Semaphore>, timeout: Duration) -> Result<OwnedSemaphorePermit> {
    let waiting = tokio::time::timeout(timeout, permits.clone().acquire_owned());
    waiting.await.ok().and_then(Result::ok).ok_or(Error::Busy)
}

pub(super) async fn on_postgres<T, E>(
    pool: &PostgresPool,
    work: impl FnOnce(&mut Postgres) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let conn = connection(pool).await?;
    let work = move || {
        // What this thread met before may have been another server.
        errors::take_read_only_server();
        let done = work(&mut Postgres::from(conn));
        Ok::<_, E>((done, errors::take_read_only_server()))
    };
    let (done, is_read_only) = blocking(work).await?;
    if is_read_only {
        // It was the primary when the pool connected to it; another one may be now.
        pool.retain(|_, _| false);
    }
    done
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
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|panic| Err(Error::Failed(format!("a unit of work panicked: {panic}")).into()))
}

pub(super) fn pool<M: Manager>(manager: M, connections: usize) -> Result<Pool<M>> {
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(BUSY_TIMEOUT), create: Some(BUSY_TIMEOUT), recycle: Some(BUSY_TIMEOUT) })
        .build()
        .map_err(|error| Error::Failed(error.to_string()))
}
