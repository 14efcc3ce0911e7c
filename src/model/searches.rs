//! Searches over messages: what is looked for, and among which messages.

use std::{fmt, str::FromStr};

use super::{
    ids::{ConversationId, MessageId, UserId},
    timestamps::Timestamp,
};

/// How a search compares messages with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Mode {
    /// They have all of its words.
    Text,
    /// They mean something similar.
    Semantic,
    /// Both: the two lists are fused.
    Hybrid,
}

/// The order of what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The best match first.
    Relevance,
    /// The newest first.
    Newest,
}

/// Among whose messages it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All there are.
    All,
    /// Sent or received by one user.
    Of(UserId),
    /// Of one conversation.
    Conversation(ConversationId),
}

/// Among which messages it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Of these.
    pub scope: Scope,
    /// Sent by this user.
    pub sender: Option<UserId>,
    /// Sent at this time or later.
    pub since: Option<Timestamp>,
    /// Sent before this time.
    pub until: Option<Timestamp>,
    /// With this id or a lower one.
    pub through: Option<MessageId>,
}

/// A place in what a search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Of which search it is.
    pub digest: u64,
    /// The mode in which it was found.
    pub mode: Mode,
    /// The highest id when the first page was read: later messages do not move the others.
    pub through: i64,
    /// The rank, from 1; or the key of the message, if the newest come first.
    pub at: i64,
}

/// The text is no place in what a search finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, mode, through, at } = self;
        write!(f, "search:{mode}:{digest}:{through}:{at}")
    }
}

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["search", mode, digest, through, at] = parts[..] else { return Err(NotAPlace) };
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0).ok_or(NotAPlace);
        Ok(Self {
            digest: digest.parse().map_err(|_why| NotAPlace)?,
            mode: mode.parse().map_err(|_why| NotAPlace)?,
            through: number(through)?,
            at: number(at)?,
        })
    }
}
