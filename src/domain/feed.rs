//! Following a user's feed: the log is read, page by page, whenever somebody says that there is more of it. Catching up
//! and following live are the same thing.
//!
//! Positions have no holes. So a place in the log from which it does not go on with the next position is one that was
//! trimmed: the follower is told to load everything again, and goes on from now.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Rejection, Result, Viewer, policy, signals::Attendance};
use crate::{
    app::App,
    events::Watch,
    model::{
        feed::{Change, Cursor, Entry, Event, Kind, News, Next, Page},
        ids::{ConversationId, MessageId, UserId},
        messages::Message,
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// Entries that are trimmed in one transaction.
const TRIM_BATCH: i64 = 500;
/// How often it is looked whether there are any.
const TRIM_INTERVAL: Duration = Duration::from_mins(10);
/// How many entries are read at once: what a follower has in memory.
const PAGE: usize = 100;

/// Follows a user's feed: first what came after the cursor, if there is one, then an event that says that this was all,
/// then every change in commit order. With a conversation only the changes in it. Ends when the account is erased.
pub async fn follow(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    after: Option<Cursor>,
    conversation: Option<ConversationId>,
) -> Result<Follower> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_YOURS_TO_FOLLOW)?;
    if conversation.is_some_and(|id| id.peer_of(user).is_none()) {
        return Err(Rejection::NoConversation.into());
    }
    // Watch first, read then: what comes in between wakes.
    let watch = app.wakeups.watch(user);
    let epoch = app.epoch().clone();
    let place = app.store.read(move |conn| Place::of(conn, &epoch, user, after.as_ref())).await?;
    Ok(Follower {
        app: app.clone(),
        user,
        conversation,
        watch,
        _attendance: Attendance::begin(app, viewer, user),
        place,
        waiting: VecDeque::new(),
        at_end: false,
        caught_up: false,
    })
}

/// Where a user's feed stands now.
pub fn cursor(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, user: UserId) -> Result<Cursor> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_YOURS_TO_FOLLOW)?;
    let position = store::users::feed_position(conn, user)?;
    Ok(Cursor { epoch: app.epoch().clone(), position: position.ok_or(Rejection::NoUser(user))? })
}

/// A part of a feed.
pub struct Events {
    /// What happened, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there is more already.
    pub has_more: bool,
}

/// What came after a cursor: at most `limit` events, oldest first, or the one that says to begin anew.
pub fn events(
    conn: &mut Conn<'_>,
    app: &App,
    viewer: &Viewer,
    user: UserId,
    after: &Cursor,
    limit: u16,
) -> Result<Events> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_YOURS_TO_FOLLOW)?;
    let place = Place::of(conn, app.epoch(), user, Some(after))?;
    let position = place.position;
    // One more, to know whether there is more.
    let limit_and_one = usize::from(limit) + 1;
    let found = if place.lost { Next::Lost(position) } else { next(conn, app.epoch(), user, position, limit_and_one)? };
    let cursor = |position| Cursor { epoch: app.epoch().clone(), position };
    match found {
        Next::Page(Page { mut events, through, .. }) => {
            let has_more = events.len() > usize::from(limit);
            events.truncate(limit.into());
            let last = if has_more { events.last().map_or(position, |event| event.cursor.position) } else { through };
            Ok(Events { events, cursor: cursor(last), has_more })
        }
        Next::Lost(head) => {
            let reset = Event { cursor: cursor(head), at: app.now(), news: News::Reset };
            Ok(Events { events: vec![Arc::new(reset)], cursor: cursor(head), has_more: false })
        }
        Next::Erased => Err(Rejection::NoUser(user).into()),
    }
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

