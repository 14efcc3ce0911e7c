//! Imports of users and messages, in one transaction.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

pub use super::import_lines::{Line, MarkLine, MarksLine, MessageLine, UserLine};
use super::{Error, Result, Viewer, policy};
use crate::{
    app::App,
    model::{
        conversations::{Mark, Reach},
        ids::{ConversationId, MessageId, UserId},
        texts::{ClientId, Content, Email, Name},
        timestamps::Timestamp,
        users::Role,
    },
    store::{self, Conn, Constraint, members::Activity, messages::ImportedMessage, users::NewUser},
};

/// Rows in one insert.
const ROWS_PER_INSERT: usize = 1_000;
/// The highest id of an import: half of all ids are left for what comes after it.
const MAX_ID: i64 = 1 << 52;

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
/// rolls it back. On an empty database the ids are kept; otherwise new ones are given, in the order of the lines. The messages are in
/// the feeds of the imported users, who have no cursors yet.
pub async fn import<I>(app: &App, viewer: &Viewer, lines: I) -> Result<Count, ImportError>
where
    I: Iterator<Item = (u64, Result<Line, String>)> + Send + 'static,
{
    run(app, viewer, lines, false).await
}

/// The same, but messages get new ids in the order of their times. All lines with messages are held in memory.
pub async fn import_renumbered<I>(app: &App, viewer: &Viewer, lines: I) -> Result<Count, ImportError>
where
    I: Iterator<Item = (u64, Result<Line, String>)> + Send + 'static,
{
    run(app, viewer, lines, true).await
}

