//! Following a user's feed: it is read page by page, again after each notification. Catching up and following live are the
//! same code.
//!
//! Positions have no gaps. So if a cursor is not followed by the next position, the entries after it were trimmed: the
//! follower gets a reset, must reload everything, and continues from the end of the feed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Rejection, Result, Viewer, policy, signals::PresenceGuard};
use crate::{
    app::App,
    events::Watch,
    model::{
        feed::{Change, Cursor, Entry, Event, EventBody, FeedPage, Kind, Next},
        ids::{ConversationId, MessageId, UserId},
        messages::Message,
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// Entries deleted in one transaction.
const TRIM_BATCH: i64 = 500;
/// How often the retention job runs.
const TRIM_INTERVAL: Duration = Duration::from_mins(10);
/// Entries in one read, which bounds what a follower holds in memory.
const PAGE_SIZE: usize = 100;

/// Follows a user's feed: first the events after the cursor, if there is one, then [`EventBody::CaughtUp`], then every
/// change in commit order. With a conversation only the changes in it. Ends when the account is erased.
pub async fn follow(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    after: Option<Cursor>,
    conversation: Option<ConversationId>,
) -> Result<Follower> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_OWN_FEED)?;
    if conversation.is_some_and(|id| id.peer_of(user).is_none()) {
        return Err(Rejection::NoConversation.into());
    }
    // Watch before reading, so that a change in between is notified.
    let watch = app.notifier.watch(user);
    let epoch = app.epoch().clone();
    let read_position = app.store.read(move |conn| ReadPosition::of(conn, &epoch, user, after.as_ref())).await?;
    Ok(Follower {
        app: app.clone(),
        user,
        conversation,
        watch,
        _presence: PresenceGuard::acquire(app, viewer, user),
        read_position,
        queued: VecDeque::new(),
        at_end: false,
        caught_up: false,
    })
}

/// The cursor of the end of a user's feed.
pub fn cursor(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, user: UserId) -> Result<Cursor> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_OWN_FEED)?;
    let position = store::users::feed_position(conn, user)?;
    Ok(Cursor { epoch: app.epoch().clone(), position: position.ok_or(Rejection::NoUser(user))? })
}

/// A page of a feed, for a query.
pub struct Events {
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
    /// Where to continue.
    pub cursor: Cursor,
    /// Whether there are more events now.
    pub has_more: bool,
}

/// The events after a cursor: at most `limit`, oldest first, or a single [`EventBody::Reset`].
pub fn events(
    conn: &mut Conn<'_>,
    app: &App,
    viewer: &Viewer,
    user: UserId,
    after: &Cursor,
    limit: u16,
) -> Result<Events> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_OWN_FEED)?;
    let read_position = ReadPosition::of(conn, app.epoch(), user, Some(after))?;
    let position = read_position.position;
    // One more, to know whether there are more.
    let limit_and_one = usize::from(limit) + 1;
    let found =
        if read_position.lost { Next::Lost(position) } else { next(conn, app.epoch(), user, position, limit_and_one)? };
    let cursor = |position| Cursor { epoch: app.epoch().clone(), position };
    match found {
        Next::Page(FeedPage { mut events, through, .. }) => {
            let has_more = events.len() > usize::from(limit);
            events.truncate(limit.into());
            let last = if has_more { events.last().map_or(position, |event| event.cursor.position) } else { through };
            Ok(Events { events, cursor: cursor(last), has_more })
        }
        Next::Lost(head) => {
            let reset = Event { cursor: cursor(head), at: app.now(), body: EventBody::Reset };
            Ok(Events { events: vec![Arc::new(reset)], cursor: cursor(head), has_more: false })
        }
        Next::Erased => Err(Rejection::NoUser(user).into()),
    }
}

