//! Conversations: what two users say to each other. One exists for every pair of users, before its first message too.

use diesel::Queryable;

use super::ids::{ConversationId, MessageId, UserId};

/// A user's place in a conversation that has had messages.
#[derive(Debug, Clone, Copy, Queryable)]
pub struct Member {
    /// Whose place.
    pub user_id: UserId,
    /// The other one.
    pub peer_id: UserId,
    /// The newest message that was ever in it: a user's conversations are ordered by this, the highest first.
    pub last_message_id: MessageId,
}

impl Member {
    /// The conversation.
    #[must_use]
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId::of_two(self.user_id, self.peer_id)
    }
}
