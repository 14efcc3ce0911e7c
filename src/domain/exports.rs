//! Exports: everything, or all that is known of one user, in lines that [`imports`](super::imports) reads.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{self, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};

pub use super::lines::{ExportLine, Line};
use super::{
    Conn, Error, Rejection, Result, Snapshot, TextBudget, Viewer, audit,
    lines::{BlockLine, Count, FORMAT, IdentityLine, MarkLine, MarksLine, MessageLine, SessionLine, UserLine},
    policy, snapshot,
};
use crate::{
    app::App,
    model::{
        conversations::{Mark, Member, Reach},
        ids::{MessageId, UserId},
        messages::{List, Message},
        pages::{End, PageRequest},
        timestamps::Timestamp,
        users::Role,
    },
    store::{
        self,
        rows::{MessageRow, UserRow},
    },
};

/// Rows that are read at once: of the longest texts they have 20 MB.
const ROWS_PER_READ: u16 = 500;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// A line cannot be written.
    #[error("a line cannot be written")]
    Unwritten(#[from] io::Error),
}

impl From<store::Error> for ExportError {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The highest id of a message, or a higher one: so far an export has to go.
pub async fn last_id(app: &App, viewer: &Viewer) -> Result<i64> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(store::feed::last_id).await?)
}

/// Writes the lines of an export, as everything is at one moment: of one user, or of all if none is given. `progress` is called for each
/// line.
///
/// Everything is all users with the hashes of their passwords, all messages, marks and blocks; but no sessions, service tokens and
/// events, and nothing that is about to be deleted. Of one user it is the account, its sessions and blocks, the messages sent and
/// received that were not deleted, and the marks in these conversations; of others their ids, names and when they were created.
pub async fn export(
    app: &App,
    viewer: &Viewer,
    of: Option<UserId>,
    output: impl Write + Send + 'static,
    progress: impl FnMut(&Line) + Send + 'static,
) -> Result<Count, ExportError> {
    policy::require_operator(viewer)?;
    let (actor, at) = (viewer.clone(), app.now());
    let record = move |conn: &mut Conn<'_>| {
        if let Some(user) = of
            && store::rows::users_of(conn, &[user])?.is_empty()
        {
            return Err(Error::from(Rejection::NoUser(user)));
        }
        Ok(audit::record(conn, &actor, at, "export", (of, None))?)
    };
    app.store.write(record).await?;
    let read = move |conn: &mut Conn<'_>| {
        store::allow_pauses(conn)?;
        let mut export = Export { output, progress, count: Count::default() };
        let last_id = of.is_none().then(|| store::feed::last_id(conn)).transpose()?;
        export.line(&Line::Export(ExportLine { format: FORMAT, user_id: of.map(UserId::key), last_id }))?;
        match of {
            Some(user) => export.person(conn, user)?,
            None => export.everything(conn)?,
        }
        export.output.flush()?;
        Ok(export.count)
    };
    snapshot(app, viewer, Snapshot { one_snapshot: true, light: false }, read).await?
}

struct Export<W, P> {
    output: W,
    progress: P,
    count: Count,
}

impl<W: Write, P: FnMut(&Line)> Export<W, P> {
    fn line(&mut self, line: &Line) -> Result<(), ExportError> {
        match line {
            Line::User(_) => self.count.users += 1,
            Line::Message(_) => self.count.messages += 1,
            Line::Export(_) | Line::Marks(_) | Line::Block(_) | Line::Session(_) => {}
        }
        (self.progress)(line);
        serde_json::to_writer(&mut self.output, line).map_err(io::Error::from)?;
        Ok(self.output.write_all(b"\n")?)
    }

    fn everything(&mut self, conn: &mut Conn<'_>) -> Result<(), ExportError> {
        self.users(conn)?;
        self.messages(conn)?;
        self.marks(conn)?;
        self.blocks(conn)
    }

