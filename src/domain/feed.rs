//! Following a user's feed: it is read page by page, again after each notification. Catching up and following live are the
//! same code.
//!
//! Events older than the retention are trimmed. A follower whose cursor is before the last event that was trimmed from its feed
//! has missed it: it gets a reset, must reload everything, and continues from the end of the feed.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use super::{Rejection, Result, Viewer, policy, presences::PresenceGuard, steps::step};
use crate::{
    app::App,
    events::{Resource, Watch},
    model::{
        feed::{Change, Cursor, Entry, Event, EventBody, EventKind, FeedPage},
        ids::{ConversationId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn, feed::FeedSlice},
};

/// Events deleted in one transaction: more would hold others up for longer than some milliseconds.
const TRIM_BATCH: i64 = 100;
/// Entries in one read, which bounds what a follower holds in memory.
const PAGE_SIZE: usize = 100;
/// Entries in one read of a follower that has caught up, who rarely has more than one to read. Many of them are read together.
const LIVE_PAGE_SIZE: usize = 10;

/// Follows a user's feed: first the events after the cursor, if there is one, then [`EventBody::CaughtUp`], then every
/// change in commit order. With a conversation only the changes in it. Ends when the account is erased.
pub async fn follow(
    app: &Arc<App>,
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
    let epoch = app.epoch();
    let known = epoch.clone();
    let telling = app.clone();
    let replayed = after.is_some().then_some(0);
    let position = move |conn: &mut Conn<'_>| ReadPosition::of(conn, &telling, &known, user, after.as_ref());
    let read_position = app.store.read(position).await?;
    Ok(Follower {
        app: app.clone(),
        epoch,
        user,
        limited: viewer.limited_user(),
        conversation,
        watch,
        _presence: PresenceGuard::acquire(app, viewer, user),
        read_position,
        queued: VecDeque::new(),
        at_end: false,
        caught_up: false,
        has_waited: false,
        replayed,
    })
}

/// The cursor of the end of a user's feed.
pub fn cursor(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, user: UserId) -> Result<Cursor> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_OWN_FEED)?;
    let position = head(conn, app, user)?.ok_or(Rejection::NoUser(user))?;
    Ok(Cursor { epoch: app.epoch(), user: Some(user), position })
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
    let epoch = app.epoch();
    let read_position = ReadPosition::of(conn, app, &epoch, user, Some(after))?;
    let position = read_position.position;
    // One more, to know whether there are more.
    let limit_and_one = usize::from(limit) + 1;
    let slice = store::feed::after(conn, user, position, limit_and_one)?;
    let page = slice.and_then(|slice| page(slice, &epoch, user, position)).ok_or(Rejection::NoUser(user))?;
    let cursor = |position| Cursor { epoch: epoch.clone(), user: Some(user), position };
    if read_position.lost || position < page.trimmed_through {
        let head = cursor(head(conn, app, user)?.ok_or(Rejection::NoUser(user))?);
        let reset = Event { cursor: head.clone(), at: app.now(), body: EventBody::Reset };
        return Ok(Events { events: vec![Arc::new(reset)], cursor: head, has_more: false });
    }
    record_delivered(app, &page);
    let FeedPage { mut events, through, is_last, .. } = page;
    let is_cut = events.len() > usize::from(limit);
    events.truncate(limit.into());
    let last = if is_cut { events.last().map_or(position, |event| event.cursor.position) } else { through };
    Ok(Events { events, cursor: cursor(last), has_more: is_cut || !is_last })
}

/// Deletes the events that are older than the retention from all feeds, in small batches that do not block other writers
/// for long; gives their number. A follower that has not read them gets a reset.
pub async fn trim(app: &App, retention: Duration) -> Result<usize> {
    let now = app.now();
    let before = now.earlier(retention);
    // What has a time to come was written while a clock was ahead: it is older than what comes after it.
    let first = step(app.store.read(move |conn| store::feed::first_event_until(conn, now))).await?;
    let outdated = first.flatten().filter(|(_, at)| *at < before).map_or(0, |(id, _)| id);
    let (mut trimmed, mut after) = (0, 0);
    loop {
        match step(app.store.write(move |conn| trim_batch(conn, after, before, outdated))).await? {
            Some(Some((count, through))) => (trimmed, after) = (trimmed + count, through),
            Some(None) => return Ok(trimmed),
            // The database was busy.
            None => {}
        }
    }
}

/// Deletes the oldest events after a position, up to the last one that is from before this time or has at most the id `outdated`. Gives how
/// many they were, and the position of the last one; `None` if there were none.
fn trim_batch(conn: &mut Conn<'_>, after: i64, before: Timestamp, outdated: i64) -> Result<Option<(usize, i64)>> {
    let oldest = store::feed::oldest(conn, after, TRIM_BATCH)?;
    // Not in the order of time, if a clock was wrong.
    let is_old = |(id, at): &(i64, Timestamp)| *at < before || *id <= outdated;
    let Some(last) = oldest.iter().rposition(is_old) else { return Ok(None) };
    let Some((through, _)) = oldest.get(last) else { return Ok(None) };
    store::feed::trim(conn, after, *through)?;
    Ok(Some((last + 1, *through)))
}

