//! The entries of feeds that this server has read last, for its clients or as it looked for changes. When another PostgreSQL server has
//! become the primary, they must be in that database, too.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::model::timestamps::Timestamp;

/// Positions, and when each entry happened, if that is known.
type Entries = BTreeMap<i64, Option<Timestamp>>;

/// Entries that are kept: those of concurrent transactions are committed in any order.
const MAX_ENTRIES: usize = 64;
/// Entries from before the last connections that are kept until they are checked.
const MAX_UNCHECKED: usize = 16 * MAX_ENTRIES;

/// The last entries of all feeds that are known in an epoch.
pub struct KnownEntries(Mutex<Known>);

struct Known {
    epoch: Arc<str>,
    last: Entries,
    /// How many connections to the database there had been when the last entry was recorded.
    connections: u64,
    /// The last entries before each connection that was made since the last check. Many others may follow them before the next one.
    unchecked: Entries,
}

impl Known {
    fn of(epoch: Arc<str>) -> Self {
        Self { epoch, last: Entries::new(), connections: 0, unchecked: Entries::new() }
    }
}

impl KnownEntries {
    /// Of an epoch that begins.
    #[must_use]
    pub fn of(epoch: Arc<str>) -> Self {
        Self(Mutex::new(Known::of(epoch)))
    }

    /// Forgets all, and goes on with another epoch.
    pub fn begin(&self, epoch: Arc<str>) {
        *self.0.lock() = Known::of(epoch);
    }

    /// Records entries that were read, or a cursor that is sent to a client, and how many connections to the database had been made by
    /// then. Those of a former epoch are ignored.
    pub fn record(&self, epoch: &str, entries: impl IntoIterator<Item = (i64, Option<Timestamp>)>, connections: u64) {
        let known = &mut *self.0.lock();
        if *known.epoch != *epoch {
            return;
        }
        // What comes from now on may be of another primary, which lacks the last entries.
        if known.connections != connections && known.unchecked.len() < MAX_UNCHECKED {
            known.unchecked.extend(&known.last);
        }
        known.connections = connections;
        for (position, at) in entries {
            let recorded = known.last.entry(position).or_default();
            *recorded = recorded.or(at);
            if known.last.len() > MAX_ENTRIES {
                known.last.pop_first();
            }
        }
    }

    /// The entries with the highest positions, and those from before new connections.
    #[must_use]
    pub fn entries(&self) -> Entries {
        let known = self.0.lock();
        let mut entries = known.unchecked.clone();
        entries.extend(&known.last);
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
        let known = KnownEntries::of("epoch".into());
        known.record("epoch", (1..=100).map(|position| (position, None)), 1);
        known.record("epoch", (101..=500).map(|position| (position, None)), 2);
        let entries = known.entries();
        let kept: Vec<i64> = entries.keys().copied().collect();
        assert_eq!(kept, (37..=100).chain(437..=500).collect::<Vec<_>>());
        known.forget_checked(&entries);
        assert_eq!(known.entries().into_keys().collect::<Vec<_>>(), (437..=500).collect::<Vec<_>>());
    }
}
