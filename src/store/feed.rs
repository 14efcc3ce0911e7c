//! The table `feed`: what happened, for each member, in commit order and without holes.

use diesel::{
    ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl,
    sql_types::{BigInt, SmallInt},
};

use super::{
    Conn, Result,
    conn::on,
    schema::{feed, users},
};
use crate::model::{
    feed::{Entry, Kind},
    ids::{ConversationId, MessageId, UserId},
    timestamps::Timestamp,
};

/// Adds an entry for each member, at the position that [`users::advance_feeds`](super::users::advance_feeds) made.
pub fn append(
    conn: &mut Conn<'_>,
    conversation: ConversationId,
    kind: Kind,
    message: MessageId,
    at: Timestamp,
) -> Result<()> {
    let [low, high] = conversation.members();
    let entries = users::table.filter(users::id.eq_any([low, high])).select((
        users::id,
        users::feed_position,
        kind.code().into_sql::<SmallInt>(),
        message.into_sql::<BigInt>(),
        (low.key() + high.key()).into_sql::<BigInt>() - users::id,
        at.into_sql::<BigInt>(),
    ));
    let query = diesel::insert_into(feed::table).values(entries).into_columns((
        feed::user_id,
        feed::position,
        feed::kind,
        feed::message_id,
        feed::peer_id,
        feed::at,
    ));
    on!(conn, |c| query.execute(c))?;
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
