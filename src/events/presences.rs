//! Presence: which users have a connection now, or had one a moment ago, to this server or to another one.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{ids::UserId, signals::Presence, timestamps::Timestamp};

/// The last-seen times of at least so many users are kept, and of at most twice as many.
const LAST_SEEN_CAPACITY: usize = 50_000;

/// Presences that are broadcast at a time: each is a read, and when a network fails there are thousands.
const MAX_BROADCASTS: usize = 4;

/// The presence of all users. Clones share it.
#[derive(Clone)]
pub struct Presences {
    records: Arc<Mutex<Records>>,
    broadcasts: Arc<Semaphore>,
}

impl Default for Presences {
    fn default() -> Self {
        Self { records: Arc::default(), broadcasts: Arc::new(Semaphore::new(MAX_BROADCASTS)) }
    }
}

#[derive(Default)]
struct Records {
    online: HashMap<UserId, Online>,
    /// When users went offline, the current generation.
    last_seen: HashMap<UserId, Timestamp>,
    /// The generation before it, which is evicted next.
    last_seen_before: HashMap<UserId, Timestamp>,
    /// Whose connections to this server began or ended, for other servers to know; `None` if there cannot be any.
    changed: Option<HashSet<UserId>>,
}

#[derive(Default)]
struct Online {
    /// To this server.
    connections: u32,
    /// The other servers that the user is connected to.
    elsewhere: Vec<i64>,
    /// When the last connection closed, by the application's clock and by the machine's.
    disconnected: Option<(Timestamp, Instant)>,
    /// Whether an offline check is scheduled.
    check_pending: bool,
}

/// The outcome of [`Presences::check_offline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfflineCheck {
    /// The user is offline now.
    Offline,
    /// The user has reconnected, and is online.
    Reconnected,
    /// The user reconnected and disconnected again: check again after this time.
    TooEarly(Duration),
}

impl Presences {
    /// How many users are online.
    #[must_use]
    pub fn count_online(&self) -> usize {
        self.records.lock().online.len()
    }

    /// Adds a connection of a user; true if the user was offline before.
    #[must_use]
    pub fn connect(&self, user: UserId) -> bool {
        let records = &mut *self.records.lock();
        let was_online = records.online.contains_key(&user);
        let online = records.online.entry(user).or_default();
        online.connections += 1;
        if online.connections == 1 {
            records.note_change(user);
        }
        !was_online
    }

    /// Removes a connection. True if it was the last one and no offline check is scheduled: the caller must then schedule
    /// [`Presences::check_offline`].
    #[must_use]
    pub fn disconnect(&self, user: UserId, at: Timestamp) -> bool {
        let records = &mut *self.records.lock();
        let Some(online) = records.online.get_mut(&user) else { return false };
        online.connections = online.connections.saturating_sub(1);
        if online.connections > 0 {
            return false;
        }
        let must_check = online.note_end(at);
        records.note_change(user);
        must_check
    }

    /// The user is connected to another server; true if they were offline before.
    #[must_use]
    pub fn connect_elsewhere(&self, user: UserId, server: i64) -> bool {
        let records = &mut *self.records.lock();
        let was_online = records.online.contains_key(&user);
        let online = records.online.entry(user).or_default();
        if !online.elsewhere.contains(&server) {
            online.elsewhere.push(server);
        }
        !was_online
    }

    /// The user is connected to another server no longer. True as by [`Presences::disconnect`].
    #[must_use]
    pub fn disconnect_elsewhere(&self, user: UserId, server: i64, at: Timestamp) -> bool {
        let records = &mut *self.records.lock();
        let Some(online) = records.online.get_mut(&user) else {
            records.note_last_seen(user, at);
            return false;
        };
        let connected = online.elsewhere.len();
        online.elsewhere.retain(|its| *its != server);
        online.elsewhere.len() < connected && online.note_end(at)
    }

