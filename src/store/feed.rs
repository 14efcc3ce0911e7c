//! The feed of a user: the messages that they sent or received, and the table `events` of everything else.
//!
//! Messages and events draw their ids from one sequence, while the users concerned are locked. So the entries of a user
//! grow in commit order. Ids have gaps; what was trimmed of a user's events is known by `users.trimmed_through`.

use std::collections::{BTreeMap, HashMap};

use diesel::{
    ExpressionMethods, NullableExpressionMethods, OptionalExtension, QueryDsl, QueryResult, RunQueryDsl,
    SqliteConnection,
    connection::DefaultLoadingMode,
    dsl::{max, sql},
    sql_query,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, SmallInt, Text},
};

use super::{
    Conn, Result,
    cached::CachedStatement,
    conn::{Postgres, on},
    schema::{events, messages, server, users},
    visibility::{IS_READABLE, SQL_COLUMNS, SqlColumns},
};
use crate::model::{
    feed::{Entry, EventKind, NewEvent},
    ids::{MessageId, UserId},
    timestamps::Timestamp,
};

/// Bytes of the messages in one slice of a feed; the last one may go beyond. It bounds what a follower holds.
const MAX_SLICE_BYTES: usize = 256 * 1024;
/// PostgreSQL allows 65,535 parameters.
const EVENTS_PER_STATEMENT: usize = 10_000;

/// The highest id of all messages and events, also of those that were trimmed; 0 before the first.
pub fn last_id(conn: &mut Conn<'_>) -> Result<i64> {
    // Raw, because diesel has no maximum of several tables.
    type Ids = (BigInt, Nullable<BigInt>, Nullable<BigInt>);
    let query = "SELECT trimmed_through, (SELECT max(id) FROM messages), (SELECT max(id) FROM events) FROM server";
    let (trimmed, message, event): (i64, Option<i64>, Option<i64>) =
        on!(conn, |c| CachedStatement(sql::<Ids>(query)).get_result(c))?;
    Ok([message, event].into_iter().flatten().fold(trimmed, i64::max))
}

/// Whether one of these entries is not there, or happened at another time, and was not trimmed.
pub fn lacks_any(conn: &mut Conn<'_>, entries: &BTreeMap<i64, Option<Timestamp>>) -> Result<bool> {
    if entries.is_empty() {
        return Ok(false);
    }
    let ids = || entries.keys().copied();
    let sent = messages::table.filter(messages::id.eq_any(ids())).select((messages::id, messages::created_at));
    let happened = events::table.filter(events::id.eq_any(ids())).select((events::id, events::at));
    let trimmed = server::table.select(server::trimmed_through);
    let mut found: Vec<(i64, Timestamp)> = on!(conn, |c| sent.load(c))?;
    found.extend(on!(conn, |c| happened.load::<(i64, Timestamp)>(c))?);
    let found: HashMap<_, _> = found.into_iter().collect();
    // Last of all: what was trimmed meanwhile is noted here.
    let trimmed: i64 = on!(conn, |c| trimmed.first(c))?;
    Ok(entries.iter().any(|(id, at)| match found.get(id) {
        Some(found) => at.is_some_and(|at| at != *found),
        None => *id > trimmed,
    }))
}

/// The next id of a message or of an event on SQLite, where only one connection writes. PostgreSQL has a sequence.
pub(super) fn next_sqlite_id(conn: &mut SqliteConnection) -> Result<i64> {
    Ok(last_id(&mut Conn::Sqlite(conn))? + 1)
}

