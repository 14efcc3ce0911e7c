//! Presence: which users have a connection now, or had one a moment ago.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::{ids::UserId, signals::Presence, timestamps::Timestamp};

/// The last-seen times of at least so many users are kept, and of at most twice as many.
const LAST_SEEN_CAPACITY: usize = 50_000;

/// The presence of all users. Clones share it.
#[derive(Clone, Default)]
pub struct Presences {
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    online: HashMap<UserId, Online>,
    /// Users who went offline: the current generation, and …
    last_seen: HashMap<UserId, Timestamp>,
    /// … the one before it, which is evicted next.
    last_seen_before: HashMap<UserId, Timestamp>,
}

#[derive(Default)]
struct Online {
    connections: u32,
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
    /// Adds a connection of a user; true if the user was offline before.
    #[must_use]
    pub fn connect(&self, user: UserId) -> bool {
        self.locked(|records| {
            let was_online = records.online.contains_key(&user);
            records.online.entry(user).or_default().connections += 1;
            !was_online
        })
    }

    /// Removes a connection. True if it was the last one and no offline check is scheduled: the caller must then schedule
    /// [`Presences::check_offline`].
    #[must_use]
    pub fn disconnect(&self, user: UserId, at: Timestamp) -> bool {
        self.locked(|records| {
            let Some(online) = records.online.get_mut(&user) else { return false };
            online.connections = online.connections.saturating_sub(1);
            if online.connections > 0 {
                return false;
            }
            online.disconnected = Some((at, Instant::now()));
            !mem::replace(&mut online.check_pending, true)
        })
    }

    /// Takes a user offline who has had no connection for `offline_after`.
    #[must_use]
    pub fn check_offline(&self, user: UserId, offline_after: Duration) -> OfflineCheck {
        self.locked(|records| {
            let Some(online) = records.online.get_mut(&user) else { return OfflineCheck::Reconnected };
            let Some((last_seen, since)) = online.disconnected.filter(|_| online.connections == 0) else {
                online.check_pending = false;
                return OfflineCheck::Reconnected;
            };
            let remaining = offline_after.saturating_sub(since.elapsed());
            if !remaining.is_zero() {
                return OfflineCheck::TooEarly(remaining);
            }
            records.online.remove(&user);
            if records.last_seen.len() >= LAST_SEEN_CAPACITY {
                records.last_seen_before = mem::take(&mut records.last_seen);
            }
            records.last_seen.insert(user, last_seen);
            OfflineCheck::Offline
        })
    }

    /// The presence of a user.
    #[must_use]
    pub fn of(&self, user: UserId) -> Presence {
        self.locked(|records| {
            let online = records.online.get(&user);
            let last_seen_at = match online {
                Some(online) => online.disconnected.filter(|_| online.connections == 0).map(|(at, _)| at),
                None => records.last_seen.get(&user).or_else(|| records.last_seen_before.get(&user)).copied(),
            };
            Presence { online: online.is_some(), last_seen_at }
        })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Records) -> T) -> T {
        // A panic elsewhere cannot leave the records half changed.
        work(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
