//! Imports of users and messages, in one transaction.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Error, Result, Viewer, policy};
use crate::{
    app::App,
    model::{
        ids::{ConversationId, MessageId, UserId},
        texts::{Content, Email, Name},
        users::Role,
    },
    store::{self, Conn, Constraint, members::Activity, messages::ImportedMessage, users::NewUser},
};

/// Rows in one insert.
const ROWS_PER_INSERT: usize = 1_000;
/// The highest id of an import: half of all ids are left for what comes after it.
const MAX_ID: i64 = 1 << 52;

/// One line: a user, or a message between two users of earlier lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// `{"user": {"id": 1, "name": "…", "email": "…", "createdAt": "…"}}`
    User(UserLine),
    /// `{"message": {"id": 7, "senderId": 1, "receiverId": 2, "content": "…", "createdAt": "…"}}`
    Message(MessageLine),
}

/// A user of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserLine {
    /// From 1 to 2^52, and of no other user of the import.
    pub id: i64,
    /// See [`Name`].
    pub name: String,
    /// See [`Email`].
    pub email: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A message of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageLine {
    /// From 1 to 2^52, and of no other message of the import.
    pub id: i64,
    /// A user of an earlier line.
    pub sender_id: i64,
    /// Another user of an earlier line.
    pub receiver_id: i64,
    /// See [`Content`].
    pub content: String,
    /// RFC 3339.
    pub created_at: String,
}

/// How much was imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Users.
    pub users: u64,
    /// Messages.
    pub messages: u64,
}

/// Why an import failed. It was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line is wrong.
    #[error("line {line}: {why} Nothing was imported.")]
    Line {
        /// Counted from 1.
        line: u64,
        /// The reason, a message for people.
        why: String,
    },
    /// The database failed.
    #[error("{0}; nothing was imported")]
    Failed(#[from] Error),
}

impl From<store::Error> for ImportError {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Imports numbered lines in one transaction. A line that is invalid, or that could not be read (`Err`, with the reason),
/// rolls it back. On an empty database the ids are kept; otherwise new ones are given. The messages are in the feeds of the imported
/// users, who have no cursors yet.
pub async fn import<I>(app: &App, viewer: &Viewer, lines: I) -> Result<Count, ImportError>
where
    I: Iterator<Item = (u64, Result<Line, String>)> + Send + 'static,
{
    policy::require_operator(viewer)?;
    app.store
        .write(move |conn| {
            store::server::lock_ids(conn)?;
            let mut import = Import::begin(conn)?;
            for (number, line) in lines {
                let outcome = line.map_err(LineError::Invalid).and_then(|line| match line {
                    Line::User(user) => import.add_user(conn, user),
                    Line::Message(message) => import.add_message(conn, message),
                });
                outcome.map_err(|error| match error {
                    LineError::Invalid(why) => ImportError::Line { line: number, why },
                    LineError::Store(error) => error.into(),
                })?;
            }
            import.finish(conn)
        })
        .await
}

/// Why a line was not imported.
enum LineError {
    Invalid(String),
    Store(store::Error),
}

impl From<store::Error> for LineError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// The state of an import.
struct Import {
    keeps_ids: bool,
    last_message_id: i64,
    users: HashMap<i64, UserId>,
    messages: HashSet<i64>,
    activity: HashMap<ConversationId, Activity>,
    pending: Vec<ImportedMessage>,
    count: Count,
}

impl Import {
    fn begin(conn: &mut Conn<'_>) -> store::Result<Self> {
        Ok(Self {
            keeps_ids: store::users::last_id(conn)? == 0,
            last_message_id: store::feed::last_id(conn)?,
            users: HashMap::new(),
            messages: HashSet::new(),
            activity: HashMap::new(),
            pending: Vec::with_capacity(ROWS_PER_INSERT),
            count: Count::default(),
        })
    }

