//! Users: people and bots that send and receive messages.

use diesel::Queryable;

use super::{ids::UserId, timestamps::Timestamp};

/// A user whose account was not erased.
#[derive(Clone, Queryable)]
pub struct User {
    /// Key and order of creation.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// Address as it was written; no two users have one that folds to the same key.
    pub email: Option<String>,
    /// When the account was made.
    pub created_at: Timestamp,
}