/// Deletes the entries that are older than the retention from all feeds, in small batches that do not block other
/// writers for long; gives their number. A follower that has not read them gets a reset.
pub async fn trim(app: &App, retention: Duration) -> Result<usize> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp::from_milliseconds(app.now().milliseconds().saturating_sub(retention));
    let mut trimmed = 0;
    loop {
        let found = app.store.write(move |conn| trim_batch(conn, before)).await?;
        if found == 0 {
            return Ok(trimmed);
        }
        trimmed += found;
    }
}

fn trim_batch(conn: &mut Conn<'_>, before: Timestamp) -> Result<usize> {
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

/// Runs [`trim`] periodically; never returns.
pub async fn run_retention_job(app: App, retention: Duration) {
    loop {
        if let Err(error) = trim(&app, retention).await {
            tracing::warn!(%error, "the feeds could not be trimmed");
        }
        tokio::time::sleep(TRIM_INTERVAL).await;
    }
}

/// Where a follower is in a feed.
struct ReadPosition {
    position: i64,
    /// The cursor cannot be resumed: it is of another database, ahead of this one, or trimmed.
    lost: bool,
}

impl ReadPosition {
    fn of(conn: &mut Conn<'_>, epoch: &Arc<str>, user: UserId, after: Option<&Cursor>) -> Result<Self> {
        let head = store::users::feed_position(conn, user)?.ok_or(Rejection::NoUser(user))?;
        Ok(match after {
            None => Self { position: head, lost: false },
            Some(cursor) if cursor.epoch == *epoch && cursor.position <= head => {
                Self { position: cursor.position, lost: false }
            }
            Some(_) => Self { position: head, lost: true },
        })
    }
}

/// A follower of a user's feed.
pub struct Follower {
    app: App,
    user: UserId,
    conversation: Option<ConversationId>,
    watch: Watch,
    _presence: Option<PresenceGuard>,
    read_position: ReadPosition,
    /// Events that were read and not yet taken.
    queued: VecDeque<Arc<Event>>,
    /// Whether the last read reached the end of the feed.
    at_end: bool,
    caught_up: bool,
}

impl Follower {
    /// The events that were read, oldest first, after dropping the first `taken` of those that it gave before; waits for the
    /// next ones if there are none. `None` when the feed ends.
    pub async fn next(&mut self, taken: usize) -> Result<Option<Vec<Arc<Event>>>> {
        self.advance(taken);
        loop {
            if std::mem::take(&mut self.read_position.lost) {
                return Ok(Some(vec![self.own_event(EventBody::Reset)]));
            }
            if !self.is_current() {
                self.queued.clear();
                self.at_end = false;
            }
            self.advance(0);
            if !self.queued.is_empty() {
                return Ok(Some(self.queued.iter().filter(|event| self.matches(event)).cloned().collect()));
            }
            if std::mem::take(&mut self.at_end) && self.watch.is_idle() {
                if !self.caught_up {
                    (self.caught_up, self.at_end) = (true, true);
                    return Ok(Some(vec![self.own_event(EventBody::CaughtUp)]));
                }
                self.watch.changed().await;
            }
            // Boxed to keep the future of a waiting follower small.
            if !Box::pin(self.read_on()).await? {
                return Ok(None);
            }
        }
    }

    /// Moves past `taken` matching events, and past those that follow and do not match.
    fn advance(&mut self, mut taken: usize) {
        while let Some(event) = self.queued.front() {
            if self.matches(event) {
                if taken == 0 {
                    return;
                }
                taken -= 1;
            }
            self.read_position.position = event.cursor.position;
            self.queued.pop_front();
        }
    }

    /// Whether the last events were not invalidated since they were read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.watch.is_fresh()
    }

    /// Reads the next page; false when the feed ends.
    async fn read_on(&mut self) -> Result<bool> {
        let (app, user) = (self.app.clone(), self.user);
        let read = move |after| {
            let (store, epoch) = (app.store.clone(), app.epoch().clone());
            async move { store.read(move |conn| next(conn, &epoch, user, after, PAGE_SIZE)).await }
        };
        match self.watch.next(self.read_position.position, PAGE_SIZE, read).await? {
            Next::Page(FeedPage { events, through, is_last }) => {
                // Entries after the last event are of kinds that only later versions know.
                self.read_position.position = if events.is_empty() { through } else { self.read_position.position };
                (self.queued, self.at_end) = (events.into(), is_last);
            }
            Next::Lost(position) => self.read_position = ReadPosition { position, lost: true },
            Next::Erased => return Ok(false),
        }
        Ok(true)
    }

    fn own_event(&self, body: EventBody) -> Arc<Event> {
        let cursor = Cursor { epoch: self.app.epoch().clone(), position: self.read_position.position };
        Arc::new(Event { cursor, at: self.app.now(), body })
    }

    fn matches(&self, event: &Event) -> bool {
        let EventBody::Changed(change) = &event.body else { return true };
        // An event without a conversation concerns all of them.
        self.conversation.zip(change.conversation).is_none_or(|(wanted, its)| wanted == its)
    }
}

