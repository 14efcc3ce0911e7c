//! Connections to a PostgreSQL server.

use std::{error::Error as _, sync::Arc, time::Duration};

use diesel::{ConnectionError, ConnectionResult, RunQueryDsl, dsl::sql, sql_types::Text};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};
use futures_util::FutureExt;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Conn, Error, Result, errors::NO_CONNECTION_LEFT, observing::Observations, timeouts::postgres_timeouts, tls,
    urls::PostgresUrl,
};

/// Errors are classified by their messages. By default only a superuser may choose their language; since PostgreSQL 15
/// `GRANT SET ON PARAMETER lc_messages` lets others do so.
const ENGLISH: &str = "SET lc_messages = 'C'";
/// A connection may hold a lock and say nothing for long. Before PostgreSQL 14 there is no such limit.
const NEVER_TOO_IDLE: &str = "SET idle_session_timeout = 0";

/// Of each address: there must be time for others as long as somebody waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_250);
/// A connection is given up on which nothing was acknowledged for so long. On Linux this counts instead of the number of keepalives.
const DEAD_AFTER: Duration = Duration::from_secs(11);
/// A keepalive is sent when nothing was sent or received for so long.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// Between two keepalives, until one is acknowledged.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// A role or a database may have others. What is acknowledged must be durable, and a change sees what was committed while it waited for a
/// lock.
const DEFAULTS: &str = "SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'";

/// A random read costs little more than the next one: on an SSD, and in memory. By PostgreSQL's default, 4, the newest messages of a user
/// who has many and has been quiet are looked for among those of all: 120 ms in a million messages, and 0.1 ms by the index of the user.
const PLANNER: &str = "SET random_page_cost = 1.1";

/// Opens connections for a pool.
pub(super) fn postgres(
    url: &PostgresUrl,
    observed: &Arc<Observations>,
) -> Result<AsyncDieselConnectionManager<AsyncPgConnection>> {
    let connector = tls::connector(url).map_err(Error::Unusable)?;
    let client = Arc::new((with_timeouts(&url.config), connector));
    let observed = observed.clone();
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    // The URL of the manager is not used: diesel would connect in plain text.
    config.custom_setup = Box::new(move |_url| {
        let (client, observed) = (client.clone(), observed.clone());
        async move {
            let mut conn = connect(&client.0, client.1.clone()).await?;
            let settings = format!("{DEFAULTS}; {PLANNER}; {}", postgres_timeouts());
            conn.batch_execute(&settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            // They may be refused, which changes nothing.
            for optional in [ENGLISH, NEVER_TOO_IDLE] {
                let _ = conn.batch_execute(optional).await;
            }
            conn.set_instrumentation(observed.counting());
            observed.count_connection();
            Ok(conn)
        }
        .boxed()
    });
    Ok(AsyncDieselConnectionManager::new_with_config("", config))
}

/// The configuration with timeouts, where the URL does not say otherwise: a server whose machine vanished is noticed within seconds.
/// Linux itself waits for a quarter of an hour, or for two hours for an answer to what has arrived.
fn with_timeouts(config: &tokio_postgres::Config) -> tokio_postgres::Config {
    let (mut config, defaults) = (config.clone(), tokio_postgres::Config::new());
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(DEAD_AFTER);
    }
    if config.get_keepalives_idle() == defaults.get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    config
}

/// What of the server's settings an operator should change, in sentences. Refuses a database that cannot hold or compare all texts.
pub(super) fn warnings(conn: &mut Conn<'_>) -> Result<Vec<String>> {
    let Conn::Postgres(conn) = conn else { return Ok(Vec::new()) };
    // Raw, because diesel has no settings of servers.
    let settings = sql::<(Text, Text, Text)>(
        "SELECT current_setting('server_encoding'), current_setting('fsync'), current_setting('lc_messages')",
    );
    let (encoding, fsync, language): (String, String, String) = settings.get_result(*conn)?;
    if encoding != "UTF8" {
        return Err(Error::Unusable(format!(
            "the database has the encoding {encoding}, which is not for texts of all languages: make one with CREATE DATABASE … \
             ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    let mut warnings = Vec::new();
    if fsync == "off" {
        warnings
            .push("PostgreSQL runs with fsync = off: what was answered may be lost when its machine fails".to_owned());
    }
    if !(["C", "POSIX", ""].contains(&&*language) || language.starts_with("C.") || language.starts_with("en")) {
        warnings.push(format!(
            "PostgreSQL answers in another language (lc_messages = {language}), so that busy and full databases are reported as \
             internal errors: GRANT SET ON PARAMETER lc_messages to the user of the server"
        ));
    }
    Ok(warnings)
}

async fn connect(config: &tokio_postgres::Config, connector: MakeRustlsConnect) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = config.connect(connector).await.map_err(|error| {
        // The cause says more than the error itself: why a handshake failed, or what the server answered.
        let cause = error.source().map(|cause| format!(": {cause}"));
        let said = error.to_string();
        let said = match cause {
            Some(cause) if !said.ends_with(&cause) => said + &cause,
            _ => said,
        };
        let is_full = error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS);
        ConnectionError::BadConnection(if is_full { format!("{NO_CONNECTION_LEFT}: {said}") } else { said })
    })?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}
