//! The feed: what changed for one user, in the order of commits, and cursors into it.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use diesel::Queryable;

use super::{
    ids::{ConversationId, MessageId, UserId},
    messages::Message,
    timestamps::Timestamp,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// A message was sent.
    Sent = 1,
    /// The text of a message was changed.
    Updated = 2,
    /// A message was deleted.
    Deleted = 3,
    /// A mark of the user whose feed it is was moved to a message.
    OwnMark = 4,
    /// A mark of the other member was moved to a message.
    PeerMark = 5,
    /// A user changed, or their account was erased.
    UserChanged = 6,
}

impl Kind {
    /// The number that the feed table keeps.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this number; `None` for a number of a later version.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Sent, Self::Updated, Self::Deleted, Self::OwnMark, Self::PeerMark, Self::UserChanged]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One row of a user's feed.
#[derive(Debug, Clone, Queryable)]
pub struct Entry {
    /// 1, 2, 3 and so on, without holes, for each user.
    pub position: i64,
    /// See [`Kind`].
    pub kind: i16,
    /// 0 if it is not about a message.
    message_id: i64,
    /// The other member of the message's conversation, or the user who changed.
    pub peer_id: UserId,
    /// When it changed.
    pub at: Timestamp,
}

impl Entry {
    /// A row that is about to be written.
    #[must_use]
    pub fn new(position: i64, kind: Kind, message: Option<MessageId>, peer_id: UserId, at: Timestamp) -> Self {
        Self { position, kind: kind.code(), message_id: message.map_or(0, MessageId::key), peer_id, at }
    }

    /// The message that it is about; `None` for [`Kind::UserChanged`].
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        MessageId::new(self.message_id)
    }
}

/// Something that a follower of a feed learns.
#[derive(Clone)]
pub struct Event {
    /// The follower's position after this event.
    pub cursor: Cursor,
    /// When it happened.
    pub at: Timestamp,
    /// What it tells.
    pub body: EventBody,
}

/// What an event tells.
#[derive(Clone)]
pub enum EventBody {
    /// Something happened.
    Changed(Change),
    /// The follower has everything up to now.
    CaughtUp,
    /// The log does not go on from the follower's cursor: load everything again, and go on from this one.
    Reset,
}

/// What happened.
#[derive(Clone)]
pub struct Change {
    /// What kind of thing.
    pub kind: Kind,
    /// Where; `None` for a change of the user whose feed it is.
    pub conversation: Option<ConversationId>,
    /// To which message, or which one was reached by a mark; `None` for a change of a user.
    pub message_id: Option<MessageId>,
    /// The message as it is now; `None` once deleted.
    pub message: Option<Message>,
    /// Whose mark was moved, or who changed.
    pub user: Option<UserId>,
}

/// How a feed goes on after a position.
pub enum Next {
    /// With these events, if there are any yet.
    Page(FeedPage),
    /// Not from here; it ends at this position.
    Lost(i64),
    /// Not at all: the account was erased.
    Erased,
}

/// A page of a feed.
pub struct FeedPage {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// The position of the last one, or where it began.
    pub through: i64,
    /// Whether there was nothing after it.
    pub is_last: bool,
}

/// A place in a user's feed: after the entry at `position`, in the database that has this epoch. Clients see it as an
/// opaque text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Random text, made with the database.
    pub epoch: Arc<str>,
    /// The last entry that was handled; 0 before the first.
    pub position: i64,
}

/// The text is no cursor of a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("This is not a cursor of a feed. Pass one exactly as it came from `cursor`.")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("f:{}:{}", self.epoch, self.position);
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_why| NotACursor)?;
        let text = String::from_utf8(bytes).map_err(|_why| NotACursor)?;
        let (epoch, position) = text.strip_prefix("f:").and_then(|rest| rest.split_once(':')).ok_or(NotACursor)?;
        let position = position.parse().ok().filter(|position| *position >= 0).ok_or(NotACursor)?;
        Ok(Self { epoch: epoch.into(), position })
    }
}
