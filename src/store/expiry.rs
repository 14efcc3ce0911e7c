//! Finding messages that are too old, and removing their rows.

use std::collections::{BTreeSet, HashSet};

use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, RunQueryDsl,
    dsl::{self, min},
    sql_query,
};

use super::{
    Conn, Result,
    conn::on,
    feed,
    schema::{embedding_failures, embedding_models, index_changes, messages},
    visibility::{is_kept, is_recent},
};
use crate::model::ids::{ConversationId, MessageId, UserId};

/// A message that is too old.
#[derive(Debug, Clone, Copy)]
pub struct Expired {
    /// Its id.
    pub id: MessageId,
    /// Its sender.
    pub sender_id: UserId,
    /// Its receiver.
    pub receiver_id: UserId,
    /// Whether only its row is left to be removed: it was deleted, and its words and vectors are removed.
    pub is_deleted: bool,
}

/// The lowest id of a message after one; `None` if there is none.
pub fn next_id(conn: &mut Conn<'_>, after: i64) -> Result<Option<i64>> {
    let query = messages::table.select(min(messages::id)).filter(messages::id.gt(after));
    Ok(on!(conn, |c| query.first(c))?)
}

/// Whether a conversation has no row of a message any more, nor one that says that it was deleted.
pub fn is_removed(conn: &mut Conn<'_>, conversation: ConversationId, id: MessageId) -> Result<bool> {
    let [low, high] = conversation.members();
    let its = messages::table.find(id).filter(messages::low_id.eq(low)).filter(messages::high_id.eq(high));
    let is_there = diesel::select(dsl::exists(its));
    Ok(!on!(conn, |c| is_there.get_result::<bool>(c))?)
}

/// Messages from one id through another that are older than the retention, by id, at most `limit`. Those of accounts that are being
/// erased are left to the erasure.
pub fn expired(conn: &mut Conn<'_>, (from, through): (i64, i64), limit: i64) -> Result<Vec<Expired>> {
    let is_indexed = dsl::exists(index_changes::table.filter(index_changes::message_id.eq(messages::id)));
    let query = messages::table
        .select((messages::id, messages::sender_id, messages::receiver_id, messages::deleted_at.is_not_null()))
        .filter(messages::id.between(from, through))
        .filter(dsl::not(is_recent()))
        .filter(is_kept().or(messages::deleted_at.is_not_null().and(dsl::not(is_indexed))))
        .order(messages::id)
        .limit(limit);
    let rows: Vec<(MessageId, UserId, UserId, bool)> = on!(conn, |c| query.load(c))?;
    let expired = |(id, sender_id, receiver_id, is_deleted)| Expired { id, sender_id, receiver_id, is_deleted };
    Ok(rows.into_iter().map(expired).collect())
}

/// Those of some messages that are too old still, were not deleted, and are not about to be deleted with an account; at most 1,000,
/// because the number of parameters is limited.
pub fn kept_of(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<HashSet<MessageId>> {
    let query = messages::table
        .select(messages::id)
        .filter(messages::id.eq_any(ids))
        .filter(is_kept())
        .filter(dsl::not(is_recent()));
    Ok(on!(conn, |c| query.load(c))?.into_iter().collect())
}

/// Removes the rows of deleted messages, and the conversations in which nothing is left; at most 1,000, because the number of
/// parameters is limited. The members must be locked.
pub fn remove(conn: &mut Conn<'_>, removed: &[Expired]) -> Result<()> {
    let ids: Vec<MessageId> = removed.iter().map(|message| message.id).collect();
    let Some(last) = ids.iter().max() else { return Ok(()) };
    feed::note_all_trimmed(conn, last.key())?;
    let replies = diesel::update(messages::table.filter(messages::reply_to_id.eq_any(&ids)))
        .set(messages::reply_to_id.eq(None::<MessageId>));
    on!(conn, |c| replies.execute(c))?;
    // With the models they are found by the primary key.
    let failures = diesel::delete(embedding_failures::table)
        .filter(embedding_failures::model_id.eq_any(embedding_models::table.select(embedding_models::id)))
        .filter(embedding_failures::message_id.eq_any(&ids));
    on!(conn, |c| failures.execute(c))?;
    on!(conn, |c| diesel::delete(messages::table.filter(messages::id.eq_any(&ids))).execute(c))?;
    let between = |message: &Expired| ConversationId::between(message.sender_id, message.receiver_id);
    let conversations: BTreeSet<_> = removed.iter().filter_map(between).collect();
    conversations.into_iter().try_for_each(|conversation| repair_members(conn, conversation))
}

/// After the removal of messages of a conversation: marks are at messages that are there, what was read has been delivered, its place is
/// that of the last message that is left, and a conversation without messages is in no list.
fn repair_members(conn: &mut Conn<'_>, conversation: ConversationId) -> Result<()> {
    let [low, high] = conversation.members().map(UserId::key);
    let members = format!("((user_id = {low} AND peer_id = {high}) OR (user_id = {high} AND peer_id = {low}))");
    let left = format!("FROM messages WHERE low_id = {low} AND high_id = {high} AND deleted_at IS NULL");
    let move_mark = |mark: &str| {
        format!(
            "UPDATE members SET {mark} = coalesce((SELECT max(id) {left} AND id <= {mark}), 0) \
             WHERE {members} AND {mark} > 0 AND NOT EXISTS (SELECT 1 FROM messages WHERE id = {mark})"
        )
    };
    // A mark that stays where its message was deleted may be left behind by one that moves: only the rows of others are indexed.
    let follow = format!(
        "UPDATE members SET delivered_through = read_through, delivered_at = read_at \
         WHERE {members} AND delivered_through < read_through"
    );
    // Where the clock was set back, or after an import, older messages may be left than the one that is removed.
    let place = format!(
        "UPDATE members SET last_message_id = coalesce((SELECT max(id) {left}), last_message_id) \
         WHERE {members} AND NOT EXISTS (SELECT 1 FROM messages WHERE id = last_message_id)"
    );
    let delete = format!(
        "DELETE FROM members WHERE {members} AND NOT EXISTS (SELECT 1 {left}) \
         AND NOT EXISTS (SELECT 1 FROM messages WHERE id = last_message_id)"
    );
    // Raw, because diesel has no subquery on a column of the row that is changed. There are numbers in it, and no texts.
    for statement in [move_mark("delivered_through"), move_mark("read_through"), follow, place, delete] {
        on!(conn, |c| sql_query(&statement).execute(c))?;
    }
    Ok(())
}
