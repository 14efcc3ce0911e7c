//! The events that were delivered to clients last. When another PostgreSQL server has become the primary, they must be in that database,
//! too.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::model::timestamps::Timestamp;

/// Positions, and when each entry happened, if that is known.
type Entries = BTreeMap<i64, Option<Timestamp>>;

/// Entries that are kept: those of concurrent transactions are committed in any order.
const MAX_ENTRIES: usize = 64;
/// Entries from before the last connections that are kept until they are checked.
const MAX_UNCHECKED: usize = 16 * MAX_ENTRIES;

/// The last entries of all feeds that were delivered in an epoch.
pub struct History(Mutex<Delivered>);

struct Delivered {
    epoch: Arc<str>,
    last: Entries,
    /// How many connections to the database there had been when the last entry was delivered.
    connections: u64,
    /// The last entries before each connection that was made since the last check. Many others may follow them before the next one.
    unchecked: Entries,
}

impl Delivered {
    fn of(epoch: Arc<str>) -> Self {
        Self { epoch, last: Entries::new(), connections: 0, unchecked: Entries::new() }
    }
}

impl History {
    /// Of an epoch that begins.
    #[must_use]
    pub fn of(epoch: Arc<str>) -> Self {
        Self(Mutex::new(Delivered::of(epoch)))
    }

    /// Forgets all, and goes on with another epoch.
    pub fn begin(&self, epoch: Arc<str>) {
        *self.0.lock() = Delivered::of(epoch);
    }

    /// Records an entry that is delivered to a client, or a cursor that is sent to one, and how many connections to the database had been
    /// made by then. Those of a former epoch are ignored.
    pub fn record(&self, epoch: &str, position: i64, at: Option<Timestamp>, connections: u64) {
        let delivered = &mut *self.0.lock();
        if *delivered.epoch != *epoch {
            return;
        }
        // What comes from now on may be of another primary, which lacks the last entries.
        if delivered.connections != connections && delivered.unchecked.len() < MAX_UNCHECKED {
            delivered.unchecked.extend(&delivered.last);
        }
        delivered.connections = connections;
        let known = delivered.last.entry(position).or_default();
        *known = known.or(at);
        if delivered.last.len() > MAX_ENTRIES {
            delivered.last.pop_first();
        }
    }

    /// The entries with the highest positions, and those from before new connections.
    #[must_use]
    pub fn entries(&self) -> Entries {
        let delivered = self.0.lock();
        let mut entries = delivered.unchecked.clone();
        entries.extend(&delivered.last);
        entries
    }

    /// These entries are in the database.
    pub fn forget_checked(&self, entries: &Entries) {
        self.0.lock().unchecked.retain(|position, _| !entries.contains_key(position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_before_a_new_connection_are_kept_until_they_are_checked() {
        let history = History::of("epoch".into());
        (1..=100).for_each(|position| history.record("epoch", position, None, 1));
        (101..=500).for_each(|position| history.record("epoch", position, None, 2));
        let entries = history.entries();
        let kept: Vec<i64> = entries.keys().copied().collect();
        assert_eq!(kept, (37..=100).chain(437..=500).collect::<Vec<_>>());
        history.forget_checked(&entries);
        assert_eq!(history.entries().into_keys().collect::<Vec<_>>(), (437..=500).collect::<Vec<_>>());
    }
}
