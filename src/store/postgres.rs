//! Connections to a PostgreSQL server.

use std::sync::Arc;

use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};
use futures_util::FutureExt;

use super::{observing::Observations, timeouts::postgres_timeouts};

/// Opens connections for a pool.
pub(super) fn postgres(url: &str, observed: &Arc<Observations>) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let observed = observed.clone();
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let observed = observed.clone();
        async move {
            let mut conn = AsyncPgConnection::establish(url).await?;
            // A role or a database may have other defaults. `synchronous_commit`: what is acknowledged must be durable.
            let settings = format!("SET synchronous_commit = on; {}", postgres_timeouts());
            conn.batch_execute(&settings).await.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            conn.set_instrumentation(observed.counting());
            Ok(conn)
        }
        .boxed()
    });
    AsyncDieselConnectionManager::new_with_config(url, config)
}
