//! Conversations: what two users say to each other. One exists for every pair of users, before its first message too.

use diesel::Queryable;

use super::{
    ids::{ConversationId, MessageId, UserId},
    timestamps::Timestamp,
};

/// A user's place in a conversation that has had messages.
#[derive(Debug, Clone, Copy, Queryable)]
pub struct Member {
    /// Whose place.
    pub user_id: UserId,
    /// The other one.
    pub peer_id: UserId,
    /// The newest message that was ever in it: a user's conversations are ordered by this, the highest first.
    pub last_message_id: MessageId,
    delivered: (i64, Timestamp),
    read: (i64, Timestamp),
    /// Messages of the other one that the user has not read.
    pub unread: i64,
}

/// How far a member got with the messages of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// They have arrived.
    Delivered,
    /// They were read.
    Read,
}

/// A message reached, and when. It covers everything before it, and only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The message; it may have been deleted since.
    pub message_id: MessageId,
    /// When the mark was set.
    pub at: Timestamp,
}

impl Member {
    /// The conversation.
    #[must_use]
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId::of_two(self.user_id, self.peer_id)
    }

    /// The mark; `None` before the first.
    #[must_use]
    pub fn mark(&self, reach: Reach) -> Option<Mark> {
        let (message, at) = match reach {
            Reach::Delivered => self.delivered,
            Reach::Read => self.read,
        };
        MessageId::new(message).map(|message_id| Mark { message_id, at })
    }

    /// How far the member got with this message; `None`: it has not arrived.
    #[must_use]
    pub fn reach(&self, message: MessageId) -> Option<Reach> {
        let covers = |reach| self.mark(reach).is_some_and(|mark| mark.message_id >= message);
        [Reach::Read, Reach::Delivered].into_iter().find(|reach| covers(*reach))
    }
}
