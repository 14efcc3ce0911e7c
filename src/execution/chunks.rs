//! JSON in chunks. A large answer is never one piece of memory that grows, and is sent chunk by chunk.

use std::{iter, mem, vec};

use parking_lot::Mutex;

/// A chunk that has so many bytes is full; the last field in it may go beyond.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// A buffer with room for more is of no use to others: its last field was very long.
const MAX_BUFFER: usize = 4 * CHUNK_BYTES;
/// Bytes of the buffers that are kept for later answers, at most.
const MAX_POOL: usize = 32 * 1024 * 1024;

/// Buffers of large chunks that are free, of the whole process. An allocator keeps what a thread has freed for that thread: without these,
/// each of many threads would keep as much as the largest answer that it has written.
static BUFFER_POOL: Mutex<BufferPool> = Mutex::new(BufferPool { free: Vec::new(), bytes: 0 });

struct BufferPool {
    free: Vec<Vec<u8>>,
    /// For how many bytes they have room together.
    bytes: usize,
}

impl BufferPool {
    fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.free.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn put(&mut self, buffer: Vec<u8>) {
        if self.bytes + buffer.capacity() <= MAX_POOL {
            self.bytes += buffer.capacity();
            self.free.push(buffer);
        }
    }
}

/// A part of a text. A large one is free for another text once it is dropped.
#[derive(Debug, Default)]
pub struct Chunk(Vec<u8>);

impl Chunk {
    fn large() -> Self {
        Self(BUFFER_POOL.lock().take().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES)))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if (CHUNK_BYTES..=MAX_BUFFER).contains(&self.0.capacity()) {
            self.0.clear();
            BUFFER_POOL.lock().put(mem::take(&mut self.0));
        }
    }
}

/// Text as UTF-8, in chunks that are each valid by themselves.
#[derive(Debug, Default)]
pub struct Chunks {
    full: Vec<Chunk>,
    full_bytes: usize,
    last: Chunk,
}

impl Chunks {
    /// Nothing yet, with room for what is usual.
    pub(super) fn new() -> Self {
        Self { last: Chunk(Vec::with_capacity(1_024)), ..Self::default() }
    }

    /// Nothing yet, with room for another text, if it is short, and for some words around it.
    #[must_use]
    pub fn with_room_for(other: &Self) -> Self {
        let room = if other.full.is_empty() { other.last.0.len() } else { 0 };
        Self { last: Chunk(Vec::with_capacity(room + 128)), ..Self::default() }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_bytes + self.last.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunk to write to. [`Chunks::end_field`] must be called between the fields.
    pub(super) fn last(&mut self) -> &mut Vec<u8> {
        &mut self.last.0
    }

    /// Begins a new chunk if the last one is full.
    pub(super) fn end_field(&mut self) {
        if self.last.0.len() >= CHUNK_BYTES {
            self.full_bytes += self.last.0.len();
            self.full.push(mem::replace(&mut self.last, Chunk::large()));
        }
    }

    /// Drops all but the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        while len < self.full_bytes {
            self.last = self.full.pop().unwrap_or_default();
            self.full_bytes -= self.last.0.len();
        }
        self.last.0.truncate(len - self.full_bytes);
    }

    /// Appends a short text.
    pub fn push_str(&mut self, text: &str) {
        self.end_field();
        self.last.0.extend_from_slice(text.as_bytes());
    }

    /// Appends all of another text: without a copy, if it is large.
    pub fn append(&mut self, other: Self) {
        if other.full.is_empty() {
            self.end_field();
            self.last.0.extend_from_slice(other.last.as_ref());
            return;
        }
        let end = mem::replace(&mut self.last, other.last);
        self.full_bytes += end.0.len() + other.full_bytes;
        self.full.push(end);
        self.full.extend(other.full);
    }

    /// All of it in one piece.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.into_iter().for_each(|chunk| bytes.extend_from_slice(chunk.as_ref()));
        bytes
    }

    /// Whether it is this text, which is a short one.
    pub(super) fn is(&self, text: &str) -> bool {
        self.full.is_empty() && self.last.0 == text.as_bytes()
    }
}

impl IntoIterator for Chunks {
    type Item = Chunk;
    type IntoIter = iter::Chain<vec::IntoIter<Chunk>, iter::Once<Chunk>>;

    fn into_iter(self) -> Self::IntoIter {
        self.full.into_iter().chain(iter::once(self.last))
    }
}

impl From<String> for Chunks {
    fn from(text: String) -> Self {
        Self { last: Chunk(text.into_bytes()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_so_many_bytes_at_most() {
        let mut pool = BufferPool { free: Vec::new(), bytes: 0 };
        let max = MAX_POOL / MAX_BUFFER;
        (0..=max).for_each(|_| pool.put(Vec::with_capacity(MAX_BUFFER)));
        assert_eq!((pool.free.len(), pool.bytes), (max, MAX_POOL));
        assert!(pool.take().is_some());
        assert_eq!(pool.bytes, MAX_POOL - MAX_BUFFER);
    }

    #[test]
    fn chunks_are_put_together_and_cut_as_one_text_would_be() {
        let part = |letter: &str| {
            let mut part = Chunks::new();
            for _ in 0..5 {
                part.push_str(&letter.repeat(30_000));
            }
            part
        };
        let mut all = part("a");
        all.push_str("-");
        all.append(part("b"));
        all.append(Chunks::from("c".to_owned()));
        let text = "a".repeat(150_000) + "-" + &"b".repeat(150_000) + "c";
        for len in [text.len(), 200_000, 150_001, 150_000, 90_000, 65_536, 1, 0] {
            all.truncate(len);
            assert_eq!(all.len(), len);
            let joined: Vec<u8> = all.full.iter().chain([&all.last]).flat_map(|chunk| &chunk.0).copied().collect();
            assert_eq!(joined.as_slice(), text.as_bytes().split_at(len).0, "{len}");
        }
        assert!(all.is_empty());
    }
}