/// Inserts events. The users must be locked.
pub fn insert(conn: &mut Conn<'_>, kind: EventKind, new: &[NewEvent], at: Timestamp) -> Result<()> {
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
            let next = next_sqlite_id(c)?;
            for (id, event) in (next..).zip(new) {
                table.values((events::id.eq(id), row(event))).execute(*c)?;
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
    /// Whether there were no more.
    pub is_end: bool,
    /// Entries up to this position may be missing.
    pub trimmed_through: i64,
    /// Whether the account was erased.
    pub is_erased: bool,
}

/// Whether the user was erased, [`FeedSlice::trimmed_through`], and an entry if there is one.
type Row = (Bool, BigInt, Nullable<(BigInt, SmallInt, BigInt, BigInt, BigInt, Nullable<SqlColumns>)>);
/// [`Row`] as it is loaded.
type LoadedRow = (bool, i64, Option<Entry>);

/// What is selected of a user, before [`SQL_COLUMNS`]: together [`Row`], where `entry` is an entry of their feed.
const SHOWN: &str = "users.erased_at IS NOT NULL, users.trimmed_through, entry.*,";
/// The messages of a feed that a user has sent; the id of the user follows.
const SENT: &str = "SELECT id AS position, CAST(1 AS SMALLINT) AS kind, id AS message_id, receiver_id AS peer_id, created_at AS at \
     FROM messages WHERE sender_id = ";
/// The messages of a feed that a user has received; the id of the user follows.
const RECEIVED: &str = "UNION ALL SELECT id, CAST(1 AS SMALLINT), id, sender_id, created_at \
     FROM messages WHERE receiver_id = ";
/// All other entries.
const HAPPENED: &str = "UNION ALL SELECT id, kind, message_id, peer_id, at FROM events WHERE user_id = ";
/// The end of the entries, and the message of each as it is now.
const WITH_MESSAGES: &str = ") AS entry ON TRUE LEFT JOIN messages ON messages.id = entry.message_id AND ";

/// The entries after a position, at most `limit`, and fewer if their messages are large; `None` if there never was such a user.
pub fn after(conn: &mut Conn<'_>, user: UserId, position: i64, limit: usize) -> Result<Option<FeedSlice>> {
    Ok(after_each(conn, &[(user, position)], limit)?.pop().flatten())
}

/// The feeds of several users, in their order, each [`after`] a position; on PostgreSQL from one snapshot.
pub fn after_each(conn: &mut Conn<'_>, wanted: &[(UserId, i64)], limit: usize) -> Result<Vec<Option<FeedSlice>>> {
    match conn {
        Conn::Sqlite(c) => wanted.iter().map(|(user, position)| after_on_sqlite(c, *user, *position, limit)).collect(),
        Conn::Postgres(c) => after_on_postgres(c, wanted, limit),
    }
}

fn after_on_sqlite(
    conn: &mut SqliteConnection,
    user: UserId,
    position: i64,
    limit: usize,
) -> Result<Option<FeedSlice>> {
    // Raw, because diesel has no ordered union. Each part is read in the order of its index. The order of the union is kept, and
    // an order of the whole would sort the rows once more.
    let query = sql::<Row>(&format!("SELECT {SHOWN} {SQL_COLUMNS} FROM users LEFT JOIN ({SENT}"))
        .bind::<BigInt, _>(user)
        .sql(" AND id > ")
        .bind::<BigInt, _>(position)
        .sql(&format!(" AND {IS_READABLE} {RECEIVED}"))
        .bind::<BigInt, _>(user)
        .sql(" AND id > ")
        .bind::<BigInt, _>(position)
        .sql(&format!(" AND {IS_READABLE} {HAPPENED}"))
        .bind::<BigInt, _>(user)
        .sql(" AND id > ")
        .bind::<BigInt, _>(position)
        .sql(" ORDER BY position LIMIT ")
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .sql(&format!("{WITH_MESSAGES} {IS_READABLE} WHERE users.id = "))
        .bind::<BigInt, _>(user);
    slice(CachedStatement(query).load_iter::<LoadedRow, DefaultLoadingMode>(conn)?, limit)
}

fn after_on_postgres(conn: &mut Postgres, wanted: &[(UserId, i64)], limit: usize) -> Result<Vec<Option<FeedSlice>>> {
    let (users, positions): (Vec<i64>, Vec<i64>) =
        wanted.iter().map(|(user, position)| (user.key(), *position)).unzip();
    let after = "wanted.user_id AND id > wanted.after";
    let readable_after = format!("{after} AND {IS_READABLE}");
    // Raw, because diesel has neither ordered unions nor tables of arrays. One statement, because each has a snapshot of its own.
    let query = sql::<(BigInt, Row)>(&format!("SELECT wanted.number, {SHOWN} {SQL_COLUMNS} FROM unnest("))
        .bind::<Array<BigInt>, _>(users)
        .sql(", ")
        .bind::<Array<BigInt>, _>(positions)
        .sql(&format!(
            ") WITH ORDINALITY AS wanted (user_id, after, number) JOIN users ON users.id = wanted.user_id LEFT JOIN LATERAL (\
             {SENT}{readable_after} {RECEIVED}{readable_after} {HAPPENED}{after} ORDER BY position LIMIT "
        ))
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .sql(&format!("{WITH_MESSAGES} {IS_READABLE} ORDER BY wanted.number, position"));
    let rows: Vec<(i64, LoadedRow)> = CachedStatement(query).load(conn)?;
    let mut rows = rows.into_iter().peekable();
    let slice_of = |number| {
        let slice = slice(std::iter::from_fn(|| rows.next_if(|row| row.0 == number).map(|row| Ok(row.1))), limit);
        // What is left of a slice that was full.
        while rows.next_if(|row| row.0 == number).is_some() {}
        slice
    };
    (1..).take(wanted.len()).map(slice_of).collect()
}

/// The rows as a slice, as far as they may be held.
fn slice(rows: impl Iterator<Item = QueryResult<LoadedRow>>, limit: usize) -> Result<Option<FeedSlice>> {
    let (mut slice, mut bytes) = (None, 0);
    for row in rows {
        let (is_erased, trimmed_through, entry) = row?;
        let new = || FeedSlice { entries: Vec::new(), is_end: true, trimmed_through, is_erased };
        let slice = slice.get_or_insert_with(new);
        if bytes > MAX_SLICE_BYTES {
            slice.is_end = false;
            break;
        }
        bytes += entry.as_ref().and_then(|entry| entry.message.as_ref()).map_or(0, |message| message.content.len());
        slice.entries.extend(entry);
        slice.is_end = slice.entries.len() < limit;
    }
    debug_assert!(slice.iter().all(|slice| slice.entries.is_sorted_by_key(|entry| entry.position)));
    Ok(slice)
}

/// An entry of the feeds of one or two users.
pub struct Addition {
    /// Where it is in the feeds.
    pub position: i64,
    /// Whose feeds; the same twice if it is of one.
    pub users: [UserId; 2],
    /// When it happened.
    pub at: Timestamp,
    /// Whether it changes what earlier entries show.
    pub invalidates: bool,
}

/// The entries of all feeds after a position, in no order, at most `limit`.
pub fn additions(conn: &mut Conn<'_>, after: i64, limit: usize) -> Result<Vec<Addition>> {
    // Raw, because diesel has no union of such different tables.
    let query = sql::<(BigInt, BigInt, BigInt, BigInt, SmallInt)>(
        "SELECT id, sender_id, receiver_id, created_at, CAST(1 AS SMALLINT) FROM messages WHERE id > ",
    )
    .bind::<BigInt, _>(after)
    .sql(" UNION ALL SELECT id, user_id, user_id, at, kind FROM events WHERE id > ")
    .bind::<BigInt, _>(after)
    .sql(" LIMIT ")
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<(i64, UserId, UserId, Timestamp, i16)> = on!(conn, |c| CachedStatement(query).load(c))?;
    let harmless = [EventKind::Sent, EventKind::OwnMark, EventKind::PeerMark].map(EventKind::code);
    let addition = |(position, one, other, at, kind)| Addition {
        position,
        users: [one, other],
        at,
        invalidates: !harmless.contains(&kind),
    };
    Ok(rows.into_iter().map(addition).collect())
}

/// What is known about ids whose transactions are not finished: PostgreSQL gives them before the commit.
#[derive(Clone)]
pub struct Unsettled {
    /// The highest id that was given.
    last_id: i64,
    /// The transactions that may have been given one of these, and go on; each with its process of PostgreSQL.
    writers: HashMap<String, i32>,
}

impl Unsettled {
    /// Up to which id all messages and events are committed, if it was the highest one when `earlier` was read.
    #[must_use]
    pub fn settled_since(&self, earlier: &Self) -> Option<i64> {
        self.remaining(earlier).is_empty().then_some(earlier.last_id)
    }

    /// The processes of PostgreSQL whose transactions went on already when `earlier` was read; 0 for one that was prepared and left.
    #[must_use]
    pub fn remaining(&self, earlier: &Self) -> Vec<i32> {
        let remain = self.writers.iter().filter(|(writer, _)| earlier.writers.contains_key(*writer));
        remain.map(|(_, process)| *process).collect()
    }

    /// Whether ids went back since, as after a crash of PostgreSQL, or if another server became the primary which did not have all that was
    /// committed.
    #[must_use]
    pub fn is_behind(&self, earlier: &Self) -> bool {
        self.last_id < earlier.last_id
    }

    /// The highest id that was given.
    #[must_use]
    pub fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Whether all messages and events up to the highest id are committed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.writers.is_empty()
    }
}

