//! Notifies the followers of a feed that it has changed. A notification carries no payload: the follower reads the
//! database. So a lost one only delays, and a slow reader blocks nobody. Followers at the same position share one read.

use std::{
    future::Future,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::sync::watch;

use super::{
    registry::{Registry, RegistryGuard},
    relay::Relay,
    tail_cache::TailCache,
};
use crate::model::{feed::FeedPage, ids::UserId};

/// Notifications within this process. Clones share them.
#[derive(Clone, Default)]
pub struct Notifier {
    feeds: Registry<UserId, Arc<WatchedFeed>>,
    relay: Relay,
}

/// What the followers of one user share.
#[derive(Default)]
struct WatchedFeed {
    version: watch::Sender<Version>,
    /// The position up to which somebody has read the feed.
    read_through: AtomicI64,
    cache: Mutex<TailCache>,
    in_flight: Mutex<Option<SharedRead>>,
}

/// Counts of what happened to a feed since it is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Version {
    notifications: u64,
    /// Those that also changed what earlier events show.
    invalidations: u64,
}

/// A read in a task of its own, so that a follower that is not polled does not block the others.
type SharedRead = Shared<BoxFuture<'static, ()>>;

impl Notifier {
    /// Notifications, of which other servers are told, too.
    #[must_use]
    pub fn with(relay: Relay) -> Self {
        Self { feeds: Registry::default(), relay }
    }

    /// From now on, [`Watch::changed`] reports every change in this user's feed.
    #[must_use]
    pub fn watch(&self, user: UserId) -> Watch {
        let (guard, feed) = self.feeds.acquire(user, Arc::default, Arc::clone);
        Watch { version: feed.version.subscribe(), invalidations: 0, feed, _guard: guard }
    }

    /// Notifies all who follow the feed of one of these users.
    pub fn notify(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.take(user, false);
            self.relay.tell_of_feed(user, false);
        }
    }

    /// Notifies those who follow the feed of a user, and no other server.
    pub fn take(&self, user: UserId, invalidates: bool) {
        self.feeds.with(&user, |feed| feed.notify(invalidates));
    }

    /// The same for an entry that may have been read already.
    pub fn notify_of(&self, users: impl IntoIterator<Item = UserId>, position: i64) {
        for user in users {
            self.feeds.with(&user, |feed| {
                if feed.read_through.load(Ordering::Relaxed) < position {
                    feed.notify(false);
                }
            });
        }
    }

    /// The same after a change of what earlier events show: events that were read before it are stale.
    pub fn invalidate(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.take(user, true);
            self.relay.tell_of_feed(user, true);
        }
    }

    /// The same for all users, and no other server.
    pub fn invalidate_all(&self) {
        self.feeds.with_range(.., |feeds| feeds.for_each(|(_, feed)| feed.value.notify(true)));
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
    invalidations: u64,
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
        let version = *self.version.borrow_and_update();
        self.invalidations = version.invalidations;
        if let Some(page) = self.cached_page(after, limit, version.notifications) {
            return Ok(Some(page));
        }
        // The first shared read may have begun before the notification; then the second one did not.
        for _ in 0..2 {
            if self.feed.cache().end_for(after).is_none() {
                break;
            }
            self.feed.shared_read(&read).await;
            if let Some(page) = self.cached_page(after, limit, version.notifications) {
                return Ok(Some(page));
            }
        }
        // The position is behind the cache, or the shared read failed.
        let found = read(after).await?;
        self.feed.note_read(found.as_ref());
        if let Some(page @ FeedPage { is_last: true, .. }) = &found {
            let mut cache = self.feed.cache();
            if cache.end().is_none_or(|end| end.notified < version.notifications) {
                cache.replace(after, page, version.notifications);
                self.clear_if_unshared(&mut cache);
            }
        }
        Ok(found)
    }

    /// From the cache, if it is no older than the notification.
    fn cached_page(&self, after: i64, limit: usize, notified: u64) -> Option<FeedPage> {
        let mut cache = self.feed.cache();
        let end = cache.end_for(after).filter(|end| end.notified >= notified)?;
        let page = cache.page_after(after, end, limit);
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
        // The sender lives for as long as this does.
        !self.version.has_changed().unwrap_or(false)
    }

    /// Whether what was read last was not invalidated since.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.version.borrow().invalidations == self.invalidations
    }

    /// Waits for a notification since the last read. Several may be merged into one.
    pub async fn changed(&mut self) {
        let _ = self.version.changed().await;
    }
}

impl WatchedFeed {
    fn notify(&self, invalidates: bool) {
        self.version.send_modify(|version| {
            version.notifications += 1;
            version.invalidations += u64::from(invalidates);
        });
    }

    /// A user's entries are in commit order: there are no others up to the end of a page.
    fn note_read(&self, page: Option<&FeedPage>) {
        if let Some(page) = page {
            self.read_through.fetch_max(page.through, Ordering::Relaxed);
        }
    }

    fn cache(&self) -> MutexGuard<'_, TailCache> {
        // A panic elsewhere cannot leave it half changed.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The read in flight, or a new one, that extends the cache to the end of the feed.
    fn shared_read<E, F>(self: &Arc<Self>, read: &(impl Fn(i64) -> F + Clone + Send + Sync + 'static)) -> SharedRead
    where
        E: Send,
        F: Future<Output = Result<Option<FeedPage>, E>> + Send,
    {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
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
            let Some(end) = self.cache().end() else { return };
            match read(end.position).await {
                Ok(Some(page)) if page.trimmed_through <= end.position => {
                    self.note_read(Some(&page));
                    self.cache().extend(end, &page, if page.is_last { version.notifications } else { end.notified });
                    if page.is_last {
                        return;
                    }
                }
                Ok(_) | Err(_) => {
                    drop(mem::take(&mut *self.cache()));
                    return;
                }
            }
        }
    }
}
