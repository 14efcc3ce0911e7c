//! The table `presences`: who is connected to which server on a PostgreSQL database. Each server writes its own rows, one batch after
//! the other, so that their versions grow in commit order. A SQLite file is for one server, and has no such table.

use diesel::{
    RunQueryDsl,
    dsl::sql,
    sql_query,
    sql_types::{Array, BigInt, Nullable},
};

use super::{Conn, Result};
use crate::model::{ids::UserId, timestamps::Timestamp};

/// What another server has published of a user.
pub struct PresenceRow {
    /// The server.
    pub node: i64,
    /// The user.
    pub user: UserId,
    /// When they left it; `None` while they are connected.
    pub left_at: Option<Timestamp>,
    /// Which of the server's changes it is.
    pub version: i64,
}

/// Publishes that these users are connected to a server, or when they left it. The versions are those after `version`.
pub fn publish(conn: &mut Conn<'_>, node: i64, version: i64, changes: &[(UserId, Option<Timestamp>)]) -> Result<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    let (users, left): (Vec<_>, Vec<_>) =
        changes.iter().map(|(user, left)| (user.key(), left.map(Timestamp::milliseconds))).unzip();
    // Raw, because diesel has no tables of arrays.
    let query = sql_query(
        "INSERT INTO presences (node_id, user_id, left_at, version) \
         SELECT $1, user_id, left_at, $2 + number \
         FROM unnest($3, $4) WITH ORDINALITY AS changes (user_id, left_at, number) \
         ON CONFLICT (node_id, user_id) DO UPDATE SET left_at = excluded.left_at, version = excluded.version",
    );
    query
        .bind::<BigInt, _>(node)
        .bind::<BigInt, _>(version)
        .bind::<Array<BigInt>, _>(users)
        .bind::<Array<Nullable<BigInt>>, _>(left)
        .execute(*c)?;
    Ok(())
}

/// What servers have published since: each is given with the version up to which it is known. By server and version, at most `limit`.
pub fn changes(conn: &mut Conn<'_>, known: &[(i64, i64)], limit: usize) -> Result<Vec<PresenceRow>> {
    let Conn::Postgres(c) = conn else { return Ok(Vec::new()) };
    let (nodes, versions): (Vec<i64>, Vec<i64>) = known.iter().copied().unzip();
    let query = sql::<(BigInt, BigInt, Nullable<BigInt>, BigInt)>(
        "SELECT node_id, user_id, left_at, version FROM presences NATURAL JOIN unnest(",
    )
    .bind::<Array<BigInt>, _>(nodes)
    .sql(", ")
    .bind::<Array<BigInt>, _>(versions)
    .sql(") AS known (node_id, known) WHERE version > known ORDER BY node_id, version LIMIT ")
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<(i64, UserId, Option<Timestamp>, i64)> = query.load(*c)?;
    Ok(rows.into_iter().map(|(node, user, left_at, version)| PresenceRow { node, user, left_at, version }).collect())
}

/// Forgets who left a server before a time.
pub fn forget_left(conn: &mut Conn<'_>, node: i64, before: Timestamp) -> Result<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    let forget = sql_query("DELETE FROM presences WHERE node_id = $1 AND left_at < $2");
    forget.bind::<BigInt, _>(node).bind::<BigInt, _>(before.milliseconds()).execute(*c)?;
    Ok(())
}
