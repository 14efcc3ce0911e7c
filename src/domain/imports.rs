//! Imports of users and messages, in one transaction.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

pub use super::import_errors::ImportError;
pub use super::lines::{
    BlockLine, Count, ExportLine, IdentityLine, Line, MarkLine, MarksLine, MessageLine, SessionLine, UserLine,
};
use super::{
    Result, Viewer, audit,
    import_errors::{LineError, MAX_EXPORTED_ID, MAX_ID, bad_id, check_last_id, digest, email_in_use, invalid, valid},
    lines::{FORMAT, Source, in_order},
    policy,
};
use crate::{
    app::App,
    model::{
        conversations::Mark,
        ids::{ConversationId, MessageId, UserId},
        texts::{ClientId, Content, Email, Name},
        timestamps::Timestamp,
        users::Role,
    },
    secrets::Passwords,
    store::{self, Conn, members::Activity, rows::MessageRow, users::NewUser},
};

/// Rows in one insert.
const ROWS_PER_INSERT: usize = 1_000;

/// Imports numbered lines in one transaction. A line that is invalid, or that could not be read (`Err`, with the reason),
/// rolls it back. On an empty database the ids are kept; otherwise new ones are given, in the order of the lines. The messages are in
/// the feeds of the imported users, who have no cursors yet.
pub async fn import<I>(app: &App, viewer: &Viewer, lines: I) -> Result<Count, ImportError>
where
    I: Iterator<Item = (u64, Result<Line, String>)> + Send + 'static,
{
    run(app, viewer, lines, false).await
}

/// Imports lines as [`import`], but messages get new ids in the order of their times, and answers after their messages. All lines with
/// messages are held in memory.
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
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            store::allow_pauses(conn)?;
            store::server::lock_ids(conn)?;
            let mut import = Import::begin(conn, renumbers)?;
            for (number, line) in lines {
                let outcome = line.map_err(LineError::Invalid).and_then(|line| import.add(conn, number, line));
                outcome.map_err(|error| error.of_line(number))?;
            }
            let count = import.finish(conn)?;
            audit::record(conn, &viewer, at, "import", (None, Some(count.to_string())))?;
            Ok(count)
        })
        .await
}

/// The state of an import.
struct Import {
    source: Source,
    renumbers: bool,
    /// Whether the database is, so that ids are kept.
    is_empty: bool,
    last_message_id: i64,
    /// The highest id that no new message may have.
    reserved_through: i64,
    /// The new ids by those of the lines.
    users: HashMap<i64, UserId>,
    messages: BTreeMap<i64, (MessageId, ConversationId)>,
    /// With the senders, as the lines have them.
    client_ids: HashSet<(i64, String)>,
    conversations: HashMap<ConversationId, Imported>,
    /// Of messages that must be in the order of their times.
    times: BTreeMap<MessageId, Timestamp>,
    pending: Vec<MessageRow>,
    /// Messages that wait for those with earlier times, by the ids of the lines.
    postponed: HashMap<i64, (Timestamp, u64, MessageLine)>,
    /// These wait for all messages.
    marks: Vec<(u64, MarksLine)>,
    marked: HashSet<(UserId, UserId)>,
    count: Count,
}

/// What was imported of a conversation.
struct Imported {
    activity: Activity,
    /// Until when the last message was left: where none is, it is the one that was deleted last.
    left_until: Timestamp,
}

impl Import {
    fn begin(conn: &mut Conn<'_>, renumbers: bool) -> store::Result<Self> {
        Ok(Self {
            source: Source::Elsewhere,
            renumbers,
            is_empty: store::users::last_id(conn)? == 0,
            last_message_id: store::feed::last_id(conn)?.max(store::feed::unsettled(conn)?.last_id()),
            reserved_through: 0,
            users: HashMap::new(),
            messages: BTreeMap::new(),
            client_ids: HashSet::new(),
            conversations: HashMap::new(),
            times: BTreeMap::new(),
            pending: Vec::with_capacity(ROWS_PER_INSERT),
            postponed: HashMap::new(),
            marks: Vec::new(),
            marked: HashSet::new(),
            count: Count::default(),
        })
    }