async fn run<I>(app: &App, viewer: &Viewer, lines: I, renumbers: bool) -> Result<Count, ImportError>
where
    I: Iterator<Item = (u64, Result<Line, String>)> + Send + 'static,
{
    policy::require_operator(viewer)?;
    app.store
        .write(move |conn| {
            store::server::lock_ids(conn)?;
            let mut import = Import::begin(conn, renumbers)?;
            for (number, line) in lines {
                let outcome = line.map_err(LineError::Invalid).and_then(|line| match line {
                    Line::User(user) => import.add_user(conn, user),
                    Line::Message(message) if renumbers => import.postpone(number, message),
                    Line::Message(message) => import.add_message(conn, message),
                    Line::Marks(marks) => {
                        import.marks.push((number, marks));
                        Ok(())
                    }
                });
                outcome.map_err(|error| error.of_line(number))?;
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

impl LineError {
    fn of_line(self, line: u64) -> ImportError {
        match self {
            Self::Invalid(why) => ImportError::Line { line, why },
            Self::Store(error) => error.into(),
        }
    }
}

impl From<store::Error> for LineError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// The state of an import.
struct Import {
    /// On an empty database.
    keeps_user_ids: bool,
    keeps_message_ids: bool,
    last_message_id: i64,
    /// The new ids by those of the lines.
    users: HashMap<i64, UserId>,
    messages: HashMap<i64, (MessageId, ConversationId)>,
    client_ids: HashSet<(UserId, String)>,
    conversations: HashMap<ConversationId, Imported>,
    pending: Vec<ImportedMessage>,
    /// Messages that wait for those with earlier times, with their lines and times.
    postponed: Vec<(Timestamp, u64, MessageLine)>,
    /// These wait for all messages.
    marks: Vec<(u64, MarksLine)>,
    marked: HashSet<(UserId, UserId)>,
    count: Count,
}

/// What was imported of a conversation.
struct Imported {
    activity: Activity,
    times: BTreeMap<MessageId, Timestamp>,
}

impl Import {
    fn begin(conn: &mut Conn<'_>, renumbers: bool) -> store::Result<Self> {
        let is_empty = store::users::last_id(conn)? == 0;
        Ok(Self {
            keeps_user_ids: is_empty,
            keeps_message_ids: is_empty && !renumbers,
            last_message_id: store::feed::last_id(conn)?,
            users: HashMap::new(),
            messages: HashMap::new(),
            client_ids: HashSet::new(),
            conversations: HashMap::new(),
            pending: Vec::with_capacity(ROWS_PER_INSERT),
            postponed: Vec::new(),
            marks: Vec::new(),
            marked: HashSet::new(),
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
        let id = self.keeps_user_ids.then_some(id);
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
        if self.messages.contains_key(&line.id) {
            return Err(LineError::Invalid(format!("There is a message {} in an earlier line.", line.id)));
        }
        let (sender_id, receiver_id) = (self.user(line.sender_id, "sender")?, self.user(line.receiver_id, "receiver")?);
        let conversation = ConversationId::between(sender_id, receiver_id)
            .ok_or_else(|| LineError::Invalid("The sender and the receiver must be two users.".into()))?;
        let content = valid(Content::parse(line.content))?;
        let created_at = valid(line.created_at.parse())?;
        let edited_at = line.edited_at.map(|at| valid(at.parse())).transpose()?;
        let client_id = line.client_id.map(|id| valid(ClientId::parse(id))).transpose()?;
        if let Some(id) = &client_id
            && !self.client_ids.insert((sender_id, id.as_str().to_owned()))
        {
            return Err(LineError::Invalid("The sender has a message with this clientId in an earlier line.".into()));
        }
        let reply_to_id = line.reply_to_id.map(|id| self.message(id, conversation, "replyToId")).transpose()?;
        let id = if self.keeps_message_ids { own_id } else { self.next_message_id()? };
        if reply_to_id.is_some_and(|answered| answered > id) {
            return Err(LineError::Invalid(
                "The replyToId is higher than the id: an answer comes after its message.".into(),
            ));
        }
        self.messages.insert(line.id, (id, conversation));
        let activity = Activity { conversation, last: id, received: [0, 0] };
        let imported = self.conversations.entry(conversation).or_insert(Imported { activity, times: BTreeMap::new() });
        let (before, after) = (imported.times.range(..id).next_back(), imported.times.range(id..).next());
        if before.is_some_and(|(_, at)| *at > created_at) || after.is_some_and(|(_, at)| *at < created_at) {
            return Err(LineError::Invalid(
                "The times of the conversation's messages are in another order than their ids, or than their lines if they get new ids; \
                 with --renumber they get new ids in the order of their times."
                    .into(),
            ));
        }
        imported.times.insert(id, created_at);
        imported.activity.last = id.max(imported.activity.last);
        for (member, received) in conversation.members().into_iter().zip(&mut imported.activity.received) {
            *received += i64::from(member == receiver_id);
        }
        self.pending.push(ImportedMessage {
            id,
            sender_id,
            receiver_id,
            content,
            reply_to_id,
            client_id,
            created_at,
            edited_at,
        });
        self.count.messages += 1;
        if self.pending.len() == ROWS_PER_INSERT {
            self.flush(conn)?;
        }
        Ok(())
    }

    fn postpone(&mut self, number: u64, line: MessageLine) -> Result<(), LineError> {
        self.postponed.push((valid(line.created_at.parse())?, number, line));
        Ok(())
    }

    /// A user of an earlier line.
    fn user(&self, id: i64, what: &str) -> Result<UserId, LineError> {
        let known = self.users.get(&id).copied();
        known.ok_or_else(|| LineError::Invalid(format!("The {what} {id} is no user of an earlier line.")))
    }

    /// A message of an earlier line.
    fn message(&self, id: i64, conversation: ConversationId, what: &str) -> Result<MessageId, LineError> {
        let known = self.messages.get(&id).filter(|(_, its)| *its == conversation).map(|(id, _)| *id);
        let unknown = || format!("The {what} {id} is no message of an earlier line in this conversation.");
        known.ok_or_else(|| LineError::Invalid(unknown()))
    }

    fn set_marks(&mut self, conn: &mut Conn<'_>, line: MarksLine) -> Result<(), LineError> {
        let (user, peer) = (self.user(line.user_id, "userId")?, self.user(line.peer_id, "peerId")?);
        let imported = ConversationId::between(user, peer).and_then(|its| self.conversations.get(&its));
        let Activity { conversation, last, .. } =
            imported.ok_or_else(|| LineError::Invalid("The two have no conversation in these lines.".into()))?.activity;
        if !self.marked.insert((user, peer)) {
            return Err(LineError::Invalid("There are marks of the two in an earlier line.".into()));
        }
        let mark = |mark: Option<MarkLine>| {
            mark.map(|mark| {
                let message_id = self.message(mark.message_id, conversation, "messageId")?;
                Ok::<_, LineError>(Mark { message_id, at: valid(mark.at.parse())? })
            })
        };
        let (delivered, read) = (mark(line.delivered).transpose()?, mark(line.read).transpose()?);
        // What was read has arrived.
        let delivered = read.into_iter().chain(delivered).max_by_key(|mark| mark.message_id);
        if let Some(mark) = delivered {
            store::members::set_mark(conn, (user, peer), Reach::Delivered, mark, 0)?;
        }
        if let Some(mark) = read {
            let unread = store::messages::count_received(conn, conversation, user, (mark.message_id.key(), last))?;
            store::members::set_mark(conn, (user, peer), Reach::Read, mark, unread)?;
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
        let mut postponed = mem::take(&mut self.postponed);
        postponed.sort_by_key(|(at, number, _)| (*at, *number));
        for (_, number, line) in postponed {
            self.add_message(conn, line).map_err(|error| error.of_line(number))?;
        }
        self.flush(conn)?;
        let activity: Vec<_> = self.conversations.values().map(|imported| imported.activity).collect();
        for activity in activity.chunks(ROWS_PER_INSERT) {
            store::members::advance(conn, activity)?;
        }
        for (number, marks) in mem::take(&mut self.marks) {
            self.set_marks(conn, marks).map_err(|error| error.of_line(number))?;
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