/// What there is to know now.
pub fn unsettled(conn: &mut Conn<'_>) -> Result<Unsettled> {
    match conn {
        // There is only one writer.
        Conn::Sqlite(_) => Ok(Unsettled { last_id: last_id(conn)?, writers: HashMap::new() }),
        Conn::Postgres(c) => {
            // Raw, because diesel has neither. Two statements, as the ids must be those given before.
            let last_id = sql::<BigInt>("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM messages_id_seq")
                .get_result(*c)?;
            // Who inserts locks the table before the id is given, and until the commit can be seen. A snapshot would also wait for
            // transactions that have nothing to do with these tables, even of other databases.
            let writers = sql::<(Text, Integer)>(
                "SELECT virtualtransaction, coalesce(pid, 0) FROM pg_locks WHERE mode = 'RowExclusiveLock' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                 AND relation IN (CAST('messages' AS REGCLASS), CAST('events' AS REGCLASS))",
            );
            let writers: Vec<(String, i32)> = writers.load(*c)?;
            Ok(Unsettled { last_id, writers: writers.into_iter().collect() })
        }
    }
}

/// The position of the end of a user's feed: of the last entry, even if it was trimmed. `None` without such a user.
pub fn head(conn: &mut Conn<'_>, user: UserId) -> Result<Option<i64>> {
    // Raw, because diesel has no maximum of several tables. One statement, as in `after`.
    let query = sql::<(BigInt, BigInt, BigInt, BigInt)>(
        "SELECT trimmed_through, coalesce((SELECT max(id) FROM messages WHERE deleted_at IS NULL AND sender_id = ",
    )
    .bind::<BigInt, _>(user)
    .sql("), 0), coalesce((SELECT max(id) FROM messages WHERE deleted_at IS NULL AND receiver_id = ")
    .bind::<BigInt, _>(user)
    .sql("), 0), coalesce((SELECT max(id) FROM events WHERE user_id = ")
    .bind::<BigInt, _>(user)
    .sql("), 0) FROM users WHERE erased_at IS NULL AND id = ")
    .bind::<BigInt, _>(user);
    let found = on!(conn, |c| CachedStatement(query).get_result(c).optional())?;
    Ok(found.map(|(trimmed, sent, received, event): (i64, i64, i64, i64)| trimmed.max(sent).max(received).max(event)))
}

