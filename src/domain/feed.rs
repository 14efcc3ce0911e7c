//! Following a user's feed: the log is read, page by page, whenever somebody says that there is more of it.

use std::collections::{HashMap, VecDeque};

use futures_util::{Stream, stream};

use super::{Rejection, Result, Viewer};
use crate::{
    app::App,
    events::Watch,
    model::{
        feed::{Cursor, Entry, Kind},
        ids::{ConversationId, MessageId, UserId},
        messages::Message,
        timestamps::Timestamp,
    },
    store,
};

/// How many entries are read at once: what a follower has in memory.
const PAGE: i64 = 100;

/// Something that a follower of a feed learns.
#[derive(Clone)]
pub struct Event {
    /// Where the follower now is.
    pub cursor: Cursor,
    /// When it happened.
    pub at: Timestamp,
    /// What happened to a message; `None`: the follower has everything up to now.
    pub change: Option<Change>,
}

/// What happened to a message.
#[derive(Clone)]
pub struct Change {
    /// Sent, updated or deleted.
    pub kind: Kind,
    /// Where.
    pub conversation: ConversationId,
    /// Which one.
    pub message_id: MessageId,
    /// As it is now; `None` once deleted.
    pub message: Option<Message>,
}

/// Follows a user's feed from now on: first an event that says so, then every change in commit order. With a
/// conversation only the changes in it. Ends when the account is erased.
pub async fn follow(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
) -> Result<impl Stream<Item = Result<Event>> + use<>> {
    // Watch first, read then: what comes in between wakes.
    let watch = app.events.watch(user);
    let position = app.store.read(move |conn| store::users::feed_position(conn, user)).await?;
    let position = position.ok_or(Rejection::NoUser(user))?;
    let follower = Follower {
        app: app.clone(),
        _viewer: viewer.clone(),
        user,
        conversation,
        watch,
        position,
        waiting: VecDeque::new(),
    };
    let caught_up = Event { cursor: follower.cursor(), at: app.now(), change: None };
    let events = stream::try_unfold((follower, Some(caught_up)), |(mut follower, first)| async move {
        let event = match first {
            Some(event) => Some(event),
            None => follower.next().await?,
        };
        Ok(event.map(|event| (event, (follower, None))))
    });
    Ok(events)
}

/// An entry, and its message as it is now.
type EntryWithMessage = (Entry, Option<Message>);

struct Follower {
    app: App,
    _viewer: Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
    watch: Watch,
    position: i64,
    waiting: VecDeque<EntryWithMessage>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some((entry, message)) = self.waiting.pop_front() {
                self.position = entry.position;
                if let Some(event) = self.event(&entry, message) {
                    return Ok(Some(event));
                }
            }
            let (user, position) = (self.user, self.position);
            let page = self.app.store.read(move |conn| page_after(conn, user, position)).await?;
            let Some(page) = page else { return Ok(None) };
            if page.is_empty() {
                self.watch.changed().await;
            }
            self.waiting.extend(page);
        }
    }

    fn event(&self, entry: &Entry, message: Option<Message>) -> Option<Event> {
        let conversation = ConversationId::between(self.user, entry.peer_id)?;
        if self.conversation.is_some_and(|wanted| wanted != conversation) {
            return None;
        }
        let kind = Kind::from_code(entry.kind)?;
        let change = Change { kind, conversation, message_id: entry.message_id, message };
        Some(Event { cursor: self.cursor(), at: entry.at, change: Some(change) })
    }

    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.app.epoch().to_owned(), position: self.position }
    }
}

/// The next entries with their messages as they are now; `None` if the account was erased.
fn page_after(conn: &mut store::Conn<'_>, user: UserId, position: i64) -> store::Result<Option<Vec<EntryWithMessage>>> {
    let entries = store::feed::after(conn, user, position, PAGE)?;
    if entries.is_empty() {
        return Ok(store::users::feed_position(conn, user)?.map(|_| Vec::new()));
    }
    let ids: Vec<MessageId> = entries.iter().map(|entry| entry.message_id).collect();
    let messages: HashMap<MessageId, Message> =
        store::messages::by_ids(conn, &ids)?.into_iter().map(|message| (message.id, message)).collect();
    let with_message = |entry: Entry| {
        let message = messages.get(&entry.message_id).cloned();
        (entry, message)
    };
    Ok(Some(entries.into_iter().map(with_message).collect()))
}