    fn users(&mut self, conn: &mut Conn<'_>) -> Result<(), ExportError> {
        let mut after = 0;
        loop {
            let rows = store::rows::users_after(conn, after, ROWS_PER_READ.into())?;
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
            after = last.id.key();
            let mut identities = identities(conn, first.id, last.id)?;
            for row in rows {
                let identities = identities.remove(&row.id).unwrap_or_default();
                self.line(&Line::User(user_line(row, identities)))?;
            }
        }
    }

    fn messages(&mut self, conn: &mut Conn<'_>) -> Result<(), ExportError> {
        let erasures: HashMap<UserId, Timestamp> = store::changes::unfinished_erasures(conn)?.into_iter().collect();
        let hidden: HashSet<UserId> = store::changes::erasing(conn)?.into_iter().collect();
        let (kept_from, retention) = (store::server::messages_from(conn)?, store::server::message_retention(conn)?);
        let mut after = 0;
        loop {
            let rows = store::rows::messages_after(conn, after, ROWS_PER_READ.into())?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id.key();
            for mut row in rows {
                // As it will be when what is hidden was deleted.
                let erased_at = erasures.get(&row.sender_id).copied();
                let expired_at = retention.filter(|_| row.created_at < kept_from).map(|it| row.created_at.later(it));
                if erased_at.or(expired_at).is_some() {
                    (row.client_id, row.client_digest) = (None, None);
                }
                let hidden_at = erased_at.filter(|_| hidden.contains(&row.sender_id)).or(expired_at);
                if let (None, Some(_)) = (row.deleted_at, hidden_at) {
                    (row.content, row.deleted_at) = (String::new(), hidden_at);
                }
                self.line(&Line::Message(message_line(row)))?;
            }
        }
    }

    fn marks(&mut self, conn: &mut Conn<'_>) -> Result<(), ExportError> {
        let mut after = (0, 0);
        loop {
            let rows = store::members::after(conn, after, ROWS_PER_READ.into())?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.user_id.key(), last.peer_id.key());
            rows.iter().filter_map(marks_line).try_for_each(|line| self.line(&line))?;
        }
    }

    fn blocks(&mut self, conn: &mut Conn<'_>) -> Result<(), ExportError> {
        let mut after = (0, 0);
        loop {
            let rows = store::blocks::after(conn, after, ROWS_PER_READ.into())?;
            let Some((user, blocked, _)) = rows.last() else { return Ok(()) };
            after = (user.key(), blocked.key());
            rows.into_iter().try_for_each(|row| self.line(&block_line(row)))?;
        }
    }

    fn person(&mut self, conn: &mut Conn<'_>, user: UserId) -> Result<(), ExportError> {
        let peers = store::members::peers_of(conn, user)?;
        let blocks = store::blocks::made_by(conn, user)?;
        let concerned: BTreeSet<UserId> =
            peers.iter().copied().chain(blocks.iter().map(|(_, blocked, _)| *blocked)).chain([user]).collect();
        let concerned: Vec<UserId> = concerned.into_iter().collect();
        for ids in concerned.chunks(ROWS_PER_READ.into()) {
            for mut row in store::rows::users_of(conn, ids)? {
                row.password_hash = None;
                let is_peer = row.id != user;
                if is_peer {
                    (row.email, row.role, row.suspended_at) = (None, Role::User.code(), None);
                }
                let identities = if is_peer { None } else { identities(conn, user, user)?.remove(&user) };
                self.line(&Line::User(user_line(row, identities.unwrap_or_default())))?;
            }
        }
        self.messages_of(conn, user)?;
        for peers in peers.chunks(ROWS_PER_READ.into()) {
            let keys: Vec<_> = peers.iter().flat_map(|peer| [(user, *peer), (*peer, user)]).collect();
            let mut rows = store::members::by_keys(conn, &keys)?;
            rows.sort_unstable_by_key(|row| (row.user_id, row.peer_id));
            rows.dedup_by_key(|row| (row.user_id, row.peer_id));
            rows.iter().filter_map(marks_line).try_for_each(|line| self.line(&line))?;
        }
        blocks.into_iter().try_for_each(|row| self.line(&block_line(row)))?;
        for (session, ended_at) in store::sessions::all_of(conn, user)? {
            self.line(&Line::Session(SessionLine {
                id: session.id.key(),
                user_id: user.key(),
                device: session.device,
                created_at: session.created_at.to_string(),
                last_used_at: session.last_used_at.to_string(),
                ended_at: ended_at.map(|at| at.to_string()),
            }))?;
        }
        Ok(())
    }

    fn messages_of(&mut self, conn: &mut Conn<'_>, user: UserId) -> Result<(), ExportError> {
        let is_erased = !store::users::exists(conn, user)?;
        let mut request = PageRequest { after: None, before: None, limit: ROWS_PER_READ, end: End::First };
        loop {
            // As many as a page has always have room.
            let pages = store::messages::pages(conn, &[(List::Of(user), request)], &mut TextBudget::new(usize::MAX))?;
            let messages = pages.into_iter().flat_map(|page| page.items);
            let mut last = None;
            for message in messages {
                last = Some(message.id.key());
                let mut line = message_line(row_of(message));
                if line.sender_id != user.key() || is_erased {
                    line.client_id = None;
                }
                self.line(&Line::Message(line))?;
            }
            if last.is_none() {
                return Ok(());
            }
            request.after = last;
        }
    }
}

