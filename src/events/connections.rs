//! Limits how many connections a user may have open at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::ids::UserId;

/// Open connections by user. Clones share them.
#[derive(Clone, Default)]
pub struct ConnectionLimiter {
    open: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl ConnectionLimiter {
    /// A permit for one more connection of this user, released on drop; `None` if `max` are open already.
    #[must_use]
    pub fn try_acquire(&self, user: UserId, max: usize) -> Option<ConnectionPermit> {
        self.locked(|open| {
            let count = open.get(&user).copied().unwrap_or_default();
            (count < max).then(|| open.insert(user, count + 1))
        })?;
        Some(ConnectionPermit { user, limiter: self.clone() })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<UserId, usize>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One open connection that counts against its user's limit.
pub struct ConnectionPermit {
    user: UserId,
    limiter: ConnectionLimiter,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.locked(|open| match open.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.user)),
        });
    }
}
