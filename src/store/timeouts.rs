//! How long the store waits for the database.

use std::time::Duration;

use diesel::{RunQueryDsl, sql_query};

use super::{Conn, Result};

/// How long a unit of work waits for a connection, and a connection for a lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a change waits for a permit to use a PostgreSQL connection. It is shorter, because under load an early error
/// lets the client retry; the change may have to wait for locks after that.
pub(super) const WRITE_PERMIT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// PostgreSQL cancels a statement after this.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// PostgreSQL ends a transaction whose server says nothing for so long: its process is frozen, or a proxy between the two has not
/// noticed that it is gone. Others may wait for its locks.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits for a lock at a time, before the writer answers those that have waited for `BUSY_TIMEOUT`.
pub(super) const WRITER_LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a checkpoint waits for those who write, and they for it while it waits for readers.
pub(super) const LOG_LOCK_TIMEOUT: Duration = Duration::from_millis(20);

/// PostgreSQL ends the session of a server whose machine vanished: without this its transaction and its locks stay for two hours.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
                         SET tcp_user_timeout = 11000";

/// The settings of a PostgreSQL session with these timeouts.
pub(super) fn postgres_timeouts() -> String {
    let (statement, lock) = (STATEMENT_TIMEOUT.as_millis(), BUSY_TIMEOUT.as_millis());
    let idle = IDLE_TIMEOUT.as_millis();
    let transactions = format!("SET lock_timeout = {lock}; SET idle_in_transaction_session_timeout = {idle}");
    format!("SET statement_timeout = {statement}; {transactions}; {KEEPALIVE}")
}

/// This transaction may wait for something else than the database, such as a file, for as long as it takes.
pub fn allow_pauses(conn: &mut Conn<'_>) -> Result<()> {
    if let Conn::Postgres(conn) = conn {
        sql_query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(*conn)?;
    }
    Ok(())
}