    fn add(&mut self, conn: &mut Conn<'_>, number: u64, line: Line) -> Result<(), LineError> {
        match line {
            Line::Export(_) if number != 1 => {
                return Err(invalid("This is the first line of an export, and must be the first one here."));
            }
            Line::Export(ExportLine { format, user_id, last_id }) => {
                if format != FORMAT {
                    return Err(invalid(format!(
                        "This export has the format {format}, and this version reads {FORMAT}: take the version that made it."
                    )));
                }
                last_id.map_or(Ok(()), check_last_id)?;
                self.source = if user_id.is_some() { Source::User } else { Source::Server };
                // No message to come gets the id of one that is not there any more.
                self.reserved_through = last_id.filter(|_| self.keeps_ids()).unwrap_or_default();
            }
            Line::User(user) => self.add_user(conn, user)?,
            Line::Message(message) => {
                self.check_new(&message)?;
                if !self.renumbers {
                    return self.add_message(conn, message);
                }
                self.postponed.insert(message.id, (valid(message.created_at.parse())?, number, message));
            }
            Line::Marks(marks) => self.marks.push((number, marks)),
            Line::Block(BlockLine { user_id, blocked_id, created_at }) => {
                let (user, blocked) = (self.user(user_id, "userId")?, self.user(blocked_id, "blockedId")?);
                if user == blocked {
                    return Err(invalid("Nobody can block themselves."));
                }
                store::blocks::insert(conn, user, blocked, valid(created_at.parse())?)?;
            }
            // Whoever comes from another server signs in again.
            Line::Session(_) => {}
        }
        Ok(())
    }

    fn add_user(&mut self, conn: &mut Conn<'_>, line: UserLine) -> Result<(), LineError> {
        let max = self.max_id();
        let id = UserId::new(line.id).filter(|id| id.key() <= max).ok_or_else(|| bad_id(max))?;
        if self.users.contains_key(&line.id) {
            return Err(invalid(format!("There is a user {} in an earlier line.", line.id)));
        }
        let created_at = valid(line.created_at.parse())?;
        let id = self.is_empty.then_some(id);
        let user = if let Some(erased_at) = &line.erased_at {
            if line.is_personal() {
                return Err(invalid("Nothing is known of an erased user: leave out erasedAt, or the rest."));
            }
            store::users::insert_erased(conn, id, created_at, valid(erased_at.parse())?)?
        } else {
            let name =
                valid(if self.source.is_server() { Name::of_account(line.name) } else { Name::parse(line.name) })?;
            let parse = if self.source.is_server() { Email::of_account } else { Email::parse };
            let email = line.email.map(|email| valid(parse(&email))).transpose()?;
            let password_hash = line.password_hash.as_deref();
            if password_hash.is_some_and(|hash| !Passwords::is_hash(hash)) {
                return Err(invalid(
                    "The passwordHash must be one of Argon2id in PHC format with at most 256 MiB, such as \
                     $argon2id$v=19$m=19456,t=2,p=1$….",
                ));
            }
            let (name, email, role) = (&name, email.as_ref(), if line.admin { Role::Admin } else { Role::User });
            let user = NewUser { id, name, email, created_at, password_hash, role };
            let inserted = store::users::insert(conn, &user).map_err(email_in_use)?;
            if let Some(at) = line.suspended_at {
                store::users::set_suspended(conn, inserted.id, Some(valid(at.parse())?))?;
            }
            inserted.id
        };
        if line.admin && !line.identities.is_empty() {
            return Err(invalid("Only users who sign in here can be admins: leave out the identities."));
        }
        for IdentityLine { issuer, subject } in line.identities {
            if issuer.contains('\0') || subject.contains('\0') {
                return Err(invalid("An issuer and a subject may not contain the character U+0000."));
            }
            if !store::identities::insert(conn, &issuer, &subject, user)? {
                return Err(invalid(format!("Another user has the subject {subject} of the issuer {issuer}.")));
            }
        }
        self.users.insert(line.id, user);
        self.count.users += 1;
        self.count.admins += u64::from(line.admin);
        Ok(())
    }

