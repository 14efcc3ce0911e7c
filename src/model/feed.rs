//! The feed: what changed for one user, in the order of commits, and cursors into it.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    sync::Arc,
};

use base64::{Engine, display::Base64Display, prelude::BASE64_URL_SAFE_NO_PAD};
use diesel::Queryable;

use super::{
    ids::{ConversationId, MessageId, UserId},
    messages::Message,
    timestamps::Timestamp,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum EventKind {
    /// A message was sent. The message itself is the entry: no row of the table of events has this number.
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

impl EventKind {
    /// The number in the table of events.
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

/// An entry of a user's feed: a message that they sent or received, or an event.
#[derive(Queryable)]
pub struct Entry {
    /// The id of the message or of the event. Both are from one sequence: for each user they are in commit order, with gaps.
    pub position: i64,
    /// See [`EventKind`].
    pub kind: i16,
    /// 0 if it is not about a message.
    message_id: i64,
    /// The other member of the message's conversation, or the user who changed.
    pub peer_id: UserId,
    /// When it changed.
    pub at: Timestamp,
    /// The message as it is now; `None` once deleted.
    pub message: Option<Message>,
}

impl Entry {
    /// The message that it is about; `None` for [`EventKind::UserChanged`].
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        MessageId::new(self.message_id)
    }
}

/// An event that is about to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent {
    /// Whose feed it is for.
    pub user: UserId,
    /// The message that it is about; `None` if it is about a user.
    pub message: Option<MessageId>,
    /// The other member of the message's conversation, or the user that it is about.
    pub peer: UserId,
}

impl NewEvent {
    /// Events about a message for both members of its conversation.
    #[must_use]
    pub fn for_both_members(message: MessageId, conversation: ConversationId) -> [Self; 2] {
        let [one, other] = conversation.members();
        [(one, other), (other, one)].map(|(user, peer)| Self { user, message: Some(message), peer })
    }
}

/// Something that a follower of a feed learns.
#[derive(Clone)]
pub struct Event {
    /// The follower's position after this event.
    pub cursor: Cursor,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: EventBody,
}

/// What an event is about.
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
    pub kind: EventKind,
    /// Where; `None` for a change of the user whose feed it is.
    pub conversation: Option<ConversationId>,
    /// To which message, or which one was reached by a mark; `None` for a change of a user.
    pub message_id: Option<MessageId>,
    /// The message as it is now; `None` once deleted.
    pub message: Option<Message>,
    /// Whose mark was moved, or who changed.
    pub user: Option<UserId>,
}

/// A page of a feed.
pub struct FeedPage {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// The position of the last one, or where it began.
    pub through: i64,
    /// Whether there was nothing after it.
    pub is_last: bool,
    /// The last entry that was trimmed before the page was read: a page that begins before it has a gap.
    pub trimmed_through: i64,
}

/// A place in a user's feed. Clients see it as an opaque text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Random text that identifies the database.
    pub epoch: Arc<str>,
    /// Whose feed; `None` in a cursor of an earlier version, whose epoch is no database's any more.
    pub user: Option<UserId>,
    /// The position of the last entry that was handled; 0 before the first.
    pub position: i64,
}

/// The text is no cursor of a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("This is not a cursor of a feed. Pass one exactly as it came from `cursor`.")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, user, position } = self;
        // Each event has one, often twice.
        let mut text = String::with_capacity(64);
        text.extend(["f:", epoch, ":"]);
        if let Some(user) = user {
            write!(text, "{}:", user.key())?;
        }
        write!(text, "{position}")?;
        Base64Display::new(text.as_bytes(), &BASE64_URL_SAFE_NO_PAD).fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_why| NotACursor)?;
        let text = String::from_utf8(bytes).map_err(|_why| NotACursor)?;
        let (epoch, place) = text.strip_prefix("f:").and_then(|rest| rest.split_once(':')).ok_or(NotACursor)?;
        let (user, position) = place.split_once(':').map_or((None, place), |(user, position)| (Some(user), position));
        let user = user.map(|key| key.parse().ok().and_then(UserId::new).ok_or(NotACursor)).transpose()?;
        let position = position.parse().ok().filter(|position| *position >= 0).ok_or(NotACursor)?;
        Ok(Self { epoch: epoch.into(), user, position })
    }
}