    /// Nobody is connected to another server any longer: it is gone. Gives the users for whom the caller must schedule
    /// [`Presences::check_offline`].
    #[must_use]
    pub fn disconnect_all_of(&self, server: i64, at: Timestamp) -> Vec<UserId> {
        let records = &mut *self.records.lock();
        let connected = records.online.iter_mut().filter(|(_, online)| online.elsewhere.contains(&server));
        let left = connected.filter_map(|(user, online)| {
            online.elsewhere.retain(|its| *its != server);
            online.note_end(at).then_some(*user)
        });
        left.collect()
    }

    /// From now on, other servers want to know of all connections to this one, of those that are there, too.
    pub fn share_all(&self) {
        let records = &mut *self.records.lock();
        let connected = records.online.iter().filter(|(_, online)| online.connections > 0);
        let connected: Vec<_> = connected.map(|(user, _)| *user).collect();
        records.changed.get_or_insert_default().extend(connected);
    }

    /// Users whose connections to this server have changed, at most so many, and when they left it; `None` if they have not.
    #[must_use]
    pub fn take_changes(&self, now: Timestamp, limit: usize) -> Vec<(UserId, Option<Timestamp>)> {
        let records = &mut *self.records.lock();
        let Some(changed) = &mut records.changed else { return Vec::new() };
        let taken: Vec<_> = changed.extract_if(|_| true).take(limit).collect();
        let left_at = |user: UserId| match records.online.get(&user) {
            Some(online) if online.connections > 0 => None,
            _ => Some(records.of(user).last_seen_at.unwrap_or(now)),
        };
        taken.into_iter().map(|user| (user, left_at(user))).collect()
    }

    /// The connections of these users could not be published to other servers.
    pub fn put_back(&self, users: impl IntoIterator<Item = UserId>) {
        self.records.lock().changed.get_or_insert_default().extend(users);
    }

    /// Takes a user offline who has had no connection for `offline_after`.
    #[must_use]
    pub fn check_offline(&self, user: UserId, offline_after: Duration) -> OfflineCheck {
        let records = &mut *self.records.lock();
        let Some(online) = records.online.get_mut(&user) else { return OfflineCheck::Reconnected };
        let Some((last_seen, since)) = online.disconnected.filter(|_| !online.is_connected()) else {
            online.check_pending = false;
            return OfflineCheck::Reconnected;
        };
        let remaining = offline_after.saturating_sub(since.elapsed());
        if !remaining.is_zero() {
            return OfflineCheck::TooEarly(remaining);
        }
        records.online.remove(&user);
        records.note_last_seen(user, last_seen);
        OfflineCheck::Offline
    }

    /// Waits until a presence may be broadcast.
    pub async fn broadcast_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.broadcasts.acquire().await.ok()
    }

    /// The presence of a user.
    #[must_use]
    pub fn of(&self, user: UserId) -> Presence {
        self.records.lock().of(user)
    }
}

impl Records {
    fn of(&self, user: UserId) -> Presence {
        let online = self.online.get(&user);
        let last_seen_at = match online {
            Some(online) => online.disconnected.filter(|_| !online.is_connected()).map(|(at, _)| at),
            None => self.last_seen.get(&user).or_else(|| self.last_seen_before.get(&user)).copied(),
        };
        Presence { online: online.is_some(), last_seen_at }
    }

    fn note_change(&mut self, user: UserId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(user);
        }
    }

    fn note_last_seen(&mut self, user: UserId, at: Timestamp) {
        let before = self.last_seen.get(&user).or_else(|| self.last_seen_before.get(&user)).copied();
        if self.last_seen.len() >= LAST_SEEN_CAPACITY {
            self.last_seen_before = mem::take(&mut self.last_seen);
        }
        // The messages of servers come in no order.
        self.last_seen.insert(user, before.map_or(at, |before| before.max(at)));
    }
}

impl Online {
    fn is_connected(&self) -> bool {
        self.connections > 0 || !self.elsewhere.is_empty()
    }

    /// Notes the end of a connection; true if it was the last one and no offline check is scheduled.
    fn note_end(&mut self, at: Timestamp) -> bool {
        let at = self.disconnected.map_or(at, |(before, _)| before.max(at));
        self.disconnected = Some((at, Instant::now()));
        !self.is_connected() && !mem::replace(&mut self.check_pending, true)
    }
}
