//! The feed of a user: the messages that they sent or received, and the table `events` of everything else.
//!
//! Messages and events draw their ids from one sequence, while the users concerned are locked. So the entries of a user
//! grow in commit order. Ids have gaps; what was trimmed is known by `server.trimmed_through`.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl,
    dsl::sql,
    expression::SqlLiteral,
    sql_types::{BigInt, Bool, Integer, Nullable, SmallInt, Text},
};

use super::{Conn, Result, cached::CachedStatement, conn::on, schema::events};
use crate::model::{
    feed::{Entry, Kind, NewEvent},
    ids::{MessageId, UserId},
    timestamps::Timestamp,
};

/// PostgreSQL allows 65,535 parameters.
const EVENTS_PER_STATEMENT: usize = 10_000;

/// The highest id of all messages and events, also of those that were trimmed.
pub(super) const LAST_ID: &str = "SELECT max(id) FROM (SELECT max(id) AS id FROM messages \
     UNION ALL SELECT max(id) FROM events UNION ALL SELECT trimmed_through FROM server) AS ids";

/// The next id of a message or of an event on SQLite, where only one connection writes. PostgreSQL has a sequence.
pub(super) fn next_sqlite_id() -> SqlLiteral<BigInt> {
    sql(&format!("({LAST_ID}) + 1"))
}

/// The highest id of all messages and events, also of those that were trimmed; 0 before the first.
pub fn last_id(conn: &mut Conn<'_>) -> Result<i64> {
    Ok(on!(conn, |c| sql::<BigInt>(LAST_ID).get_result(c))?)
}

/// Inserts events. The users must be locked.
pub fn insert(conn: &mut Conn<'_>, kind: Kind, new: &[NewEvent], at: Timestamp) -> Result<()> {
    let row = |event: &NewEvent| {
        (
            events::user_id.eq(event.user),
            events::kind.eq(kind.code()),
            events::message_id.eq(event.message.map_or(0, MessageId::key)),
            events::peer_id.eq(event.peer),
            events::at.eq(at),
        )
    };
    let table = diesel::insert_into(events::table);
    match conn {
        Conn::Sqlite(c) => {
            for event in new {
                let insert = table.values((events::id.eq(next_sqlite_id()), row(event)));
                CachedStatement(insert.returning(events::id)).get_result::<i64>(*c)?;
            }
        }
        Conn::Postgres(c) => {
            for events in new.chunks(EVENTS_PER_STATEMENT) {
                table.values(events.iter().map(row).collect::<Vec<_>>()).execute(*c)?;
            }
        }
    }
    Ok(())
}

/// The feed of a user after a position, from one snapshot.
pub struct FeedSlice {
    /// Oldest first, with the messages as they are now.
    pub entries: Vec<Entry>,
    /// Entries up to this position may be missing.
    pub trimmed_through: i64,
    /// Whether the account was erased.
    pub is_erased: bool,
}

/// Whether the user was erased, [`FeedSlice::trimmed_through`], and an entry if there is one.
type Row = (Bool, BigInt, Nullable<(BigInt, SmallInt, BigInt, BigInt, BigInt, Nullable<MessageColumns>)>);
type MessageColumns =
    (BigInt, BigInt, BigInt, Text, Nullable<BigInt>, Nullable<Text>, Integer, BigInt, Nullable<BigInt>);

/// The entries after a position, at most `limit`; `None` if there never was such a user.
pub fn after(conn: &mut Conn<'_>, user: UserId, position: i64, limit: i64) -> Result<Option<FeedSlice>> {
    // Raw, because diesel has no ordered union. Each part is read in the order of its index. One statement, because on
    // PostgreSQL each has a snapshot of its own.
    let query = sql::<Row>(
        "SELECT users.erased_at IS NOT NULL, server.trimmed_through, entry.* FROM users CROSS JOIN server LEFT JOIN (\
         SELECT id AS position, CAST(1 AS SMALLINT) AS kind, id AS message_id, receiver_id AS peer_id, created_at AS at, \
         id, sender_id, receiver_id, content, reply_to_id, client_id, version, created_at, edited_at \
         FROM messages WHERE deleted_at IS NULL AND sender_id = ",
    )
    .bind::<BigInt, _>(user)
    .sql(" AND id > ")
    .bind::<BigInt, _>(position)
    .sql(
        " UNION ALL SELECT id, CAST(1 AS SMALLINT), id, sender_id, created_at, \
         id, sender_id, receiver_id, content, reply_to_id, client_id, version, created_at, edited_at \
         FROM messages WHERE deleted_at IS NULL AND receiver_id = ",
    )
    .bind::<BigInt, _>(user)
    .sql(" AND id > ")
    .bind::<BigInt, _>(position)
    .sql(
        " UNION ALL SELECT events.id, events.kind, events.message_id, events.peer_id, events.at, \
         messages.id, sender_id, receiver_id, content, reply_to_id, client_id, version, created_at, edited_at \
         FROM events LEFT JOIN messages ON messages.id = events.message_id AND messages.deleted_at IS NULL \
         WHERE events.user_id = ",
    )
    .bind::<BigInt, _>(user)
    .sql(" AND events.id > ")
    .bind::<BigInt, _>(position)
    .sql(" ORDER BY position LIMIT ")
    .bind::<BigInt, _>(limit)
    .sql(") AS entry ON TRUE WHERE users.id = ")
    .bind::<BigInt, _>(user);
    let rows: Vec<(bool, i64, Option<Entry>)> = on!(conn, |c| CachedStatement(query).load(c))?;
    let Some(&(is_erased, trimmed_through, _)) = rows.first() else { return Ok(None) };
    let mut entries: Vec<Entry> = rows.into_iter().filter_map(|(.., entry)| entry).collect();
    entries.sort_by_key(|entry| entry.position);
    Ok(Some(FeedSlice { entries, trimmed_through, is_erased }))
}

/// The position of the end of a user's feed: of the last entry, even if it was trimmed. `None` without such a user.
pub fn head(conn: &mut Conn<'_>, user: UserId) -> Result<Option<i64>> {
    // Raw, because diesel has no maximum of several tables. One statement, as in `after`.
    let query = sql::<(BigInt, Nullable<BigInt>, Nullable<BigInt>, Nullable<BigInt>)>(
        "SELECT trimmed_through, (SELECT max(id) FROM messages WHERE deleted_at IS NULL AND sender_id = ",
    )
    .bind::<BigInt, _>(user)
    .sql("), (SELECT max(id) FROM messages WHERE deleted_at IS NULL AND receiver_id = ")
    .bind::<BigInt, _>(user)
    .sql("), (SELECT max(id) FROM events WHERE user_id = ")
    .bind::<BigInt, _>(user)
    .sql(") FROM users CROSS JOIN server WHERE erased_at IS NULL AND users.id = ")
    .bind::<BigInt, _>(user);
    let found: Option<(i64, Option<i64>, Option<i64>, Option<i64>)> =
        on!(conn, |c| CachedStatement(query).get_result(c).optional())?;
    Ok(found
        .map(|(trimmed, sent, received, event)| [sent, received, event].into_iter().flatten().fold(trimmed, i64::max)))
}

/// The oldest events of all users and when they happened, at most `limit`.
pub fn oldest(conn: &mut Conn<'_>, limit: i64) -> Result<Vec<(i64, Timestamp)>> {
    let query = events::table.select((events::id, events::at)).order(events::id).limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Deletes the events of all users up to a position.
pub fn trim(conn: &mut Conn<'_>, through: i64) -> Result<()> {
    let query = diesel::delete(events::table.filter(events::id.le(through)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
