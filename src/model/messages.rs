//! Messages: one text from a sender to a receiver.

use diesel::Queryable;
use sha2::{Digest, Sha256};

use super::{
    ids::{ConversationId, MessageId, UserId},
    texts::{ClientId, Content},
    timestamps::Timestamp,
    vectors::Entry,
};

/// A message that was not deleted.
#[derive(Clone, Queryable)]
pub struct Message {
    /// Key; grows in the order of the conversation.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Whom it is for; never the sender.
    pub receiver_id: UserId,
    /// The text.
    pub content: String,
    /// The message that this one answers, of the same conversation; it may have been deleted since.
    pub reply_to_id: Option<MessageId>,
    /// The id that the sender chose.
    pub client_id: Option<String>,
    /// 1, and 1 more for each edit.
    pub version: i32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
}

impl Message {
    /// The conversation that it is part of.
    #[must_use]
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId::of_two(self.sender_id, self.receiver_id)
    }

    /// [`Draft::digest`] of a send of this text.
    #[must_use]
    pub fn digest(&self) -> Option<Vec<u8>> {
        self.client_id.as_deref().map(|client_id| digest(client_id, self.receiver_id, self.reply_to_id, &self.content))
    }
}

/// A message as it is indexed.
#[derive(Clone, Queryable)]
pub struct IndexedMessage {
    /// The id.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Whom it is for.
    pub receiver_id: UserId,
    /// The text.
    pub content: String,
    /// Grows with each edit.
    pub version: i32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Whether it was deleted: then there is nothing to index.
    pub is_deleted: bool,
}

impl IndexedMessage {
    /// The conversation that it is part of.
    #[must_use]
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId::of_two(self.sender_id, self.receiver_id)
    }

    /// The entry of its vector.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let is_from_low = self.sender_id < self.receiver_id;
        Entry { message: self.id, created_at: self.created_at, is_from_low }
    }
}

/// A message that is about to be sent.
#[derive(Clone)]
pub struct Draft {
    /// Who writes it.
    pub sender_id: UserId,
    /// Whom it is for.
    pub receiver_id: UserId,
    /// The text.
    pub content: Content,
    /// The message that it answers.
    pub reply_to_id: Option<MessageId>,
    /// The id that makes a retry harmless.
    pub client_id: Option<ClientId>,
}

impl Draft {
    /// SHA-256 over all that a retry must repeat: `clientId`, receiver, content, reply. It tells a retry from another
    /// message after the first was edited. `None` without a `clientId`.
    #[must_use]
    pub fn digest(&self) -> Option<Vec<u8>> {
        let client_id = self.client_id.as_ref()?.as_str();
        Some(digest(client_id, self.receiver_id, self.reply_to_id, self.content.as_str()))
    }
}

fn digest(client_id: &str, receiver: UserId, reply_to: Option<MessageId>, content: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(client_id);
    // No text has a NUL in it, so it ends the first part; the next two have a fixed length.
    hash.update([0]);
    hash.update(receiver.key().to_be_bytes());
    hash.update(reply_to.map_or(0, MessageId::key).to_be_bytes());
    hash.update(content);
    hash.finalize().to_vec()
}

/// A list of messages: each has an index in the order of its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum List {
    /// All there are.
    All,
    /// Of one conversation.
    Conversation(ConversationId),
    /// Sent by one user.
    SentBy(UserId),
    /// Received by one user.
    ReceivedBy(UserId),
    /// Sent or received by one user.
    Of(UserId),
    /// Sent by the first, received by the second.
    Between(UserId, UserId),
}
