//! Signals: who is typing and who is online. They are true for the moment and never stored.

use super::{
    ids::{ConversationId, UserId},
    timestamps::Timestamp,
};

/// What one user lets another know for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// What it is.
    pub kind: SignalKind,
    /// Who gives it.
    pub user: UserId,
    /// Where the user types; `None` for presence.
    pub conversation: Option<ConversationId>,
    /// When a typing user has stopped, unless they say again that they type.
    pub expires_at: Option<Timestamp>,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    /// The user is typing.
    Typing,
    /// The user stopped typing.
    StoppedTyping,
    /// The user came online.
    Online,
    /// The user has been disconnected for a while.
    Offline,
}

/// Whether a user is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Connected now, or a moment ago.
    pub online: bool,
    /// When the last connection ended; `None` if there is one, or if it is not known.
    pub last_seen_at: Option<Timestamp>,
}
