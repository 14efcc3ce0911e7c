//! The events that were delivered to clients last. When another PostgreSQL server has become the primary, they must be in that database,
//! too.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::model::timestamps::Timestamp;

/// Entries that are kept: those of concurrent transactions are committed in any order.
const MAX_ENTRIES: usize = 64;

/// The last entries of all feeds that were delivered in an epoch.
pub struct History(Mutex<Delivered>);

struct Delivered {
    epoch: Arc<str>,
    /// By their positions; when each happened, if that is known.
    entries: BTreeMap<i64, Option<Timestamp>>,
}

impl History {
    /// Of an epoch that begins.
    #[must_use]
    pub fn of(epoch: Arc<str>) -> Self {
        Self(Mutex::new(Delivered { epoch, entries: BTreeMap::new() }))
    }

    /// Forgets all, and goes on with another epoch.
    pub fn begin(&self, epoch: Arc<str>) {
        *self.0.lock() = Delivered { epoch, entries: BTreeMap::new() };
    }

    /// An entry of a feed is delivered to somebody, or a cursor to go on after it. Of a former epoch it does not count.
    pub fn record(&self, epoch: &str, position: i64, at: Option<Timestamp>) {
        let mut delivered = self.0.lock();
        if *delivered.epoch != *epoch {
            return;
        }
        let known = delivered.entries.entry(position).or_default();
        *known = known.or(at);
        if delivered.entries.len() > MAX_ENTRIES {
            delivered.entries.pop_first();
        }
    }

    /// The entries with the highest positions, and when each happened, if that is known.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<i64, Option<Timestamp>> {
        self.0.lock().entries.clone()
    }
}