    fn add_user(&mut self, conn: &mut Conn<'_>, line: UserLine) -> Result<(), LineError> {
        let id = UserId::new(line.id).filter(|id| id.key() <= MAX_ID).ok_or_else(bad_id)?;
        if self.users.contains_key(&line.id) {
            return Err(LineError::Invalid(format!("There is a user {} in an earlier line.", line.id)));
        }
        let name = valid(Name::parse(line.name))?;
        let email = valid(Email::parse(&line.email))?;
        let created_at = valid(line.created_at.parse())?;
        let (name, email, role) = (&name, Some(&email), Role::User);
        let id = self.keeps_ids.then_some(id);
        let user = NewUser { id, name, email, created_at, password_hash: None, role };
        let user = store::users::insert(conn, &user).map_err(|error| {
            let taken = matches!(error, store::Error::ConstraintViolated(Constraint::UniqueEmail));
            if taken { LineError::Invalid("Another user has this email.".into()) } else { error.into() }
        })?;
        self.users.insert(line.id, user.id);
        self.count.users += 1;
        Ok(())
    }

    fn add_message(&mut self, conn: &mut Conn<'_>, line: MessageLine) -> Result<(), LineError> {
        let own_id = MessageId::new(line.id).filter(|id| id.key() <= MAX_ID).ok_or_else(bad_id)?;
        if !self.messages.insert(line.id) {
            return Err(LineError::Invalid(format!("There is a message {} in an earlier line.", line.id)));
        }
        let user = |id: i64, what: &str| {
            let known = self.users.get(&id).copied();
            known.ok_or_else(|| LineError::Invalid(format!("The {what} {id} is no user of an earlier line.")))
        };
        let (sender_id, receiver_id) = (user(line.sender_id, "sender")?, user(line.receiver_id, "receiver")?);
        let conversation = ConversationId::between(sender_id, receiver_id)
            .ok_or_else(|| LineError::Invalid("The sender and the receiver must be two users.".into()))?;
        let content = valid(Content::parse(line.content))?;
        let created_at = valid(line.created_at.parse())?;
        let id = if self.keeps_ids { own_id } else { self.next_message_id()? };
        let activity =
            self.activity.entry(conversation).or_insert(Activity { conversation, last: id, received: [0, 0] });
        activity.last = id.max(activity.last);
        for (member, received) in conversation.members().into_iter().zip(&mut activity.received) {
            *received += i64::from(member == receiver_id);
        }
        self.pending.push(ImportedMessage { id, sender_id, receiver_id, content, created_at });
        self.count.messages += 1;
        if self.pending.len() == ROWS_PER_INSERT {
            self.flush(conn)?;
        }
        Ok(())
    }

    fn next_message_id(&mut self) -> Result<MessageId, LineError> {
        self.last_message_id += 1;
        MessageId::new(self.last_message_id).ok_or_else(|| LineError::Invalid("There are no ids left.".into()))
    }

    fn flush(&mut self, conn: &mut Conn<'_>) -> store::Result<()> {
        store::messages::insert_all(conn, &self.pending)?;
        for message in &self.pending {
            if let Some(conversation) = ConversationId::between(message.sender_id, message.receiver_id) {
                store::words::insert_sent(conn, message.id, conversation, message.content.as_str())?;
            }
        }
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self, conn: &mut Conn<'_>) -> Result<Count, ImportError> {
        self.flush(conn)?;
        let activity: Vec<_> = self.activity.into_values().collect();
        for activity in activity.chunks(ROWS_PER_INSERT) {
            store::members::advance(conn, activity)?;
        }
        let last = store::feed::last_id(conn)?;
        store::server::release_ids(conn, last)?;
        Ok(self.count)
    }
}

fn bad_id() -> LineError {
    LineError::Invalid(format!("The id must be from 1 to {MAX_ID}: leave room for ids to come."))
}

fn valid<T>(parsed: Result<T, impl std::fmt::Display>) -> Result<T, LineError> {
    parsed.map_err(|why| LineError::Invalid(why.to_string()))
}
