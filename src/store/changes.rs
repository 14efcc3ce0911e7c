//! The tables `user_changes` and `erasures`: changes of users that are done in steps, and are not finished.

use diesel::{ExpressionMethods, NullableExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, dsl};

use super::{
    Conn, Result,
    conn::on,
    schema::{erasures, user_changes, users},
};
use crate::model::{ids::UserId, timestamps::Timestamp};

/// Users with a change that is not finished, at most `limit`.
pub fn unfinished(conn: &mut Conn<'_>, limit: i64) -> Result<Vec<UserId>> {
    let query = user_changes::table.select(user_changes::user_id).order(user_changes::user_id).limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Up to which of their peers, by id, are notified of a user's change; `None` if no change is unfinished.
pub fn notified_through(conn: &mut Conn<'_>, user: UserId) -> Result<Option<i64>> {
    let query = user_changes::table.select(user_changes::notified_through).find(user);
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Begins a change, or records that peers up to this one are notified of it. The user must be locked.
pub fn set_notified(conn: &mut Conn<'_>, user: UserId, through: Option<UserId>) -> Result<()> {
    let notified = user_changes::notified_through.eq(through.map_or(0, UserId::key));
    let query = diesel::insert_into(user_changes::table)
        .values((user_changes::user_id.eq(user), notified))
        .on_conflict(user_changes::user_id)
        .do_update()
        .set(notified);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Nothing of the user's change is left to do.
pub fn finish(conn: &mut Conn<'_>, user: UserId) -> Result<()> {
    let query = diesel::delete(user_changes::table.find(user));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Hides all messages that a user sent, until [`end_erasure`].
pub fn begin_erasure(conn: &mut Conn<'_>, user: UserId) -> Result<()> {
    let query = diesel::insert_into(erasures::table).values(erasures::user_id.eq(user));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Whether the messages that a user sent are hidden, to be deleted.
pub fn is_erasing(conn: &mut Conn<'_>, user: UserId) -> Result<bool> {
    let query = diesel::select(dsl::exists(erasures::table.find(user)));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// All users the messages of whom are hidden, to be deleted.
pub fn erasing(conn: &mut Conn<'_>) -> Result<Vec<UserId>> {
    let query = erasures::table.select(erasures::user_id);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Erased users of whom `clientId`s, and perhaps messages, are still there, and when they were erased.
pub fn unfinished_erasures(conn: &mut Conn<'_>) -> Result<Vec<(UserId, Timestamp)>> {
    let query = user_changes::table
        .inner_join(users::table)
        .filter(users::erased_at.is_not_null())
        .select((users::id, users::erased_at.assume_not_null()));
    Ok(on!(conn, |c| query.load(c))?)
}

/// All messages that the user sent are deleted.
pub fn end_erasure(conn: &mut Conn<'_>, user: UserId) -> Result<()> {
    let query = diesel::delete(erasures::table.find(user));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