/// The oldest events of all users after a position and when they happened, at most `limit`.
pub fn oldest(conn: &mut Conn<'_>, after: i64, limit: i64) -> Result<Vec<(i64, Timestamp)>> {
    let query =
        events::table.select((events::id, events::at)).filter(events::id.gt(after)).order(events::id).limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The oldest event of all users that happened at this time at the latest, and when.
pub fn first_event_until(conn: &mut Conn<'_>, time: Timestamp) -> Result<Option<(i64, Timestamp)>> {
    let until = events::table.filter(events::at.le(time));
    let query = until.select((events::id, events::at)).order(events::id);
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Notes that entries of users, up to this message of each, are missing; there must be one, and the users must be locked.
pub fn note_trimmed(conn: &mut Conn<'_>, last_of: &BTreeMap<UserId, MessageId>) -> Result<()> {
    let rows: Vec<_> = last_of.iter().map(|(user, last)| format!("({}, {})", user.key(), last.key())).collect();
    // Raw, because diesel has no values of several rows to be set. There are numbers in it, and no texts.
    let note = sql_query(format!(
        "UPDATE users SET trimmed_through = noted.column2 FROM (VALUES {}) AS noted \
         WHERE users.id = noted.column1 AND trimmed_through < noted.column2",
        rows.join(", ")
    ));
    on!(conn, |c| note.execute(c))?;
    Ok(())
}

/// Notes that entries up to a position are missing, so that their ids are not given again although no row has them.
pub fn note_all_trimmed(conn: &mut Conn<'_>, through: i64) -> Result<()> {
    let note = diesel::update(server::table.filter(server::trimmed_through.lt(through)))
        .set(server::trimmed_through.eq(through));
    on!(conn, |c| note.execute(c))?;
    Ok(())
}

/// Deletes the events of all users after a position up to another, and notes that one. Those before have been deleted: PostgreSQL would
/// walk over what is left of them until the next vacuum.
pub fn trim(conn: &mut Conn<'_>, after: i64, through: i64) -> Result<()> {
    if let Conn::Postgres(c) = conn {
        // Raw, because diesel has no ordered locks of a subquery's rows. Locked first, so that no other event of these users is
        // committed between the statements.
        let lock = sql_query(
            "SELECT FROM users WHERE id IN (SELECT user_id FROM events WHERE id > $1 AND id <= $2) \
             ORDER BY id FOR NO KEY UPDATE",
        );
        lock.bind::<BigInt, _>(after).bind::<BigInt, _>(through).execute(*c)?;
    }
    let old = || events::table.filter(events::id.gt(after)).filter(events::id.le(through));
    let last_of_user = old().filter(events::user_id.eq(users::id)).select(max(events::id)).single_value();
    let last_of_user = last_of_user.assume_not_null();
    let note = diesel::update(users::table.filter(users::id.eq_any(old().select(events::user_id))))
        .filter(users::trimmed_through.lt(last_of_user))
        .set(users::trimmed_through.eq(last_of_user));
    on!(conn, |c| note.execute(c))?;
    note_all_trimmed(conn, through)?;
    on!(conn, |c| diesel::delete(old()).execute(c))?;
    Ok(())
}
