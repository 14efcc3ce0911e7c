//! Values by key, each for as long as somebody holds it.

use std::{
    collections::{
        BTreeMap,
        btree_map::{Entry, Range},
    },
    ops::RangeBounds,
    sync::{Arc, Mutex, PoisonError},
};

/// The values. Clones share them.
pub(super) struct Held<K, V> {
    values: Arc<Mutex<BTreeMap<K, Value<V>>>>,
}

pub(super) struct Value<V> {
    holds: usize,
    pub(super) value: V,
}

impl<K, V> Clone for Held<K, V> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone() }
    }
}

impl<K, V> Default for Held<K, V> {
    fn default() -> Self {
        Self { values: Arc::default() }
    }
}

impl<K: Ord + Clone, V> Held<K, V> {
    /// Holds the value with this key, and gives what is made of it; makes it if nobody holds it yet.
    pub(super) fn hold<T>(&self, key: K, new: impl FnOnce() -> V, with: impl FnOnce(&V) -> T) -> (Hold<K, V>, T) {
        let made = self.locked(|values| {
            let value = values.entry(key.clone()).or_insert_with(|| Value { holds: 0, value: new() });
            value.holds += 1;
            with(&value.value)
        });
        (Hold { key, held: self.clone() }, made)
    }

    /// Does something with the value, if somebody holds it.
    pub(super) fn with(&self, key: &K, work: impl FnOnce(&V)) {
        self.locked(|values| values.get(key).map(|value| work(&value.value)));
    }

    /// Does something with all values in a range of keys.
    pub(super) fn with_range(&self, range: impl RangeBounds<K>, work: impl FnOnce(Range<'_, K, Value<V>>)) {
        self.locked(|values| work(values.range(range)));
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.locked(|values| values.len())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut BTreeMap<K, Value<V>>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Somebody who holds a value, until it is dropped.
pub(super) struct Hold<K: Ord + Clone, V> {
    key: K,
    held: Held<K, V>,
}

impl<K: Ord + Clone, V> Drop for Hold<K, V> {
    fn drop(&mut self) {
        self.held.locked(|values| {
            if let Entry::Occupied(mut entry) = values.entry(self.key.clone()) {
                entry.get_mut().holds -= 1;
                if entry.get().holds == 0 {
                    entry.remove();
                }
            }
        });
    }
}