/// What issuers call users, from one through another.
fn identities(conn: &mut Conn<'_>, from: UserId, through: UserId) -> Result<HashMap<UserId, Vec<IdentityLine>>> {
    let mut found: HashMap<UserId, Vec<IdentityLine>> = HashMap::new();
    for (user, issuer, subject) in store::identities::of_users(conn, from, through)? {
        found.entry(user).or_default().push(IdentityLine { issuer, subject });
    }
    // The databases do not sort texts alike.
    for identities in found.values_mut() {
        identities.sort_unstable();
    }
    Ok(found)
}

fn user_line(row: UserRow, identities: Vec<IdentityLine>) -> UserLine {
    UserLine {
        id: row.id.key(),
        name: row.name,
        email: row.email,
        created_at: row.created_at.to_string(),
        erased_at: row.erased_at.map(|at| at.to_string()),
        password_hash: row.password_hash,
        admin: Role::from_code(row.role) == Role::Admin,
        suspended_at: row.suspended_at.map(|at| at.to_string()),
        identities,
    }
}

fn row_of(message: Message) -> MessageRow {
    MessageRow {
        id: message.id,
        sender_id: message.sender_id,
        receiver_id: message.receiver_id,
        content: message.content,
        reply_to_id: message.reply_to_id,
        client_id: message.client_id,
        client_digest: None,
        version: message.version,
        created_at: message.created_at,
        edited_at: message.edited_at,
        deleted_at: None,
    }
}

fn message_line(row: MessageRow) -> MessageLine {
    MessageLine {
        id: row.id.key(),
        sender_id: row.sender_id.key(),
        receiver_id: row.receiver_id.key(),
        content: row.content,
        created_at: row.created_at.to_string(),
        reply_to_id: row.reply_to_id.map(MessageId::key),
        client_id: row.client_id,
        // Without it an import takes an edited message for one that was edited once.
        version: (row.version != 1 || row.edited_at.is_some()).then_some(row.version),
        edited_at: row.edited_at.map(|at| at.to_string()),
        send_digest: row.client_digest.map(|digest| STANDARD.encode(digest)),
        deleted_at: row.deleted_at.map(|at| at.to_string()),
    }
}

fn marks_line(member: &Member) -> Option<Line> {
    let line = |mark: Mark| MarkLine { message_id: mark.message_id.key(), at: mark.at.to_string() };
    let [delivered, read] = [Reach::Delivered, Reach::Read].map(|reach| member.mark(reach).map(line));
    let (user_id, peer_id) = (member.user_id.key(), member.peer_id.key());
    (delivered.is_some() || read.is_some()).then_some(Line::Marks(MarksLine { user_id, peer_id, delivered, read }))
}

fn block_line((user, blocked, created_at): (UserId, UserId, Timestamp)) -> Line {
    Line::Block(BlockLine { user_id: user.key(), blocked_id: blocked.key(), created_at: created_at.to_string() })
}