/// Where a follower is in a feed.
struct ReadPosition {
    position: i64,
    /// The cursor cannot be resumed: it is of another database, ahead of this one, or from before what was trimmed.
    lost: bool,
}

impl ReadPosition {
    fn of(conn: &mut Conn<'_>, app: &App, epoch: &Arc<str>, user: UserId, after: Option<&Cursor>) -> Result<Self> {
        // In another epoch the same id may be somebody else.
        let of_here = after.filter(|cursor| cursor.epoch == *epoch);
        if of_here.and_then(|cursor| cursor.user).is_some_and(|its| its != user) {
            return Err(Rejection::NotCursorOf(user).into());
        }
        let head = head(conn, app, user)?.ok_or(Rejection::NoUser(user))?;
        Ok(match after {
            None => Self { position: head, lost: false },
            Some(cursor) if cursor.epoch == *epoch && cursor.user.is_some() && cursor.position <= head => {
                Self { position: cursor.position, lost: false }
            }
            Some(_) => Self { position: head, lost: true },
        })
    }
}

/// A follower of a user's feed.
pub struct Follower {
    app: Arc<App>,
    /// Of the events that it has given.
    epoch: Arc<str>,
    user: UserId,
    /// Whose reads are limited; `None` for privileged viewers.
    limited: Option<UserId>,
    conversation: Option<ConversationId>,
    watch: Watch,
    _presence: Option<PresenceGuard>,
    read_position: ReadPosition,
    /// Events that were read and not yet taken.
    queued: VecDeque<Arc<Event>>,
    /// Whether the last read reached the end of the feed.
    at_end: bool,
    caught_up: bool,
    /// Whether it has waited for the next events.
    has_waited: bool,
    /// The number of events since the cursor that it came back with, until it has caught up.
    replayed: Option<u32>,
}

impl Follower {
    /// The events that were read, oldest first, after dropping the first `taken` of those that it gave before; waits for the
    /// next ones if there are none. `None` when the feed ends.
    pub async fn next(&mut self, taken: usize) -> Result<Option<Vec<Arc<Event>>>> {
        self.advance(taken);
        loop {
            if self.app.epoch() != self.epoch && !Box::pin(self.restart()).await? {
                return Ok(None);
            }
            if mem::take(&mut self.read_position.lost) {
                self.end_replay("reset");
                return Ok(Some(vec![self.own_event(EventBody::Reset)]));
            }
            if !self.is_current() {
                self.read_again();
            }
            self.advance(0);
            if !self.queued.is_empty() {
                let events: Vec<_> = self.queued.iter().filter(|event| self.matches(event)).cloned().collect();
                if mem::take(&mut self.has_waited) {
                    self.measure_lag(&events);
                }
                return Ok(Some(events));
            }
            if mem::take(&mut self.at_end) && self.watch.is_idle() {
                if !self.caught_up {
                    (self.caught_up, self.at_end) = (true, true);
                    self.end_replay("caught_up");
                    return Ok(Some(vec![self.own_event(EventBody::CaughtUp)]));
                }
                self.watch.changed().await;
                self.has_waited = true;
            }
            // Boxed to keep the future of a waiting follower small.
            if !Box::pin(self.read_on()).await? {
                return Ok(None);
            }
        }
    }

    /// Forgets what was read and not taken: it is read once more.
    pub fn read_again(&mut self) {
        self.queued.clear();
        self.at_end = false;
    }

    /// Moves past `taken` matching events, and past those that follow and do not match.
    fn advance(&mut self, mut taken: usize) {
        while let Some(event) = self.queued.front() {
            if self.matches(event) {
                if taken == 0 {
                    return;
                }
                taken -= 1;
                self.replayed = self.replayed.map(|replayed| replayed + 1);
            }
            self.read_position.position = event.cursor.position;
            self.queued.pop_front();
        }
    }

    /// Counts that it came back with a cursor.
    fn end_replay(&mut self, outcome: &'static str) {
        if let Some(replayed) = self.replayed.take() {
            self.app.counters.count_resume(outcome);
            self.app.counters.replayed_events.observe(replayed.into());
        }
    }

    /// Measures how long ago there was what it has waited for.
    fn measure_lag(&self, events: &[Arc<Event>]) {
        let now = self.app.now().milliseconds();
        let lags = events
            .iter()
            .map(|event| Duration::from_millis(now.saturating_sub(event.at.milliseconds()).max(0).unsigned_abs()));
        lags.for_each(|lag| self.app.counters.feed_lag.observe(lag.as_secs_f64()));
    }

    /// Begins anew in another history of the database; false when the feed ends.
    async fn restart(&mut self) -> Result<bool> {
        let epoch = self.app.epoch();
        self.queued.clear();
        let continues = self.reset().await?;
        self.epoch = epoch;
        Ok(continues)
    }