/// How a user's feed continues after a position: at most `limit` entries, with the current state of their messages.
fn next(conn: &mut Conn<'_>, epoch: &Arc<str>, user: UserId, after: i64, limit: usize) -> store::Result<Next> {
    let max = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut entries = store::feed::after(conn, user, after, max)?;
    if entries.is_empty() {
        let Some(head) = store::users::feed_position(conn, user)? else { return Ok(Next::Erased) };
        if head == after {
            return Ok(Next::Page(FeedPage { events: Vec::new(), through: after, is_last: true }));
        }
        // It has grown since, or its tail was trimmed.
        entries = store::feed::after(conn, user, after, max)?;
        if entries.is_empty() {
            return Ok(Next::Lost(head));
        }
    }
    if entries.first().is_some_and(|entry| entry.position != after + 1) {
        let head = store::users::feed_position(conn, user)?;
        return Ok(head.map_or(Next::Erased, Next::Lost));
    }
    let ids: Vec<MessageId> = entries.iter().filter_map(Entry::message_id).collect();
    let mut messages: HashMap<MessageId, Message> = HashMap::new();
    if !ids.is_empty() {
        messages.extend(store::messages::by_ids(conn, &ids)?.into_iter().map(|message| (message.id, message)));
    }
    let through = entries.last().map_or(after, |entry| entry.position);
    // When an account is erased with its messages, their deletions are its last entries, and no notification follows for
    // the end of the feed. So it is checked here.
    let was_deletion = entries.last().is_some_and(|entry| Kind::from_code(entry.kind) == Some(Kind::Deleted));
    let is_erased = was_deletion && store::users::feed_position(conn, user)?.is_none();
    let is_last = entries.len() < limit && !is_erased;
    let to_event = |entry: &Entry| {
        let message = entry.message_id().and_then(|id| messages.get(&id).cloned());
        event(epoch, user, entry, message).map(Arc::new)
    };
    Ok(Next::Page(FeedPage { events: entries.iter().filter_map(to_event).collect(), through, is_last }))
}

/// The event of an entry; `None` for a kind of a later version.
fn event(epoch: &Arc<str>, user: UserId, entry: &Entry, message: Option<Message>) -> Option<Event> {
    let kind = Kind::from_code(entry.kind)?;
    let concerned = match kind {
        Kind::OwnMark => Some(user),
        Kind::PeerMark | Kind::UserChanged => Some(entry.peer_id),
        Kind::Sent | Kind::Updated | Kind::Deleted => None,
    };
    let conversation = ConversationId::between(user, entry.peer_id);
    let change = Change { kind, conversation, message_id: entry.message_id(), message, user: concerned };
    let cursor = Cursor { epoch: epoch.clone(), position: entry.position };
    Some(Event { cursor, at: entry.at, body: EventBody::Changed(change) })
}
