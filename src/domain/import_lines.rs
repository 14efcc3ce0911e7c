//! The lines of an import, as they are in a file of JSON Lines.

use serde::{Deserialize, Serialize};

/// One line: a user, a message between two users of earlier lines, or how far a user has read a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// `{"user": {"id": 1, "name": "…", "email": "…", "createdAt": "…"}}`
    User(UserLine),
    /// `{"message": {"id": 7, "senderId": 1, "receiverId": 2, "content": "…", "createdAt": "…"}}`
    Message(MessageLine),
    /// `{"marks": {"userId": 1, "peerId": 2, "delivered": {"messageId": 7, "at": "…"}, "read": {"messageId": 7, "at": "…"}}}`
    Marks(MarksLine),
}

/// A user of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserLine {
    /// From 1 to 2^52, and of no other user of the import.
    pub id: i64,
    /// See [`Name`](crate::model::texts::Name).
    pub name: String,
    /// See [`Email`](crate::model::texts::Email).
    pub email: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A message of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageLine {
    /// From 1 to 2^52, and of no other message of the import.
    pub id: i64,
    /// A user of an earlier line.
    pub sender_id: i64,
    /// Another user of an earlier line.
    pub receiver_id: i64,
    /// See [`Content`](crate::model::texts::Content).
    pub content: String,
    /// RFC 3339. In a conversation it does not go backwards as the ids go up.
    pub created_at: String,
    /// A message of an earlier line in the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<i64>,
    /// See [`ClientId`](crate::model::texts::ClientId); of no other message of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// RFC 3339, if it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<String>,
}

/// How far a conversation has arrived at a user, and how far they have read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarksLine {
    /// A user of an earlier line.
    pub user_id: i64,
    /// The other member of the conversation.
    pub peer_id: i64,
    /// The last message that has arrived.
    pub delivered: Option<MarkLine>,
    /// The last message that was read.
    pub read: Option<MarkLine>,
}

/// A message up to which something has happened, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarkLine {
    /// A message of an earlier line in the conversation.
    pub message_id: i64,
    /// RFC 3339.
    pub at: String,
}
