//! The table `members`: for each user and peer, the user's state in the conversation.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl,
    dsl::{count_star, sql},
    sql_query,
    sql_types::{BigInt, Bool, Integer},
    upsert::excluded,
};

use super::{
    Conn, Result,
    cached::{CachedStatement, MAX_CACHED_KEYS, padded, run_cached},
    conn::on,
    pages::{PAGES_PER_STATEMENT, UnionAll, assemble_each, slices},
    schema::members,
};
use crate::model::{
    conversations::{Mark, Member},
    ids::{ConversationId, MessageId, UserId},
    pages::{End, Page, PageRequest},
};

type Columns = (
    members::user_id,
    members::peer_id,
    members::last_message_id,
    (members::delivered_through, members::delivered_at),
    (members::read_through, members::read_at),
    members::unread,
);
const COLUMNS: Columns = (
    members::user_id,
    members::peer_id,
    members::last_message_id,
    (members::delivered_through, members::delivered_at),
    (members::read_through, members::read_at),
    members::unread,
);

/// A page of each user's member rows, by last message: one statement for up to 150 users.
pub fn pages(conn: &mut Conn<'_>, wanted: &[(UserId, PageRequest)]) -> Result<Vec<Page<Member>>> {
    let mut pages = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(PAGES_PER_STATEMENT) {
        let rows: Vec<(i32, Member)> = on!(conn, |c: Db| {
            let selects = wanted.iter().enumerate().flat_map(|(index, (user, request))| {
                slices(index, request).map(|slice| {
                    let select = members::table
                        .select((slice.tag.into_sql::<Integer>(), COLUMNS))
                        .filter(members::user_id.eq(*user))
                        .filter(members::last_message_id.gt(slice.after))
                        .filter(members::last_message_id.lt(slice.before))
                        .limit(slice.limit)
                        .into_boxed::<Db>();
                    match slice.end {
                        End::First => select.order(members::last_message_id.asc()),
                        End::Last => select.order(members::last_message_id.desc()),
                    }
                })
            });
            UnionAll::new(selects.collect()).load(c)
        })?;
        let key = |member: &Member| member.last_message_id.key();
        pages.extend(assemble_each(wanted.iter().map(|(_, request)| *request), rows, key));
    }
    Ok(pages)
}

/// The member rows with these keys, as far as there are any: one statement for up to 128 keys. A row may come more than once.
pub fn by_keys(conn: &mut Conn<'_>, keys: &[(UserId, UserId)]) -> Result<Vec<Member>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_CACHED_KEYS) {
        let keys = padded(keys);
        let rows: Vec<Member> = match keys.as_slice() {
            // All with one peer, as for a list of conversations: a short text, which diesel writes anew each time.
            [(_, peer), _, ..] if keys.iter().all(|(_, other)| other == peer) => {
                let users = keys.iter().map(|(user, _)| *user);
                let query = members::table.select(COLUMNS).filter(members::peer_id.eq(peer));
                let query = CachedStatement(query.filter(members::user_id.eq_any(users)));
                on!(conn, |c| query.load(c))?
            }
            _ => {
                let selects = keys.into_iter().map(|key| members::table.find(key).select(COLUMNS));
                let query = CachedStatement(UnionAll::new(selects.collect()));
                on!(conn, |c| query.load(c))?
            }
        };
        found.extend(rows);
    }
    Ok(found)
}

