//! Following a user's feed: the log is read, page by page, whenever somebody says that there is more of it. Catching up
//! and following live are the same thing.
//!
//! Positions have no holes. So a place in the log from which it does not go on with the next position is one that was
//! trimmed: the follower is told to load everything again, and goes on from now.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

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

/// Entries that are trimmed in one transaction.
const TRIM_BATCH: i64 = 500;
/// How often it is looked whether there are any.
const TRIM_INTERVAL: Duration = Duration::from_mins(10);
/// How many entries are read at once: what a follower has in memory.
const PAGE: i64 = 100;

/// Something that a follower of a feed learns.
#[derive(Clone)]
pub struct Event {
    /// Where the follower now is.
    pub cursor: Cursor,
    /// When it happened.
    pub at: Timestamp,
    /// What it is.
    pub news: News,
}

/// What a follower of a feed learns.
#[derive(Clone)]
pub enum News {
    /// Something happened to a message.
    Changed(Change),
    /// The follower has everything up to now.
    CaughtUp,
    /// The log does not go on from the follower's cursor: load everything again, and go on from this one.
    Reset,
}

/// What happened to a message.
#[derive(Clone)]
pub struct Change {
    /// Sent, updated, deleted, or reached by a mark.
    pub kind: Kind,
    /// Where.
    pub conversation: ConversationId,
    /// Which one.
    pub message_id: MessageId,
    /// As it is now; `None` once deleted.
    pub message: Option<Message>,
    /// Whose mark was moved, and who the other member is.
    pub marked: Option<(UserId, UserId)>,
}

/// Follows a user's feed: first what came after the cursor, if there is one, then an event that says that this was all,
/// then every change in commit order. With a conversation only the changes in it. Ends when the account is erased.
pub async fn follow(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    after: Option<Cursor>,
    conversation: Option<ConversationId>,
) -> Result<impl Stream<Item = Result<Event>> + use<>> {
    // Watch first, read then: what comes in between wakes.
    let watch = app.events.watch(user);
    let place = Place::of(app, user, after).await?;
    let follower = Follower {
        app: app.clone(),
        _viewer: viewer.clone(),
        user,
        conversation,
        watch,
        place,
        caught_up: false,
        waiting: VecDeque::new(),
    };
    Ok(stream::try_unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Ok(event.map(|event| (event, follower)))
    }))
}

/// Where a user's feed stands now.
pub async fn cursor(app: &App, _viewer: &Viewer, user: UserId) -> Result<Cursor> {
    let position = app.store.read(move |conn| store::users::feed_position(conn, user)).await?;
    Ok(Cursor { epoch: app.epoch().to_owned(), position: position.ok_or(Rejection::NoUser(user))? })
}

/// A part of a feed.
pub struct Events {
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there is more already.
    pub has_more: bool,
}

/// What came after a cursor: at most `limit` events, oldest first, or the one that says to begin anew.
pub async fn events(app: &App, _viewer: &Viewer, user: UserId, after: Cursor, limit: u16) -> Result<Events> {
    let place = Place::of(app, user, Some(after)).await?;
    let position = place.position;
    let read = move |conn: &mut store::Conn<'_>| next_page(conn, user, position, i64::from(limit) + 1);
    let found = if place.lost { NextPage::Lost(position) } else { app.store.read(read).await? };
    let cursor = |position| Cursor { epoch: app.epoch().to_owned(), position };
    let mut entries = match found {
        NextPage::Entries(entries) => entries,
        NextPage::Nothing => Vec::new(),
        NextPage::Lost(head) => {
            let reset = Event { cursor: cursor(head), at: app.now(), news: News::Reset };
            return Ok(Events { events: vec![reset], cursor: cursor(head), has_more: false });
        }
        NextPage::Erased => return Err(Rejection::NoUser(user).into()),
    };
    let has_more = entries.len() > usize::from(limit);
    entries.truncate(limit.into());
    let last = entries.last().map_or(position, |(entry, _)| entry.position);
    let events = entries.into_iter().filter_map(|entry| event(app, user, entry)).collect();
    Ok(Events { events, cursor: cursor(last), has_more })
}

/// Removes what is older than the retention from all feeds, in small batches that hold nobody up; gives how many entries
/// were found. A follower who has not read them is told to begin anew.
pub async fn trim(app: &App, retention: Duration) -> Result<usize> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp::from_milliseconds(app.now().milliseconds().saturating_sub(retention));
    let mut trimmed = 0;
    loop {
        let found = app.store.write(move |conn| trim_some(conn, before)).await?;
        if found == 0 {
            return Ok(trimmed);
        }
        trimmed += found;
    }
}

fn trim_some(conn: &mut store::Conn<'_>, before: Timestamp) -> Result<usize> {
    let old = store::feed::before(conn, before, TRIM_BATCH)?;
    let through: BTreeMap<UserId, i64> = old.iter().copied().fold(BTreeMap::new(), |mut through, (user, position)| {
        through.entry(user).and_modify(|last| *last = position.max(*last)).or_insert(position);
        through
    });
    for (user, through) in through {
        store::feed::trim(conn, user, through)?;
    }
    Ok(old.len())
}

