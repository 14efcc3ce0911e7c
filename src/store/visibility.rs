//! What can be read of messages, and of which: those that are kept (neither deleted, nor of a sender whose account is being erased, who
//! is in the table `erasures`) and recent (within the retention). The others are about to be deleted, and are hidden already. Those that
//! are kept and not recent count as unread until they are deleted.

use diesel::{BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl, dsl};

use super::schema::{erasures, messages, retention};

/// The columns of a message, as [`Message`](crate::model::messages::Message) has them.
type Columns = (
    messages::id,
    messages::sender_id,
    messages::receiver_id,
    messages::content,
    messages::reply_to_id,
    messages::client_id,
    messages::version,
    messages::created_at,
    messages::edited_at,
);
pub(super) const COLUMNS: Columns = (
    messages::id,
    messages::sender_id,
    messages::receiver_id,
    messages::content,
    messages::reply_to_id,
    messages::client_id,
    messages::version,
    messages::created_at,
    messages::edited_at,
);
/// [`COLUMNS`] in SQL: whoever changes one changes the other.
pub(super) const SQL_COLUMNS: &str = "messages.id, messages.sender_id, messages.receiver_id, messages.content, \
     messages.reply_to_id, messages.client_id, messages.version, messages.created_at, messages.edited_at";
/// The types of [`SQL_COLUMNS`].
pub(super) type SqlColumns = dsl::SqlTypeOf<Columns>;

/// The condition [`is_readable`] in SQL: whoever changes one changes the other.
pub(super) const IS_READABLE: &str = "messages.deleted_at IS NULL AND messages.sender_id NOT IN (SELECT user_id FROM erasures) \
     AND messages.created_at >= (SELECT messages_from FROM retention)";

/// Whether a message can be read.
#[dsl::auto_type(no_type_alias)]
pub(super) fn is_readable() -> _ {
    is_kept().and(is_recent())
}

/// Whether a message was not deleted, and is not about to be deleted with the account of its sender. On PostgreSQL `NOT IN` is
/// hashed, `<> ALL` is not.
#[dsl::auto_type]
pub(super) fn is_kept() -> _ {
    let erased = erasures::table.select(erasures::user_id);
    messages::deleted_at.is_null().and(dsl::not(messages::sender_id.eq_any(erased)))
}

/// Whether a message is not older than the retention.
#[dsl::auto_type]
pub(super) fn is_recent() -> _ {
    let from = retention::table.select(retention::messages_from).single_value().assume_not_null();
    messages::created_at.ge(from)
}