fn trim_some(conn: &mut Conn<'_>, before: Timestamp) -> Result<usize> {
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

/// Somebody who follows a user's feed.
pub struct Follower {
    app: App,
    user: UserId,
    conversation: Option<ConversationId>,
    watch: Watch,
    _attendance: Option<Attendance>,
    place: Place,
    /// What is still to be told.
    waiting: VecDeque<Arc<Event>>,
    /// Whether what was read last goes to the end of the feed.
    at_end: bool,
    caught_up: bool,
}

impl Follower {
    /// The next events that are at hand, oldest first, once `taken` of the last ones were passed on; `None` when the feed
    /// ends.
    pub async fn next(&mut self, taken: usize) -> Result<Option<Vec<Arc<Event>>>> {
        self.pass(taken);
        loop {
            if std::mem::take(&mut self.place.lost) {
                return Ok(Some(vec![self.tell(News::Reset)]));
            }
            if !self.is_current() {
                self.waiting.clear();
                self.at_end = false;
            }
            self.pass(0);
            if !self.waiting.is_empty() {
                return Ok(Some(self.waiting.iter().filter(|event| self.wants(event)).cloned().collect()));
            }
            if std::mem::take(&mut self.at_end) && self.watch.is_quiet() {
                if !self.caught_up {
                    (self.caught_up, self.at_end) = (true, true);
                    return Ok(Some(vec![self.tell(News::CaughtUp)]));
                }
                self.watch.changed().await;
            }
            // Boxed: most followers wait most of the time, and need no room for it then.
            if !Box::pin(self.read_on()).await? {
                return Ok(None);
            }
        }
    }

    /// Goes on after so many events that were wanted, and after all that follow and are not.
    fn pass(&mut self, mut taken: usize) {
        while let Some(event) = self.waiting.front() {
            if self.wants(event) {
                if taken == 0 {
                    return;
                }
                taken -= 1;
            }
            self.place.position = event.cursor.position;
            self.waiting.pop_front();
        }
    }

    /// Whether the last events still show what is so now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.watch.is_true()
    }

    /// Reads what comes next; false when the feed ends.
    async fn read_on(&mut self) -> Result<bool> {
        let (app, user) = (self.app.clone(), self.user);
        let read = move |after| {
            let (store, epoch) = (app.store.clone(), app.epoch().clone());
            async move { store.read(move |conn| next(conn, &epoch, user, after, PAGE)).await }
        };
        match self.watch.next(self.place.position, PAGE, read).await? {
            Next::Page(Page { events, through, is_last }) => {
                // What comes after the last event is of a kind that only later versions know.
                self.place.position = if events.is_empty() { through } else { self.place.position };
                (self.waiting, self.at_end) = (events.into(), is_last);
            }
            Next::Lost(position) => self.place = Place { position, lost: true },
            Next::Erased => return Ok(false),
        }
        Ok(true)
    }

    fn tell(&self, news: News) -> Arc<Event> {
        let cursor = Cursor { epoch: self.app.epoch().clone(), position: self.place.position };
        Arc::new(Event { cursor, at: self.app.now(), news })
    }

    fn wants(&self, event: &Event) -> bool {
        let News::Changed(change) = &event.news else { return true };
        // What has no conversation is about all of them.
        self.conversation.zip(change.conversation).is_none_or(|(wanted, its)| wanted == its)
    }
}

/// How a user's feed goes on after a position: at most `limit` entries of it, with their messages as they are now.
fn next(conn: &mut Conn<'_>, epoch: &Arc<str>, user: UserId, after: i64, limit: usize) -> store::Result<Next> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut entries = store::feed::after(conn, user, after, most)?;
    if entries.is_empty() {
        let Some(head) = store::users::feed_position(conn, user)? else { return Ok(Next::Erased) };
        if head == after {
            return Ok(Next::Page(Page { events: Vec::new(), through: after, is_last: true }));
        }
        // It grew since, or its end was trimmed.
        entries = store::feed::after(conn, user, after, most)?;
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
    // Who is erased with all that they sent hears of the messages last: nothing more comes that would wake them for the rest.
    let was_deletion = entries.last().is_some_and(|entry| Kind::from_code(entry.kind) == Some(Kind::Deleted));
    let is_erased = was_deletion && store::users::feed_position(conn, user)?.is_none();
    let is_last = entries.len() < limit && !is_erased;
    let told = |entry: &Entry| {
        let message = entry.message_id().and_then(|id| messages.get(&id).cloned());
        event(epoch, user, entry, message).map(Arc::new)
    };
    Ok(Next::Page(Page { events: entries.iter().filter_map(told).collect(), through, is_last }))
}

/// What an entry tells; `None` for a kind of a later version.
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
    Some(Event { cursor, at: entry.at, news: News::Changed(change) })
}
