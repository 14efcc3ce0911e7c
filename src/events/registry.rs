//! A reference-counted registry: values by key, each kept for as long as a guard refers to it.

use std::{
    collections::{
        BTreeMap,
        btree_map::{Entry, Range},
    },
    ops::RangeBounds,
    sync::{Arc, Mutex, PoisonError},
};

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
        let made = self.locked(|slots| {
            let slot = slots.entry(key.clone()).or_insert_with(|| Slot { guards: 0, value: new() });
            slot.guards += 1;
            with(&slot.value)
        });
        (RegistryGuard { key, registry: self.clone() }, made)
    }

    /// Runs `work` on the value, if there is one.
    pub(super) fn with(&self, key: &K, work: impl FnOnce(&V)) {
        self.locked(|slots| slots.get(key).map(|slot| work(&slot.value)));
    }

    /// Runs `work` on all values in a range of keys.
    pub(super) fn with_range(&self, range: impl RangeBounds<K>, work: impl FnOnce(Range<'_, K, Slot<V>>)) {
        self.locked(|slots| work(slots.range(range)));
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.locked(|slots| slots.len())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<K, Slot<V>>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps a value in the registry. Dropping the last guard of a key removes its value.
pub(super) struct RegistryGuard<K: Ord + Clone, V> {
    key: K,
    registry: Registry<K, V>,
}

impl<K: Ord + Clone, V> Drop for RegistryGuard<K, V> {
    fn drop(&mut self) {
        self.registry.locked(|slots| {
            if let Entry::Occupied(mut entry) = slots.entry(self.key.clone()) {
                entry.get_mut().guards -= 1;
                if entry.get().guards == 0 {
                    entry.remove();
                }
            }
        });
    }
}
