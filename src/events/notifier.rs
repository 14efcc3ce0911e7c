//! Notifies the followers of a feed that it has changed. A notification carries no payload: the follower reads the
//! database. So a lost one only delays, and a slow reader blocks nobody. Followers at the same position share one read.

use std::{future::Future, mem, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use super::{
    registry::{Registry, RegistryGuard},
    relay::Relay,
    tail_cache::{TailCache, TailEnd},
};
use crate::model::{feed::FeedPage, ids::UserId};

/// Notifications within this process. Clones share them.
#[derive(Clone, Default)]
pub struct Notifier {
    feeds: Registry<UserId, Arc<WatchedFeed>>,
    relay: Relay,
    /// How often the followers of a feed were notified.
    pub notifications: Counter,
}

/// What the followers of one user share.
#[derive(Default)]
struct WatchedFeed {
    version: watch::Sender<Version>,
    cache: Mutex<TailCache>,
    in_flight: Mutex<Option<SharedRead>>,
}

/// Counts of what happened to a feed since it is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Version {
    notifications: u64,
    /// Those that also changed what earlier events show.
    invalidations: u64,
    /// Those of an entry that may have been read already.
    announcements: u64,
    /// The position of the last such entry.
    announced: i64,
}

/// A read in a task of its own, so that a follower that is not polled does not block the others.
type SharedRead = Shared<BoxFuture<'static, ()>>;

impl Notifier {
    /// Notifications, which are sent to other servers, too.
    #[must_use]
    pub fn with(relay: Relay) -> Self {
        Self { relay, ..Self::default() }
    }

    /// From now on, [`Watch::changed`] reports every change in this user's feed.
    #[must_use]
    pub fn watch(&self, user: UserId) -> Watch {
        let (guard, feed) = self.feeds.acquire(user, Arc::default, Arc::clone);
        let version = feed.version.subscribe();
        let seen = *version.borrow();
        Watch { version, seen, read_through: 0, feed, _guard: guard }
    }

    /// Notifies all who follow the feed of one of these users.
    pub fn notify(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.notify_here(user, false);
            self.relay.queue_feed(user, false);
        }
    }

    /// Notifies those who follow the feed of a user, and no other server.
    pub fn notify_here(&self, user: UserId, invalidates: bool) {
        self.feeds.with(&user, |feed| {
            feed.notify(invalidates);
            self.notifications.inc();
        });
    }

    /// Notifies those who follow the feed of a user of an entry that some of them may have read already: they go on waiting.
    pub fn announce(&self, user: UserId, position: i64) {
        self.feeds.with(&user, |feed| {
            feed.version.send_modify(|version| {
                version.notifications += 1;
                version.announcements += 1;
                version.announced = version.announced.max(position);
            });
        });
    }

    /// Notifies all servers of a change of what earlier events show: events that were read before it are stale.
    pub fn invalidate(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.notify_here(user, true);
            self.relay.queue_feed(user, true);
        }
    }

    /// Notifies all who follow feeds here, and no other server, of a change of what earlier events show.
    pub fn invalidate_all(&self) {
        self.feeds.with_range(.., |feeds| feeds.for_each(|(_, feed)| feed.value.notify(true)));
    }

    /// What was read before is stale, also if it waits to be sent. Nobody is woken, as nothing follows it in the feeds.
    pub fn forget_read(&self) {
        self.feeds.with_range(.., |feeds| feeds.for_each(|(_, feed)| feed.value.forget_read()));
    }

    /// How many users are followed.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.feeds.len()
    }
}

/// A follower's watch on a user's feed, until it is dropped.
pub struct Watch {
    version: watch::Receiver<Version>,
    /// Before the last read.
    seen: Version,
    /// The position that it led to. A user's entries are in commit order: none is missing before it.
    read_through: i64,
    feed: Arc<WatchedFeed>,
    _guard: RegistryGuard<UserId, Arc<WatchedFeed>>,
}

impl Watch {
    /// The page after a position, at most `limit` events. It comes from the cache if another follower has read it since the
    /// last notification; otherwise `read` reads the database after the position that it is given. `None` when the feed ends.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn next<E, F>(
        &mut self,
        after: i64,
        limit: usize,
        read: impl Fn(i64) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Option<FeedPage>, E>
    where
        E: Send,
        F: Future<Output = Result<Option<FeedPage>, E>> + Send,
    {
        let version = *self.version.borrow();
        self.seen = version;
        if let Some(page) = self.cached_page(after, limit, version) {
            return Ok(Some(page));
        }
        // The first shared read may have begun before the notification; then the second one did not.
        for _ in 0..2 {
            if self.feed.cache.lock().end_for(after).is_none() {
                break;
            }
            self.feed.shared_read(&read).await;
            if let Some(page) = self.cached_page(after, limit, version) {
                return Ok(Some(page));
            }
        }
        // The position is behind the cache, or the shared read failed.
        let Some(page) = read(after).await? else { return Ok(None) };
        self.read_through = page.through;
        // One with a gap is not for others: they have to notice the gap, too.
        if page.is_last && page.trimmed_through <= after {
            let mut cache = self.feed.cache.lock();
            if cache.end().is_none_or(|end| end.notified < version.notifications) {
                cache.replace(after, &page, version.notifications, version.invalidations);
                self.clear_if_unshared(&mut cache);
            }
        }
        Ok(Some(page))
    }

