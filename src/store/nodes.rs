//! The table `nodes`: the servers that use a PostgreSQL database. A SQLite file is for one server, and has no such table.

use std::time::Duration;

use diesel::{
    RunQueryDsl,
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{Conn, Result};
use crate::model::timestamps::Timestamp;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Random, anew at each start.
    pub id: i64,
    /// Of the program.
    pub version: String,
    /// The ids of the keys that it knows, the one that signs first; none where nobody signs in.
    pub key_ids: Vec<String>,
}

/// Now, by the clock of PostgreSQL. Not `now()`, which is when the transaction began.
const CLOCK: &str = "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";

/// The time by the clock of PostgreSQL; `None` on SQLite, which has that of the server.
pub fn clock(conn: &mut Conn<'_>) -> Result<Option<Timestamp>> {
    let Conn::Postgres(c) = conn else { return Ok(None) };
    // Raw, as diesel does not know this clock.
    Ok(Some(Timestamp::from_milliseconds(sql::<BigInt>(&format!("SELECT {CLOCK}")).get_result(*c)?)))
}

/// Says that a server uses the database, from now on for the time of the lease, and gives the others that do. Removes those that
/// have not said so for long.
pub fn renew(conn: &mut Conn<'_>, node: &Node, lease: Duration) -> Result<Vec<Node>> {
    let Conn::Postgres(c) = conn else { return Ok(Vec::new()) };
    let lease = lease.as_millis();
    // Raw for the clock.
    let renew = sql_query(format!(
        "INSERT INTO nodes (id, version, key_ids, renewed_at) VALUES ($1, $2, $3, {CLOCK}) \
         ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at"
    ));
    renew
        .bind::<BigInt, _>(node.id)
        .bind::<Text, _>(&node.version)
        .bind::<Text, _>(node.key_ids.join(","))
        .execute(*c)?;
    sql_query(format!("DELETE FROM nodes WHERE renewed_at < {CLOCK} - {}", lease * 6)).execute(*c)?;
    let others = sql::<(BigInt, Text, Text)>(&format!(
        "SELECT id, version, key_ids FROM nodes WHERE renewed_at >= {CLOCK} - {lease} AND id <> "
    ));
    let others: Vec<(i64, String, String)> = others.bind::<BigInt, _>(node.id).load(*c)?;
    let key_ids = |text: &str| text.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    Ok(others.into_iter().map(|(id, version, keys)| Node { id, version, key_ids: key_ids(&keys) }).collect())
}

/// Says that a server uses the database no longer.
pub fn leave(conn: &mut Conn<'_>, id: i64) -> Result<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    sql_query("DELETE FROM nodes WHERE id = $1").bind::<BigInt, _>(id).execute(*c)?;
    Ok(())
}