    /// Moves to the end of the feed, with a reset before what follows; false when the feed ends.
    async fn reset(&mut self) -> Result<bool> {
        let (app, user) = (self.app.clone(), self.user);
        let head = self.app.store.read(move |conn| head(conn, &app, user)).await?;
        let Some(position) = head else { return Ok(false) };
        self.read_position = ReadPosition { position, lost: true };
        // What the watch knows was read beyond this position, if ids went back: from here on it is read once more.
        self.at_end = false;
        Ok(true)
    }

    /// Whether the last events were not invalidated since they were read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.watch.is_fresh()
    }

    /// Reads the next page; false when the feed ends.
    async fn read_on(&mut self) -> Result<bool> {
        let (app, user, position) = (self.app.clone(), self.user, self.read_position.position);
        let limited = self.limited;
        let limit = if self.caught_up { LIVE_PAGE_SIZE } else { PAGE_SIZE };
        let read = move |after| {
            // Not that of this follower: what is read may be shared with others, who know a later one.
            let (app, epoch) = (app.clone(), app.epoch());
            // In a task of its own: the permit is not held up by a follower whose client does not read.
            let reading = tokio::spawn(async move {
                let _permit = app.permits.acquire(limited, Resource::Read).await;
                let slice = app.store.feed_after(user, after, limit).await?;
                Ok::<_, store::Error>(slice.and_then(|slice| page(slice, &epoch, user, after)))
            });
            AbortOnDropHandle::new(reading)
                .map(|read| read.unwrap_or_else(|why| Err(store::Error::Failed(format!("a feed was not read: {why}")))))
        };
        let Some(page) = self.watch.next(position, limit, read).await? else { return Ok(false) };
        if position < page.trimmed_through {
            return self.reset().await;
        }
        record_delivered(&self.app, &page);
        // Entries after the last event are of kinds that only later versions know.
        self.read_position.position = if page.events.is_empty() { page.through } else { position };
        (self.queued, self.at_end) = (page.events.into(), page.is_last);
        Ok(true)
    }

    fn own_event(&self, body: EventBody) -> Arc<Event> {
        let cursor = Cursor { epoch: self.epoch.clone(), user: Some(self.user), position: self.read_position.position };
        Arc::new(Event { cursor, at: self.app.now(), body })
    }

    fn matches(&self, event: &Event) -> bool {
        let EventBody::Changed(change) = &event.body else { return true };
        // An event without a conversation concerns all of them.
        self.conversation.zip(change.conversation).is_none_or(|(wanted, its)| wanted == its)
    }
}

/// The position of the end of a user's feed, after which somebody will go on.
fn head(conn: &mut Conn<'_>, app: &App, user: UserId) -> store::Result<Option<i64>> {
    let head = store::feed::head(conn, user)?;
    if let Some(position) = head.filter(|position| *position > 0) {
        app.record_entries(&app.epoch(), [(position, None)]);
    }
    Ok(head)
}

/// Records the last event of a page. Not its end, which may be a position that a client has made up.
fn record_delivered(app: &App, page: &FeedPage) {
    let last = page.events.last();
    if let Some(Event { cursor, at, .. }) = last.map(Arc::as_ref) {
        app.record_entries(&cursor.epoch, [(cursor.position, Some(*at))]);
    }
}

/// How a user's feed continues after a position; `None` once the account is erased and there is nothing left to read.
fn page(slice: FeedSlice, epoch: &Arc<str>, user: UserId, after: i64) -> Option<FeedPage> {
    if slice.is_erased && slice.entries.is_empty() {
        return None;
    }
    let through = slice.entries.last().map_or(after, |entry| entry.position);
    // No notification follows for the end of the feed of an erased account, so it is never the last page.
    let is_last = slice.is_end && !slice.is_erased;
    let events = slice.entries.into_iter().filter_map(|entry| event(epoch, user, entry).map(Arc::new)).collect();
    Some(FeedPage { events, through, is_last, trimmed_through: slice.trimmed_through })
}

/// The event of an entry; `None` for a kind of a later version.
fn event(epoch: &Arc<str>, user: UserId, entry: Entry) -> Option<Event> {
    let kind = EventKind::from_code(entry.kind)?;
    let concerned = match kind {
        EventKind::OwnMark => Some(user),
        EventKind::PeerMark | EventKind::UserChanged => Some(entry.peer_id),
        EventKind::Sent | EventKind::Updated | EventKind::Deleted => None,
    };
    let conversation = ConversationId::between(user, entry.peer_id);
    let message_id = entry.message_id();
    let cursor = Cursor { epoch: epoch.clone(), user: Some(user), position: entry.position };
    let change = Change { kind, conversation, message_id, message: entry.message, user: concerned };
    Some(Event { cursor, at: entry.at, body: EventBody::Changed(change) })
}
