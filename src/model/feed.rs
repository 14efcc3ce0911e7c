//! The feed: what changed for one user, in the order of commits, and cursors into it.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use diesel::Queryable;

use super::{
    ids::{MessageId, UserId},
    timestamps::Timestamp,
};

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// It was sent.
    Sent = 1,
    /// Its text was changed.
    Updated = 2,
    /// It was deleted.
    Deleted = 3,
    /// A mark of the user whose feed it is was moved to it.
    OwnMark = 4,
    /// A mark of the other member was moved to it.
    PeerMark = 5,
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
        [Self::Sent, Self::Updated, Self::Deleted, Self::OwnMark, Self::PeerMark]
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
    /// The message that changed.
    pub message_id: MessageId,
    /// The other member of its conversation.
    pub peer_id: UserId,
    /// When it changed.
    pub at: Timestamp,
}

/// A place in a user's feed: after the entry at `position`, in the database that has this epoch. Clients see it as an
/// opaque text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Random text, made with the database.
    pub epoch: String,
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
