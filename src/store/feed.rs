//! The table `feed`: the entries of each user's feed, in commit order and without gaps.

use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl};

use super::{Conn, Result, conn::on, schema::feed};
use crate::model::{
    feed::Entry,
    ids::{MessageId, UserId},
    timestamps::Timestamp,
};

/// PostgreSQL allows 65,535 parameters.
const ENTRIES_PER_STATEMENT: usize = 10_000;

/// Appends entries, at positions that [`users::advance_feeds`](super::users::advance_feeds) reserved.
pub fn append(conn: &mut Conn<'_>, entries: &[(UserId, Entry)]) -> Result<()> {
    let row = |(user, entry): &(UserId, Entry)| {
        (
            feed::user_id.eq(*user),
            feed::position.eq(entry.position),
            feed::kind.eq(entry.kind),
            feed::message_id.eq(entry.message_id().map_or(0, MessageId::key)),
            feed::peer_id.eq(entry.peer_id),
            feed::at.eq(entry.at),
        )
    };
    let table = diesel::insert_into(feed::table);
    match conn {
        Conn::Sqlite(c) => {
            for entry in entries {
                table.values(row(entry)).execute(*c)?;
            }
        }
        Conn::Postgres(c) => {
            for entries in entries.chunks(ENTRIES_PER_STATEMENT) {
                table.values(entries.iter().map(row).collect::<Vec<_>>()).execute(*c)?;
            }
        }
    }
    Ok(())
}

/// The entries after a position, oldest first, at most `limit`.
pub fn after(conn: &mut Conn<'_>, user: UserId, position: i64, limit: i64) -> Result<Vec<Entry>> {
    let query = feed::table
        .select((feed::position, feed::kind, feed::message_id, feed::peer_id, feed::at))
        .filter(feed::user_id.eq(user))
        .filter(feed::position.gt(position))
        .order(feed::position)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The users and positions of entries from before an instant, oldest first, at most `limit`.
pub fn before(conn: &mut Conn<'_>, at: Timestamp, limit: i64) -> Result<Vec<(UserId, i64)>> {
    let query = feed::table
        .select((feed::user_id, feed::position))
        .filter(feed::at.lt(at))
        .order((feed::at, feed::user_id, feed::position))
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Deletes a user's entries up to a position, so that the rest has no gaps.
pub fn trim(conn: &mut Conn<'_>, user: UserId, through: i64) -> Result<()> {
    let query = diesel::delete(feed::table.filter(feed::user_id.eq(user)).filter(feed::position.le(through)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
