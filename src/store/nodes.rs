//! The table `nodes`: the servers that use a PostgreSQL database. A SQLite file is for one server, and has no such table.

use std::time::Duration;

use diesel::{
    OptionalExtension, RunQueryDsl,
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{
    Conn, Result,
    conn::{Postgres, has_table},
};
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
    /// The last migration that it knows.
    pub knows: String,
    /// When it said for the first time that it uses the database, by the clock of PostgreSQL.
    pub started_at: Timestamp,
}

/// How long others believe that a server uses the database.
pub const LEASE: Duration = Duration::from_secs(10);
/// Now, by the clock of PostgreSQL. Not `now()`, which is when the transaction began.
const CLOCK: &str = "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";

/// The time by the clock of PostgreSQL; `None` on SQLite, which has that of the server.
pub fn clock(conn: &mut Conn<'_>) -> Result<Option<Timestamp>> {
    let Conn::Postgres(c) = conn else { return Ok(None) };
    // Raw, as diesel does not know this clock.
    Ok(Some(Timestamp::from_milliseconds(sql::<BigInt>(&format!("SELECT {CLOCK}")).get_result(*c)?)))
}

/// Lets only one server at a time say for the first time that it uses the database, until the end of the transaction: of two that do
/// not agree, one sees the other.
pub fn lock(conn: &mut Conn<'_>) -> Result<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    sql_query("LOCK TABLE nodes IN EXCLUSIVE MODE").execute(*c)?;
    Ok(())
}

/// The servers that use the database.
pub struct Nodes {
    /// Whether this one was not among them, or not any more.
    pub is_new: bool,
    /// When it said so for the first time. It is not younger only because its lease had ended, or the table was emptied.
    pub started_at: Timestamp,
    /// Now.
    pub renewed_at: Timestamp,
    /// Those besides it.
    pub others: Vec<Node>,
}

#[derive(diesel::QueryableByName)]
struct Lease {
    #[diesel(sql_type = BigInt)]
    started_at: Timestamp,
    #[diesel(sql_type = BigInt)]
    renewed_at: Timestamp,
}

/// Says that a server uses the database, from now on for the time of a lease, and gives the others that do. Removes those that
/// have not said so for long.
pub fn renew(conn: &mut Conn<'_>, node: &Node) -> Result<Nodes> {
    let Conn::Postgres(c) = conn else {
        let started_at = node.started_at;
        return Ok(Nodes { is_new: true, started_at, renewed_at: started_at, others: Vec::new() });
    };
    let lease = LEASE.as_millis();
    // Raw for the clock.
    let renew = format!(
        "UPDATE nodes SET renewed_at = {CLOCK} WHERE id = $1 AND renewed_at >= {CLOCK} - {lease} RETURNING started_at, renewed_at"
    );
    let renewed: Option<Lease> = sql_query(renew).bind::<BigInt, _>(node.id).get_result(*c).optional()?;
    let is_new = renewed.is_none();
    let Lease { started_at, renewed_at } = match renewed {
        Some(lease) => lease,
        None => insert(c, node)?,
    };
    sql_query(format!("DELETE FROM nodes WHERE renewed_at < {CLOCK} - {}", lease * 6)).execute(*c)?;
    let others = sql::<(BigInt, Text, Text, Text, BigInt)>(&format!(
        "SELECT id, version, key_ids, knows, started_at FROM nodes WHERE renewed_at >= {CLOCK} - {lease} AND id <> "
    ));
    let others: Vec<(i64, String, String, String, Timestamp)> = others.bind::<BigInt, _>(node.id).load(*c)?;
    let key_ids = |text: &str| text.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let other = |(id, version, keys, knows, started_at): (i64, String, String, String, Timestamp)| Node {
        id,
        version,
        key_ids: key_ids(&keys),
        knows,
        started_at,
    };
    Ok(Nodes { is_new, started_at, renewed_at, others: others.into_iter().map(other).collect() })
}

fn insert(conn: &mut Postgres, node: &Node) -> Result<Lease> {
    let insert = format!(
        "INSERT INTO nodes (id, version, key_ids, knows, started_at, renewed_at) VALUES ($1, $2, $3, $4, $5, {CLOCK}) \
         ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at \
         RETURNING started_at, renewed_at"
    );
    let query = sql_query(insert)
        .bind::<BigInt, _>(node.id)
        .bind::<Text, _>(&node.version)
        .bind::<Text, _>(node.key_ids.join(","))
        .bind::<Text, _>(&node.knows)
        .bind::<BigInt, _>(node.started_at);
    Ok(query.get_result(conn)?)
}

/// The version of a server that uses the database and does not know a migration.
pub fn version_without(conn: &mut Conn<'_>, migration: &str) -> Result<Option<String>> {
    let Conn::Postgres(c) = conn else { return Ok(None) };
    let lease = LEASE.as_millis();
    let query = sql::<Text>(&format!("SELECT version FROM nodes WHERE renewed_at >= {CLOCK} - {lease} AND knows < "));
    Ok(query.bind::<Text, _>(migration).sql(" LIMIT 1").get_result(*c).optional()?)
}

/// How many connections PostgreSQL lets the user of the server have; `None` on SQLite.
pub fn max_connections(conn: &mut Conn<'_>) -> Result<Option<usize>> {
    let Conn::Postgres(c) = conn else { return Ok(None) };
    // Raw, because diesel has no settings of servers.
    let most: i64 = sql::<BigInt>(
        "SELECT least(
             CAST(current_setting('max_connections') AS BIGINT) - CAST(current_setting('superuser_reserved_connections') AS BIGINT),
             CASE WHEN NOT rolsuper THEN nullif(rolconnlimit, -1) END, CASE WHEN NOT rolsuper THEN nullif(datconnlimit, -1) END
         ) FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()",
    )
    .get_result(*c)?;
    Ok(usize::try_from(most).ok())
}

/// Whether a server uses the database; of a SQLite file that is not known. Nobody uses one that has no tables yet.
pub fn is_any_alive(conn: &mut Conn<'_>) -> Result<bool> {
    if !has_table(conn, "nodes")? {
        return Ok(false);
    }
    let Conn::Postgres(c) = conn else { return Ok(false) };
    let lease = LEASE.as_millis();
    let query = format!("SELECT count(*) FROM nodes WHERE renewed_at >= {CLOCK} - {lease}");
    Ok(sql::<BigInt>(&query).get_result::<i64>(*c)? > 0)
}

/// Says that a server uses the database no longer.
pub fn leave(conn: &mut Conn<'_>, id: i64) -> Result<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    sql_query("DELETE FROM nodes WHERE id = $1").bind::<BigInt, _>(id).execute(*c)?;
    Ok(())
}
