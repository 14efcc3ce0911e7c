//! Sessions: devices on which somebody signed in.

use diesel::Queryable;

use super::{
    ids::{ServiceTokenId, SessionId, UserId},
    timestamps::Timestamp,
};

/// What somebody showed to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credential {
    /// An access token of a session.
    Session(SessionId),
    /// A service token.
    Service(ServiceTokenId),
    /// A token of an external issuer.
    Account(UserId),
}

/// A session that has not ended.
#[derive(Debug, Clone, Queryable)]
pub struct Session {
    /// Which one; grows in the order of signing in.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// What the client calls the device.
    pub device: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last renewed.
    pub last_used_at: Timestamp,
    /// When it ends, unless it is renewed.
    pub expires_at: Timestamp,
}