    /// From the cache, if it is no older than this version.
    fn cached_page(&mut self, after: i64, limit: usize, version: Version) -> Option<FeedPage> {
        let mut cache = self.feed.cache.lock();
        let is_current =
            |end: &TailEnd| end.notified >= version.notifications && end.invalidated >= version.invalidations;
        let end = cache.end_for(after).filter(is_current)?;
        let page = cache.page_after(after, end, limit);
        self.read_through = page.through;
        self.clear_if_unshared(&mut cache);
        Some(page)
    }

    /// A single follower does not need the cached events.
    fn clear_if_unshared(&self, cache: &mut TailCache) {
        if self.feed.version.receiver_count() == 1 {
            cache.clear();
        }
    }

    /// Whether there was no notification since the last read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.version.borrow().has_news_since(self.seen, self.read_through)
    }

    /// Whether what was read last was not invalidated since.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.version.borrow().invalidations == self.seen.invalidations
    }

    /// Waits for a notification since the last read. Several may be merged into one.
    pub async fn changed(&mut self) {
        let (seen, read_through) = (self.seen, self.read_through);
        // The sender lives for as long as this does.
        let _ = self.version.wait_for(|version| version.has_news_since(seen, read_through)).await;
    }
}

impl Version {
    /// Whether there is something to read for who has read up to a position since another version.
    fn has_news_since(self, seen: Self, read_through: i64) -> bool {
        let is_notified = self.notifications - self.announcements != seen.notifications - seen.announcements;
        is_notified || (self.announcements != seen.announcements && self.announced > read_through)
    }
}

impl WatchedFeed {
    fn notify(&self, invalidates: bool) {
        self.version.send_modify(|version| {
            version.notifications += 1;
            version.invalidations += u64::from(invalidates);
        });
    }

    fn forget_read(&self) {
        self.version.send_if_modified(|version| {
            version.invalidations += 1;
            false
        });
        self.cache.lock().clear();
    }

    /// The read in flight, or a new one, that extends the cache to the end of the feed.
    fn shared_read<E, F>(self: &Arc<Self>, read: &(impl Fn(i64) -> F + Clone + Send + Sync + 'static)) -> SharedRead
    where
        E: Send,
        F: Future<Output = Result<Option<FeedPage>, E>> + Send,
    {
        let mut in_flight = self.in_flight.lock();
        if let Some(pending) = in_flight.as_ref().filter(|pending| pending.peek().is_none()) {
            return pending.clone();
        }
        let (feed, read) = (self.clone(), read.clone());
        let begun = tokio::spawn(async move { feed.extend_cache(read).await }).map(drop).boxed().shared();
        in_flight.insert(begun).clone()
    }

    /// Reads up to the end of the feed. An error, a gap, or the end of the account empties the cache; each follower then gets it
    /// from a read of its own.
    async fn extend_cache<E, F: Future<Output = Result<Option<FeedPage>, E>>>(&self, read: impl Fn(i64) -> F) {
        loop {
            let version = *self.version.borrow();
            let Some(end) = self.cache.lock().valid_end(version.invalidations) else { return };
            match read(end.position).await {
                Ok(Some(page)) if page.trimmed_through <= end.position => {
                    self.cache.lock().extend(
                        end,
                        &page,
                        if page.is_last { version.notifications } else { end.notified },
                    );
                    if page.is_last {
                        return;
                    }
                }
                Ok(_) | Err(_) => {
                    drop(mem::take(&mut *self.cache.lock()));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Reads a feed without events that goes up to a position, and of which a first part was deleted.
    async fn reads_trimmed(watch: &mut Watch, after: i64, through: i64, trimmed_through: i64) -> FeedPage {
        let read = move |_| async move {
            Ok::<_, Infallible>(Some(FeedPage { events: Vec::new(), through, is_last: true, trimmed_through }))
        };
        watch.next(after, 100, read).await.unwrap().unwrap()
    }

    async fn reads(watch: &mut Watch, after: i64, through: i64) {
        reads_trimmed(watch, after, through, 0).await;
    }

    #[tokio::test]
    async fn each_follower_notices_that_a_part_of_the_feed_was_deleted() {
        let (notifier, user) = (Notifier::default(), UserId::new(7).unwrap());
        let mut both = [notifier.watch(user), notifier.watch(user)];
        for watch in &mut both {
            assert_eq!(reads_trimmed(watch, 3, 9, 5).await.trimmed_through, 5);
        }
    }

    #[tokio::test]
    async fn an_announced_entry_wakes_those_alone_who_have_not_read_it() {
        let (notifier, user) = (Notifier::default(), UserId::new(7).unwrap());
        let (mut behind, mut there) = (notifier.watch(user), notifier.watch(user));
        reads(&mut behind, 3, 3).await;
        // Nobody has notified it, but it is there for who reads now.
        reads(&mut there, 5, 5).await;
        notifier.announce(user, 5);
        assert!(!behind.is_idle() && there.is_idle());
        behind.changed().await;
        assert!(there.changed().now_or_never().is_none());
        reads(&mut behind, 3, 5).await;
        assert!(behind.is_idle());
        // What is announced and cannot be seen, as of a message that was deleted, is looked for once.
        notifier.announce(user, 6);
        reads(&mut behind, 5, 5).await;
        assert!(behind.is_idle() && !there.is_idle());
        notifier.notify_here(user, false);
        behind.changed().await;
        there.changed().await;
    }
}