    /// That no message of an earlier line has the id, or the `clientId` of the same sender.
    fn check_new(&mut self, line: &MessageLine) -> Result<(), LineError> {
        if self.messages.contains_key(&line.id) || self.postponed.contains_key(&line.id) {
            return Err(invalid(format!("There is a message {} in an earlier line.", line.id)));
        }
        let of_sender = line.client_id.clone().map(|id| (line.sender_id, id));
        if of_sender.is_some_and(|id| !self.client_ids.insert(id)) {
            return Err(invalid("The sender has a message with this clientId in an earlier line."));
        }
        Ok(())
    }

    fn add_message(&mut self, conn: &mut Conn<'_>, line: MessageLine) -> Result<(), LineError> {
        let max = self.max_id();
        let own_id = MessageId::new(line.id).filter(|id| id.key() <= max).ok_or_else(|| bad_id(max))?;
        let (sender_id, receiver_id) = (self.user(line.sender_id, "sender")?, self.user(line.receiver_id, "receiver")?);
        let conversation = ConversationId::between(sender_id, receiver_id)
            .ok_or_else(|| invalid("The sender and the receiver must be two users."))?;
        let deleted_at: Option<Timestamp> = line.deleted_at.map(|at| valid(at.parse())).transpose()?;
        let content =
            if deleted_at.is_some() { String::new() } else { valid(Content::of_message(line.content))?.into_string() };
        let created_at = valid(line.created_at.parse())?;
        let edited_at = line.edited_at.map(|at| valid(at.parse())).transpose()?;
        let version = line.version.unwrap_or(if edited_at.is_some() { 2 } else { 1 });
        if version < 1 {
            return Err(invalid("The version must be 1 or more."));
        }
        let client_digest = line.send_digest.as_deref().map(digest).transpose()?;
        let parse_client_id = if self.source.is_server() { ClientId::of_message } else { ClientId::parse };
        let client_id = line.client_id.map(|id| valid(parse_client_id(id))).transpose()?;
        let reply_to_id = line.reply_to_id.and_then(|id| self.message(id, conversation, "replyToId").transpose());
        let reply_to_id = reply_to_id.transpose()?;
        let id = if self.keeps_ids() { own_id } else { self.next_message_id()? };
        if reply_to_id.is_some_and(|answered| answered > id) {
            return Err(invalid("The replyToId is higher than the id: an answer comes after its message."));
        }
        self.messages.insert(line.id, (id, conversation));
        self.check_order(id, created_at)?;
        let (activity, left_until) =
            (Activity { conversation, last: id, received: [0, 0] }, deleted_at.unwrap_or(Timestamp::MAX));
        let imported = self.conversations.entry(conversation).or_insert(Imported { activity, left_until });
        let (last, new) = ((imported.left_until, imported.activity.last), (left_until, id));
        (imported.left_until, imported.activity.last) = last.max(new);
        for (member, received) in conversation.members().into_iter().zip(&mut imported.activity.received) {
            *received += i64::from(member == receiver_id && deleted_at.is_none());
        }
        self.pending.push(MessageRow {
            id,
            sender_id,
            receiver_id,
            content,
            reply_to_id,
            client_id: client_id.map(|id| id.as_str().to_owned()),
            client_digest,
            version,
            created_at,
            edited_at,
            deleted_at,
        });
        self.count.messages += 1;
        if self.pending.len() == ROWS_PER_INSERT {
            self.flush(conn)?;
        }
        Ok(())
    }

    /// That a message is in the order of the times: all lists are in the order of the ids. What an export has is not compared: servers
    /// give ids in the order of commits, and their clocks may have gone back. Nor are messages that were brought into the right order
    /// already, in which an answer may have an earlier time.
    fn check_order(&mut self, id: MessageId, at: Timestamp) -> Result<(), LineError> {
        if self.source.is_server() || self.renumbers {
            return Ok(());
        }
        let (before, after) = (self.times.range(..id).next_back(), self.times.range(id..).next());
        if before.is_some_and(|(_, before)| *before > at) || after.is_some_and(|(_, after)| *after < at) {
            return Err(invalid(
                "The times of the messages are in another order than their ids, or than their lines if they get new ids; with --renumber \
                 they get new ids in the order of their times.",
            ));
        }
        self.times.insert(id, at);
        Ok(())
    }