/// Trims now and then, for ever.
pub async fn keep_trimmed(app: App, retention: Duration) {
    loop {
        if let Err(error) = trim(&app, retention).await {
            tracing::warn!(%error, "the feeds could not be trimmed");
        }
        tokio::time::sleep(TRIM_INTERVAL).await;
    }
}

/// Where in a feed a follower begins.
struct Place {
    position: i64,
    /// The cursor was not one of this log: it is of another database, or ahead of this one.
    lost: bool,
}

impl Place {
    async fn of(app: &App, user: UserId, after: Option<Cursor>) -> Result<Self> {
        let head = app.store.read(move |conn| store::users::feed_position(conn, user)).await?;
        let head = head.ok_or(Rejection::NoUser(user))?;
        Ok(match after {
            None => Self { position: head, lost: false },
            Some(cursor) if cursor.epoch == app.epoch() && cursor.position <= head => {
                Self { position: cursor.position, lost: false }
            }
            Some(_) => Self { position: head, lost: true },
        })
    }
}

struct Follower {
    app: App,
    _viewer: Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
    watch: Watch,
    place: Place,
    caught_up: bool,
    waiting: VecDeque<EntryWithMessage>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if std::mem::take(&mut self.place.lost) {
                return Ok(Some(self.tell(News::Reset)));
            }
            while let Some(entry) = self.waiting.pop_front() {
                self.place.position = entry.0.position;
                let event = event(&self.app, self.user, entry);
                if let Some(event) = event.filter(|event| self.wants(event)) {
                    return Ok(Some(event));
                }
            }
            let (user, position) = (self.user, self.place.position);
            match self.app.store.read(move |conn| next_page(conn, user, position, PAGE)).await? {
                NextPage::Entries(entries) => self.waiting.extend(entries),
                NextPage::Lost(position) => self.place = Place { position, lost: true },
                NextPage::Nothing if !self.caught_up => {
                    self.caught_up = true;
                    return Ok(Some(self.tell(News::CaughtUp)));
                }
                NextPage::Nothing => self.watch.changed().await,
                NextPage::Erased => return Ok(None),
            }
        }
    }

    fn tell(&self, news: News) -> Event {
        let cursor = Cursor { epoch: self.app.epoch().to_owned(), position: self.place.position };
        Event { cursor, at: self.app.now(), news }
    }

    fn wants(&self, event: &Event) -> bool {
        let News::Changed(change) = &event.news else { return true };
        self.conversation.is_none_or(|wanted| wanted == change.conversation)
    }
}

fn event(app: &App, user: UserId, (entry, message): EntryWithMessage) -> Option<Event> {
    let conversation = ConversationId::between(user, entry.peer_id)?;
    let kind = Kind::from_code(entry.kind)?;
    let marked = match kind {
        Kind::OwnMark => Some((user, entry.peer_id)),
        Kind::PeerMark => Some((entry.peer_id, user)),
        Kind::Sent | Kind::Updated | Kind::Deleted => None,
    };
    let change = Change { kind, conversation, message_id: entry.message_id, message, marked };
    let cursor = Cursor { epoch: app.epoch().to_owned(), position: entry.position };
    Some(Event { cursor, at: entry.at, news: News::Changed(change) })
}

/// An entry, and its message as it is now.
type EntryWithMessage = (Entry, Option<Message>);

/// How the log goes on.
enum NextPage {
    /// With these; there is at least one.
    Entries(Vec<EntryWithMessage>),
    /// Not yet.
    Nothing,
    /// Not from here; it ends at this position.
    Lost(i64),
    /// Not at all.
    Erased,
}

fn next_page(conn: &mut store::Conn<'_>, user: UserId, position: i64, limit: i64) -> store::Result<NextPage> {
    let mut entries = store::feed::after(conn, user, position, limit)?;
    if entries.is_empty() {
        let Some(head) = store::users::feed_position(conn, user)? else { return Ok(NextPage::Erased) };
        if head == position {
            return Ok(NextPage::Nothing);
        }
        // It grew since, or its end was trimmed.
        entries = store::feed::after(conn, user, position, limit)?;
        if entries.is_empty() {
            return Ok(NextPage::Lost(head));
        }
    }
    if entries.first().is_some_and(|entry| entry.position != position + 1) {
        let head = store::users::feed_position(conn, user)?;
        return Ok(head.map_or(NextPage::Erased, NextPage::Lost));
    }
    let ids: Vec<MessageId> = entries.iter().map(|entry| entry.message_id).collect();
    let messages: HashMap<MessageId, Message> =
        store::messages::by_ids(conn, &ids)?.into_iter().map(|message| (message.id, message)).collect();
    let with_message = |entry: Entry| {
        let message = messages.get(&entry.message_id).cloned();
        (entry, message)
    };
    Ok(NextPage::Entries(entries.into_iter().map(with_message).collect()))
}
