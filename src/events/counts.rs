//! How many connections each user has, so that nobody takes them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::ids::UserId;

/// The counts. Clones share them.
#[derive(Clone, Default)]
pub struct Counts {
    counts: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Counts {
    /// One more for this user, until it is dropped; `None` if there are so many already.
    #[must_use]
    pub fn add(&self, user: UserId, most: usize) -> Option<Counted> {
        self.locked(|counts| {
            let count = counts.get(&user).copied().unwrap_or_default();
            (count < most).then(|| counts.insert(user, count + 1))
        })?;
        Some(Counted { user, counts: self.clone() })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<UserId, usize>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection that was counted.
pub struct Counted {
    user: UserId,
    counts: Counts,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.locked(|counts| match counts.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.user)),
        });
    }
}