    /// Whether messages keep the ids of their lines.
    fn keeps_ids(&self) -> bool {
        self.is_empty && !self.renumbers
    }

    /// The highest id that a line may have.
    fn max_id(&self) -> i64 {
        if self.source.is_server() { MAX_EXPORTED_ID } else { MAX_ID }
    }

    /// A user of an earlier line.
    fn user(&self, id: i64, what: &str) -> Result<UserId, LineError> {
        let known = self.users.get(&id).copied();
        known.ok_or_else(|| invalid(format!("The {what} {id} is no user of an earlier line.")))
    }

    /// A message of an earlier line; `None` if an export of one user does not have it.
    fn message(&self, id: i64, conversation: ConversationId, what: &str) -> Result<Option<MessageId>, LineError> {
        let known = self.messages.get(&id).filter(|(_, its)| *its == conversation).map(|(id, _)| *id);
        if known.is_some() || self.source == Source::User {
            return Ok(known);
        }
        Err(invalid(format!("The {what} {id} is no message of an earlier line in this conversation.")))
    }

    /// The message of a mark; in an export of one user the last message before it.
    fn marked_message(&self, id: i64, conversation: ConversationId) -> Result<Option<MessageId>, LineError> {
        let earlier = || {
            let mut before = self.messages.range(..id).rev();
            before.find(|(_, (_, its))| *its == conversation).map(|(_, (new, _))| *new)
        };
        Ok(self.message(id, conversation, "messageId")?.or_else(earlier))
    }

    fn set_marks(&mut self, conn: &mut Conn<'_>, line: MarksLine) -> Result<(), LineError> {
        let (user, peer) = (self.user(line.user_id, "userId")?, self.user(line.peer_id, "peerId")?);
        let imported = ConversationId::between(user, peer).and_then(|its| self.conversations.get(&its));
        let Some(Activity { conversation, last, .. }) = imported.map(|imported| imported.activity) else {
            // Its messages may have been deleted, and the export of one user has only what is left.
            let missing = invalid("The two have no conversation in these lines.");
            return if self.source == Source::User { Ok(()) } else { Err(missing) };
        };
        if !self.marked.insert((user, peer)) {
            return Err(invalid("There are marks of the two in an earlier line."));
        }
        let mark = |mark: Option<MarkLine>| {
            mark.map(|mark| {
                let (message_id, at) = (self.marked_message(mark.message_id, conversation)?, valid(mark.at.parse())?);
                Ok::<_, LineError>(message_id.map(|message_id| Mark { message_id, at }))
            })
        };
        let (delivered, read) = (mark(line.delivered).transpose()?.flatten(), mark(line.read).transpose()?.flatten());
        // What was read has arrived.
        let delivered = read.into_iter().chain(delivered).max_by_key(|mark| mark.message_id);
        if let Some(mark) = delivered {
            store::members::set_delivered(conn, (user, peer), mark)?;
        }
        if let Some(mark) = read {
            let unread = store::messages::count_received(conn, conversation, user, (mark.message_id.key(), last))?;
            store::members::set_read(conn, (user, peer), mark, unread)?;
        }
        Ok(())
    }

    fn next_message_id(&mut self) -> Result<MessageId, LineError> {
        self.last_message_id += 1;
        MessageId::new(self.last_message_id).ok_or_else(|| invalid("There are no ids left."))
    }

    fn flush(&mut self, conn: &mut Conn<'_>) -> store::Result<()> {
        store::rows::insert_messages(conn, &self.pending)?;
        let live = self.pending.iter().filter(|message| message.deleted_at.is_none());
        let sent = live.filter_map(|message| {
            let conversation = ConversationId::between(message.sender_id, message.receiver_id)?;
            Some((message.id, conversation, message.content.as_str()))
        });
        store::words::insert_sent(conn, &sent.collect::<Vec<_>>())?;
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self, conn: &mut Conn<'_>) -> Result<Count, ImportError> {
        for (number, line) in in_order(mem::take(&mut self.postponed).into_values().collect()) {
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
        store::feed::note_all_trimmed(conn, self.reserved_through)?;
        let last = store::feed::last_id(conn)?;
        store::server::release_ids(conn, last)?;
        Ok(self.count)
    }
}
