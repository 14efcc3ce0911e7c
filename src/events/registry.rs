//! A reference-counted registry: values by key, each kept for as long as a guard refers to it.

use std::{
    collections::{
        BTreeMap,
        btree_map::{Entry, Range},
    },
    ops::RangeBounds,
    sync::Arc,
};

use parking_lot::Mutex;

/// The values. Clones share them.
pub(super) struct Registry<K, V> {
    slots: Arc<Mutex<BTreeMap<K, Slot<V>>>>,
}

pub(super) struct Slot<V> {
    guards: usize,
    pub(super) value: V,
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone() }
    }
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self { slots: Arc::default() }
    }
}

impl<K: Ord + Clone, V> Registry<K, V> {
    /// A guard for the value with this key, and what `with` makes of the value. Creates the value if there is none.
    pub(super) fn acquire<T>(
        &self,
        key: K,
        new: impl FnOnce() -> V,
        with: impl FnOnce(&V) -> T,
    ) -> (RegistryGuard<K, V>, T) {
        let mut slots = self.slots.lock();
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot { guards: 0, value: new() });
        slot.guards += 1;
        let made = with(&slot.value);
        drop(slots);
        (RegistryGuard { key, registry: self.clone() }, made)
    }

    /// Runs `work` on the value, if there is one.
    pub(super) fn with(&self, key: &K, work: impl FnOnce(&V)) {
        if let Some(slot) = self.slots.lock().get(key) {
            work(&slot.value);
        }
    }

    /// Runs `work` on all values in a range of keys.
    pub(super) fn with_range(&self, range: impl RangeBounds<K>, work: impl FnOnce(Range<'_, K, Slot<V>>)) {
        work(self.slots.lock().range(range));
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.slots.lock().len()
    }
}

/// Keeps a value in the registry. Dropping the last guard of a key removes its value.
pub(super) struct RegistryGuard<K: Ord + Clone, V> {
    key: K,
    registry: Registry<K, V>,
}

impl<K: Ord + Clone, V> Drop for RegistryGuard<K, V> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.registry.slots.lock().entry(self.key.clone()) {
            entry.get_mut().guards -= 1;
            if entry.get().guards == 0 {
                entry.remove();
            }
        }
    }
}
