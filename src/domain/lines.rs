//! The lines of an export or an import, as they are in a file of JSON Lines.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    ops::Not,
};

use serde::{Deserialize, Serialize};

use crate::model::timestamps::Timestamp;

/// One line: the first one of an export, a user, a message between two users of earlier lines, how far a user has read a
/// conversation, whom a user has blocked, or where a user signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// `{"export": {"format": 1, "lastId": 7}}`
    Export(ExportLine),
    /// `{"user": {"id": 1, "name": "…", "email": "…", "createdAt": "…"}}`
    User(UserLine),
    /// `{"message": {"id": 7, "senderId": 1, "receiverId": 2, "content": "…", "createdAt": "…"}}`
    Message(MessageLine),
    /// `{"marks": {"userId": 1, "peerId": 2, "delivered": {"messageId": 7, "at": "…"}, "read": {"messageId": 7, "at": "…"}}}`
    Marks(MarksLine),
    /// `{"block": {"userId": 1, "blockedId": 2, "createdAt": "…"}}`
    Block(BlockLine),
    /// `{"session": {"id": 3, "userId": 1, "device": "…", "createdAt": "…", "lastUsedAt": "…"}}`
    Session(SessionLine),
}

/// The first line of an export. What follows was accepted by a server before, and is not judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportLine {
    /// `FORMAT`
    pub format: u32,
    /// The user whose data it is, if it is not that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// The highest id that a message had, also of those that are not there any more; only where it is the data of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<i64>,
}

/// The format of exports. It grows when an earlier version could not import them.
pub(super) const FORMAT: u32 = 1;

/// Who wrote the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody else.
    Elsewhere,
    /// A server, with all that it had accepted.
    Server,
    /// A server, of one user: some messages are missing.
    User,
}

impl Source {
    /// Whether a server has accepted the lines before.
    pub(super) fn is_server(self) -> bool {
        self != Self::Elsewhere
    }
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserLine {
    /// From 1 to 2^52, and of no other user of the file.
    pub id: i64,
    /// See [`Name`](crate::model::texts::Name); none if the account was erased.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// See [`Email`](crate::model::texts::Email), if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339, if the account was erased. Then only its id is left, and what an issuer calls the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<String>,
    /// The Argon2id hash of the password, in PHC format, if the user signs in with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Whether the user may act for everyone.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub admin: bool,
    /// RFC 3339, if the account is suspended: nobody can sign in to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<String>,
    /// By what issuers of tokens know the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityLine>,
}

impl UserLine {
    /// Whether it says something that is not kept of an account that was erased.
    pub(super) fn is_personal(&self) -> bool {
        let Self { id: _, name, email, created_at: _, erased_at: _, password_hash, admin, suspended_at, identities: _ } =
            self;
        !name.is_empty() || email.is_some() || password_hash.is_some() || *admin || suspended_at.is_some()
    }
}

/// What an issuer calls a user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityLine {
    /// `iss` of the tokens.
    pub issuer: String,
    /// `sub` of the tokens.
    pub subject: String,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageLine {
    /// From 1 to 2^52, and of no other message of the file.
    pub id: i64,
    /// A user of an earlier line.
    pub sender_id: i64,
    /// Another user of an earlier line.
    pub receiver_id: i64,
    /// See [`Content`](crate::model::texts::Content); none if the message was deleted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// RFC 3339. It does not go backwards as the ids go up, except in an export.
    pub created_at: String,
    /// A message of an earlier line in the same conversation; of any line if messages get new ids in the order of their times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<i64>,
    /// See [`ClientId`](crate::model::texts::ClientId); of no other message of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// 1, and 1 more for each edit. If it is not given: 2 if the message was edited, otherwise 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// RFC 3339, if it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<String>,
    /// SHA-256 of the send, in Base64, if it had a `clientId` and was edited: so a retry of the send is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_digest: Option<String>,
    /// RFC 3339, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
}

/// Messages with their times and the numbers of their lines in the order in which they get new ids: that of their times, and then of
/// their ids, but an answer comes after its message, whatever its time says.
pub(super) fn in_order(mut messages: Vec<(Timestamp, u64, MessageLine)>) -> Vec<(u64, MessageLine)> {
    messages.sort_by_key(|(at, _, message)| (*at, message.id));
    let mut to_come: HashSet<i64> = messages.iter().map(|(_, _, message)| message.id).collect();
    let mut answers: HashMap<i64, BTreeMap<usize, (u64, MessageLine)>> = HashMap::new();
    let mut ordered = Vec::with_capacity(messages.len());
    for (place, (_, number, message)) in messages.into_iter().enumerate() {
        if let Some(answered) = message.reply_to_id.filter(|id| to_come.contains(id)) {
            answers.entry(answered).or_default().insert(place, (number, message));
            continue;
        }
        // What has waited for it, and for what has waited.
        let mut next = BTreeMap::from([(place, (number, message))]);
        while let Some((_, (number, message))) = next.pop_first() {
            to_come.remove(&message.id);
            next.extend(answers.remove(&message.id).into_iter().flatten());
            ordered.push((number, message));
        }
    }
    // What is left is in a circle of answers, or after one: its first line answers itself or a later one, and is refused.
    let mut left: Vec<_> = answers.into_values().flatten().map(|(_, line)| line).collect();
    left.sort_by_key(|(number, _)| *number);
    ordered.extend(left);
    ordered
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<MarkLine>,
    /// The last message that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockLine {
    /// A user of an earlier line.
    pub user_id: i64,
    /// Another user of an earlier line, whom that one has blocked.
    pub blocked_id: i64,
    /// RFC 3339.
    pub created_at: String,
}

/// A session, in the export of one user. Sessions are not imported: who comes from another server signs in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionLine {
    /// The id.
    pub id: i64,
    /// The user who signed in.
    pub user_id: i64,
    /// What the client calls the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339: when it was last renewed.
    pub last_used_at: String,
    /// RFC 3339, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How much was exported or imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Users.
    pub users: u64,
    /// Those of the users who may act for everyone.
    pub admins: u64,
    /// Messages.
    pub messages: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", counted(self.users, "user"))?;
        if self.admins > 0 {
            write!(f, " ({} of them admins)", self.admins)?;
        }
        write!(f, " and {}", counted(self.messages, "message"))
    }
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of messages with these ids, seconds, and messages that they answer.
    fn order(messages: &[(i64, i64, Option<i64>)]) -> Vec<i64> {
        let message = |&(id, seconds, reply_to_id): &(i64, i64, Option<i64>)| {
            let message = MessageLine { id, reply_to_id, ..MessageLine::default() };
            (Timestamp::from_milliseconds(seconds * 1_000), 1, message)
        };
        in_order(messages.iter().map(message).collect()).into_iter().map(|(_, message)| message.id).collect()
    }

    #[test]
    fn answers_come_after_their_messages_and_all_else_in_the_order_of_times() {
        assert_eq!(order(&[(1, 5, None), (2, 3, None), (3, 3, None)]), [2, 3, 1]);
        // The clock of the sender of 1 was ahead.
        let waiting = [(1, 600, None), (4, 4, Some(2)), (3, 2, Some(1)), (2, 1, Some(1)), (5, 601, None)];
        assert_eq!(order(&waiting), [1, 2, 3, 4, 5]);
        // In a circle.
        assert_eq!(order(&[(1, 1, Some(2)), (2, 2, Some(1)), (3, 3, None)]).first(), Some(&3));
    }
}
