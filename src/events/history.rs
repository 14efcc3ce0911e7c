//! What clients were told of lately. When another PostgreSQL server has become the primary, it must be in that database, too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::timestamps::Timestamp;

/// Entries that are kept: those of concurrent transactions are committed in any order.
const MAX_ENTRIES: usize = 64;

/// The last entries of all feeds that somebody was told of in an epoch.
pub struct History(Mutex<Told>);

struct Told {
    epoch: Arc<str>,
    /// By their positions; when each happened, if that is known.
    entries: BTreeMap<i64, Option<Timestamp>>,
}

impl History {
    /// Of an epoch that begins.
    #[must_use]
    pub fn of(epoch: Arc<str>) -> Self {
        Self(Mutex::new(Told { epoch, entries: BTreeMap::new() }))
    }

    /// Forgets all, and goes on with another epoch.
    pub fn begin(&self, epoch: Arc<str>) {
        *self.locked() = Told { epoch, entries: BTreeMap::new() };
    }

    /// Somebody is told of an entry of a feed, or is given a cursor to go on after it. Of a former epoch it does not count.
    pub fn note(&self, epoch: &str, position: i64, at: Option<Timestamp>) {
        let mut told = self.locked();
        if *told.epoch != *epoch {
            return;
        }
        let known = told.entries.entry(position).or_default();
        *known = known.or(at);
        if told.entries.len() > MAX_ENTRIES {
            told.entries.pop_first();
        }
    }

    /// The entries with the highest positions, and when each happened, if that is known.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<i64, Option<Timestamp>> {
        self.locked().entries.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Told> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
