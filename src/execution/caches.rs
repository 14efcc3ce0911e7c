//! Caches of what was made of requests, bounded by the bytes that their entries hold. What is asked for often stays, whatever
//! comes once in between (the eviction policy is a form of CLOCK-Pro).

use std::hash::Hash;

use quick_cache::{
    DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// Entries that a cache usually has. It remembers the hashes of half as many evicted keys: what comes again stays.
const USUAL_ENTRIES: usize = 4_000;
/// An entry that takes more than this part of the cache is not cached: few of them would drive out all others.
const LARGEST_PART: u64 = 16;
/// Bytes that the cache itself takes for an entry.
const BYTES_PER_ENTRY: u64 = 200;

/// A cache.
pub(super) struct ByteCache<K, V> {
    /// Each value with the bytes that it holds.
    entries: Cache<K, (V, u64), ByBytes>,
}

#[derive(Clone)]
struct ByBytes;

impl<K, V> Weighter<K, (V, u64)> for ByBytes {
    fn weight(&self, _: &K, (_, bytes): &(V, u64)) -> u64 {
        *bytes
    }
}

impl<K: Eq + Hash, V: Clone> ByteCache<K, V> {
    /// An empty cache for entries of so many bytes together.
    #[allow(clippy::expect_used, reason = "the builder fails only where one of these is left out")]
    pub(super) fn new(bytes: u64) -> Self {
        // One shard: what fits is not to depend on the number of cores.
        let options =
            OptionsBuilder::new().shards(1).estimated_items_capacity(USUAL_ENTRIES).weight_capacity(bytes).build();
        let options = options.expect("all options are set");
        let hashes = DefaultHashBuilder::default();
        Self { entries: Cache::with_options(options, ByBytes, hashes, DefaultLifecycle::default()) }
    }

    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Caches a value that holds so many bytes together with its key, unless it is too large.
    pub(super) fn insert(&self, key: K, value: V, bytes: u64) {
        let bytes = bytes.saturating_add(BYTES_PER_ENTRY);
        if bytes <= self.entries.capacity() / LARGEST_PART {
            self.entries.insert(key, (value, bytes));
        }
    }
}
