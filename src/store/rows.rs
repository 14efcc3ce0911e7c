//! Whole rows of users and messages, erased and deleted ones too, as exports read and imports write them.

use diesel::{ExpressionMethods, Insertable, QueryDsl, Queryable, RunQueryDsl, Selectable, SelectableHelper};

use super::{
    Conn, Result,
    conn::on,
    schema::{messages, users},
};
use crate::model::{
    ids::{MessageId, UserId},
    timestamps::Timestamp,
};

/// A user, whose account may have been erased.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct UserRow {
    /// The id.
    pub id: UserId,
    /// Display name; empty if the account was erased.
    pub name: String,
    /// Address, if it is known.
    pub email: Option<String>,
    /// When the account was created.
    pub created_at: Timestamp,
    /// When it was erased, if it was.
    pub erased_at: Option<Timestamp>,
    /// The hash of the password, if there is one.
    pub password_hash: Option<String>,
    /// [`Role::code`](crate::model::users::Role::code).
    pub role: i16,
    /// When the account was suspended, if it is.
    pub suspended_at: Option<Timestamp>,
}

/// A message, which may have been deleted.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = messages)]
pub struct MessageRow {
    /// The id.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Whom it is for.
    pub receiver_id: UserId,
    /// The text; empty if the message was deleted.
    pub content: String,
    /// What it answers.
    pub reply_to_id: Option<MessageId>,
    /// Of no other message of the sender.
    pub client_id: Option<String>,
    /// [`Draft::digest`](crate::model::messages::Draft::digest) of the send, if the message was edited.
    pub client_digest: Option<Vec<u8>>,
    /// 1, and 1 more for each edit.
    pub version: i32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Timestamp>,
}

/// The users with higher ids, by id, at most `limit`.
pub fn users_after(conn: &mut Conn<'_>, after: i64, limit: i64) -> Result<Vec<UserRow>> {
    let query = users::table.filter(users::id.gt(after)).order(users::id).limit(limit);
    Ok(on!(conn, |c| query.select(UserRow::as_select()).load(c))?)
}

/// The users with these ids, by id; at most 1,000, because the number of parameters is limited.
pub fn users_of(conn: &mut Conn<'_>, ids: &[UserId]) -> Result<Vec<UserRow>> {
    let query = users::table.filter(users::id.eq_any(ids)).order(users::id);
    Ok(on!(conn, |c| query.select(UserRow::as_select()).load(c))?)
}

/// The messages with higher ids, by id, at most `limit`.
pub fn messages_after(conn: &mut Conn<'_>, after: i64, limit: i64) -> Result<Vec<MessageRow>> {
    let query = messages::table.filter(messages::id.gt(after)).order(messages::id).limit(limit);
    Ok(on!(conn, |c| query.select(MessageRow::as_select()).load(c))?)
}

/// Inserts messages, if any, with their ids; at most 1,000, because the number of parameters is limited.
pub fn insert_messages(conn: &mut Conn<'_>, rows: &[MessageRow]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = diesel::insert_into(messages::table).values(rows);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