/// The member rows with higher keys, by user and peer, at most `limit`.
pub fn after(conn: &mut Conn<'_>, (user, peer): (i64, i64), limit: i64) -> Result<Vec<Member>> {
    let query = members::table
        .select(COLUMNS)
        .filter(
            // Raw, because diesel does not compare rows; both databases use the index of the key for it.
            sql::<Bool>("(user_id, peer_id) > (").bind::<BigInt, _>(user).sql(", ").bind::<BigInt, _>(peer).sql(")"),
        )
        .order((members::user_id, members::peer_id))
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The number of unread messages of these users, over all conversations; no entry for users without conversations.
pub fn unread_of(conn: &mut Conn<'_>, users: &[UserId]) -> Result<Vec<(UserId, i64)>> {
    // A sum of `BigInt` is a `Numeric` to diesel, which SQLite does not have.
    let sum = sql::<BigInt>("CAST(sum(unread) AS BIGINT)");
    let query = members::table.group_by(members::user_id).select((members::user_id, sum));
    let query = query.filter(members::user_id.eq_any(users));
    Ok(on!(conn, |c| query.load(c))?)
}

/// Moves the mark of what has arrived at a member.
pub fn set_delivered(conn: &mut Conn<'_>, (user, peer): (UserId, UserId), mark: Mark) -> Result<()> {
    let marks = (members::delivered_through.eq(mark.message_id), members::delivered_at.eq(mark.at));
    let query = diesel::update(members::table.find((user, peer))).set(marks);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Moves the mark of what a member has read, and sets how many are unread after it.
pub fn set_read(conn: &mut Conn<'_>, (user, peer): (UserId, UserId), mark: Mark, unread: i64) -> Result<()> {
    let marks = (members::read_through.eq(mark.message_id), members::read_at.eq(mark.at), members::unread.eq(unread));
    let query = diesel::update(members::table.find((user, peer))).set(marks);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// For deleted messages, at least one: decrements the unread counts of their receivers, who must be locked, by those that were not read.
pub fn decrement_unread(conn: &mut Conn<'_>, deleted: &[MessageId]) -> Result<()> {
    let ids: Vec<_> = deleted.iter().map(|id| id.key().to_string()).collect();
    // Raw, because diesel has no join in an update. There are numbers in it, and no texts.
    let query = sql_query(format!(
        "UPDATE members SET unread = unread - deleted.count FROM (\
         SELECT user_id, peer_id, count(*) AS count FROM messages \
         JOIN members ON user_id = receiver_id AND peer_id = sender_id \
         WHERE id IN ({}) AND id > read_through GROUP BY user_id, peer_id) AS deleted \
         WHERE members.user_id = deleted.user_id AND members.peer_id = deleted.peer_id",
        ids.join(", ")
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// For deleted messages of a sender to some receivers: a conversation whose last message was one of them gets its place in the lists of its
/// members, who must be locked, from the last one that is left. Without any it keeps its place.
pub fn follow_last_message(
    conn: &mut Conn<'_>,
    deleted: &[MessageId],
    sender: UserId,
    receivers: &[UserId],
) -> Result<()> {
    let of_receivers = members::user_id.eq_any(receivers).and(members::peer_id.eq(sender));
    let of_sender = members::user_id.eq(sender).and(members::peer_id.eq_any(receivers));
    let rows = members::table.filter(of_receivers.or(of_sender)).filter(members::last_message_id.eq_any(deleted));
    // Raw, because diesel has no subquery on a column of the row that is changed.
    let last = sql::<BigInt>(
        "coalesce((SELECT max(id) FROM messages WHERE deleted_at IS NULL \
         AND low_id = CASE WHEN user_id < peer_id THEN user_id ELSE peer_id END \
         AND high_id = CASE WHEN user_id < peer_id THEN peer_id ELSE user_id END), last_message_id)",
    );
    let query = diesel::update(rows).set(members::last_message_id.eq(last));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// For a user whose messages are all deleted: clears what these receivers have unread of them. They must be locked.
pub fn clear_unread_from(conn: &mut Conn<'_>, sender: UserId, receivers: &[UserId]) -> Result<()> {
    let rows = members::table.filter(members::peer_id.eq(sender)).filter(members::user_id.eq_any(receivers));
    let query = diesel::update(rows.filter(members::unread.gt(0))).set(members::unread.eq(0));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// All users with whom a user has ever exchanged messages.
pub fn peers_of(conn: &mut Conn<'_>, user: UserId) -> Result<Vec<UserId>> {
    let query = members::table.select(members::peer_id).filter(members::user_id.eq(user)).order(members::peer_id);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The users with higher ids with whom a user has ever exchanged messages, by id, at most `limit`.
pub fn peers_after(conn: &mut Conn<'_>, user: UserId, after: i64, limit: i64) -> Result<Vec<UserId>> {
    let query = members::table
        .select(members::peer_id)
        .filter(members::user_id.eq(user))
        .filter(members::peer_id.gt(after))
        .order(members::peer_id)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// With how many users a user has ever exchanged messages.
pub fn count_peers(conn: &mut Conn<'_>, user: UserId) -> Result<i64> {
    let query = members::table.select(count_star()).filter(members::user_id.eq(user));
    Ok(on!(conn, |c| query.first(c))?)
}

/// New messages of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Activity {
    /// Their conversation.
    pub conversation: ConversationId,
    /// The newest of them.
    pub last: MessageId,
    /// How many of them the lower and the higher member received.
    pub received: [i64; 2],
}

/// Applies new messages to both member rows of each conversation; at most 1,000, because the number of parameters is
/// limited.
pub fn advance(conn: &mut Conn<'_>, activity: &[Activity]) -> Result<()> {
    let rows = activity.iter().flat_map(|Activity { conversation, last, received }| {
        let ([low, high], [to_low, to_high]) = (conversation.members(), *received);
        [(low, high, *last, to_low), (high, low, *last, to_high)]
    });
    match conn {
        Conn::Sqlite(c) => {
            for (user, peer, last, received) in rows {
                let upsert = sql::<Integer>("INSERT INTO members (user_id, peer_id, last_message_id, unread) VALUES (")
                    .bind::<BigInt, _>(user)
                    .sql(", ")
                    .bind::<BigInt, _>(peer)
                    .sql(", ")
                    .bind::<BigInt, _>(last)
                    .sql(", ")
                    .bind::<BigInt, _>(received)
                    .sql(
                        ") ON CONFLICT (user_id, peer_id) DO UPDATE SET last_message_id = excluded.last_message_id, \
                         unread = unread + excluded.unread",
                    );
                run_cached(c, upsert)?;
            }
        }
        Conn::Postgres(c) => {
            let row = |(user, peer, last, received)| {
                (
                    members::user_id.eq::<UserId>(user),
                    members::peer_id.eq::<UserId>(peer),
                    members::last_message_id.eq::<MessageId>(last),
                    members::unread.eq::<i64>(received),
                )
            };
            let newer = (
                members::last_message_id.eq(excluded(members::last_message_id)),
                members::unread.eq(members::unread + excluded(members::unread)),
            );
            let insert = diesel::insert_into(members::table).values(rows.map(row).collect::<Vec<_>>());
            insert.on_conflict((members::user_id, members::peer_id)).do_update().set(newer).execute(*c)?;
        }
    }
    Ok(())
}
