//! Users: people and bots that send and receive messages.

use diesel::Queryable;

use super::{ids::UserId, timestamps::Timestamp};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Acts for themselves.
    User,
    /// May act for everyone.
    Admin,
}

impl Role {
    /// The number that the table keeps.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::User => 0,
            Self::Admin => 1,
        }
    }

    /// The role with this number; those of later versions may no more than a user.
    #[must_use]
    pub fn from_code(code: i16) -> Self {
        if code == Self::Admin.code() { Self::Admin } else { Self::User }
    }
}

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

/// A user as the operator knows them.
pub struct Account {
    /// Whose it is.
    pub user: User,
    /// What they may do.
    pub role: Role,
    /// When it was suspended, if it is: until that ends nobody can sign in to it.
    pub suspended_at: Option<Timestamp>,
}
