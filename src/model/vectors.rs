//! Vectors of texts, packed to a byte per dimension, and exact scores of all of them: the cosine with that of a query.
//!
//! Not here: what makes vectors of texts, and where they are stored.

use crate::model::{ids::MessageId, timestamps::Timestamp};

/// The most vectors of a [`Chunk`].
pub const CAPACITY: usize = 64;

const ENTRY_BYTES: usize = 16;
const SCALE_BYTES: usize = 4;
/// The highest value of a packed vector.
const MAX_PACKED: f32 = 127.0;
/// The highest value of a packed query: 32 times as exact as the vectors.
const MAX_QUERY: u16 = 4095;

/// A vector of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(Vec<f32>);

impl Vector {
    /// The vector with these values' direction; `None` if they are none, all zero, or not finite.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the nearest one is wanted")]
    pub fn new(mut values: Vec<f32>) -> Option<Self> {
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return None;
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Some(Self(values))
    }

    /// Its values, one for each dimension.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The number of its dimensions: at least 1.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// What a whole number of a packed form stands for, if the greatest value is to be `highest`.
    fn scale(&self, highest: f32) -> f32 {
        self.0.iter().fold(0.0, |greatest: f32, value| greatest.max(value.abs())) / highest
    }
}

/// Whose vector it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The message.
    pub message: MessageId,
    /// When it was sent.
    pub created_at: Timestamp,
    /// Whether its sender is the member with the lower id.
    pub is_from_low: bool,
}

impl Entry {
    /// The key and the flag in its lowest bit, then milliseconds: two numbers of 64 bits, little endian.
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (key, time) = bytes.split_at_mut(ENTRY_BYTES / 2);
        key.copy_from_slice(&(self.message.key() << 1 | i64::from(self.is_from_low)).to_le_bytes());
        time.copy_from_slice(&self.created_at.milliseconds().to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; ENTRY_BYTES]) -> Option<Self> {
        let ([key, time], []) = bytes.as_chunks() else { return None };
        let (key, milliseconds) = (i64::from_le_bytes(*key), i64::from_le_bytes(*time));
        Some(Self {
            message: MessageId::new(key >> 1)?,
            created_at: Timestamp::from_milliseconds(milliseconds),
            is_from_low: key & 1 == 1,
        })
    }
}

/// Up to [`CAPACITY`] vectors of one conversation, as they are stored: their entries, and for each vector a scale (an f32,
/// little endian) and its values as multiples of it (a byte each).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    dimensions: usize,
    entries: Vec<u8>,
    vectors: Vec<u8>,
}

impl Chunk {
    /// One without vectors.
    #[must_use]
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions, entries: Vec::new(), vectors: Vec::new() }
    }

    /// What was stored; `None` if the bytes are not as many as they would be.
    #[must_use]
    pub fn from_bytes(entries: Vec<u8>, vectors: Vec<u8>, dimensions: usize) -> Option<Self> {
        fits(&entries, &vectors, dimensions).then_some(Self { dimensions, entries, vectors })
    }

    /// Adds the vector of a message. `false` and nothing is added if it is full, if the vector has other dimensions, or if the
    /// message has one.
    #[must_use]
    pub fn push(&mut self, entry: Entry, vector: &Vector) -> bool {
        if self.is_full() || vector.dimensions() != self.dimensions || self.contains(entry.message) {
            return false;
        }
        let scale = vector.scale(MAX_PACKED);
        self.entries.extend(entry.to_bytes());
        self.vectors.extend(scale.to_le_bytes());
        let low_byte = |[low, _]: [u8; 2]| low;
        self.vectors.extend(vector.0.iter().map(|value| low_byte(rounded(value / scale).to_le_bytes())));
        true
    }

    /// Removes the vector of a message; whether it had one.
    pub fn remove(&mut self, message: MessageId) -> bool {
        let Some(at) = self.place(message) else { return false };
        let bytes = SCALE_BYTES + self.dimensions;
        self.entries.drain(at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES);
        self.vectors.drain(at * bytes..(at + 1) * bytes);
        true
    }

    /// Whether a message is among stored entries.
    #[must_use]
    pub fn has(entries: &[u8], message: MessageId) -> bool {
        place(entries, message).is_some()
    }

    /// Whether it has the vector of a message.
    #[must_use]
    pub fn contains(&self, message: MessageId) -> bool {
        self.place(message).is_some()
    }

    /// The number of its vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether it has no vector.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it has as many vectors as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= CAPACITY
    }

    /// The entries as they are stored: 16 bytes each.
    #[must_use]
    pub fn entries_bytes(&self) -> &[u8] {
        &self.entries
    }

    /// The vectors as they are stored: 4 bytes each, and one for each dimension.
    #[must_use]
    pub fn vectors_bytes(&self) -> &[u8] {
        &self.vectors
    }

    fn place(&self, message: MessageId) -> Option<usize> {
        place(&self.entries, message)
    }
}

fn place(entries: &[u8], message: MessageId) -> Option<usize> {
    let is_its = |bytes: &[u8; ENTRY_BYTES]| Entry::from_bytes(*bytes).is_some_and(|its| its.message == message);
    entries.as_chunks().0.iter().position(is_its)
}

/// The vector of a query, as others are compared with it.
#[derive(Debug, Clone)]
pub struct QueryVector {
    values: Vec<i16>,
    scale: f32,
}

impl From<&Vector> for QueryVector {
    fn from(vector: &Vector) -> Self {
        // The sum of products with bytes fits 32 bits.
        let highest = u16::try_from(((1 << 24) - 1) / vector.dimensions()).unwrap_or(u16::MAX).clamp(1, MAX_QUERY);
        let scale = vector.scale(f32::from(highest));
        Self { values: vector.0.iter().map(|value| rounded(value / scale)).collect(), scale }
    }
}

impl QueryVector {
    /// The entries of a stored [`Chunk`], each with the cosine of its vector and this one; `None` if the bytes are not as many
    /// as they would be with these dimensions. Nothing is copied, and an entry that no message can have is skipped.
    #[must_use]
    pub fn scores(&self, entries: &[u8], vectors: &[u8]) -> Option<impl Iterator<Item = (Entry, f32)>> {
        let dimensions = self.values.len();
        let vectors = fits(entries, vectors, dimensions).then(|| vectors.chunks_exact(SCALE_BYTES + dimensions))?;
        let scored = entries.as_chunks().0.iter().zip(vectors);
        Some(scored.filter_map(|(entry, vector)| {
            let (scale, values) = vector.split_first_chunk()?;
            Some((Entry::from_bytes(*entry)?, self.times(values) * f32::from_le_bytes(*scale)))
        }))
    }

    #[expect(clippy::cast_precision_loss, reason = "a score has 24 bits")]
    fn times(&self, packed: &[u8]) -> f32 {
        // So many at once are compiled to instructions that multiply and add eight values.
        let (ours, ours_left) = self.values.as_chunks::<32>();
        let (theirs, theirs_left) = packed.as_chunks::<32>();
        let of_32 = |(ours, theirs): (&[i16; 32], &[u8; 32])| ours.iter().zip(theirs).map(product).sum::<i32>();
        let left = ours_left.iter().zip(theirs_left).map(product).sum::<i32>();
        let sum = ours.iter().zip(theirs).map(of_32).sum::<i32>() + left;
        sum as f32 * self.scale
    }
}

/// Whether these bytes are as many vectors as entries.
fn fits(entries: &[u8], vectors: &[u8], dimensions: usize) -> bool {
    entries.len().is_multiple_of(ENTRY_BYTES)
        && vectors.len() == entries.len() / ENTRY_BYTES * (SCALE_BYTES + dimensions)
}

fn product((ours, theirs): (&i16, &u8)) -> i32 {
    i32::from(*ours) * i32::from(theirs.cast_signed())
}

#[expect(clippy::cast_possible_truncation, reason = "it is at most MAX_QUERY")]
fn rounded(value: f32) -> i16 {
    value.round() as i16
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(message: i64) -> Entry {
        Entry {
            message: MessageId::new(message).unwrap(),
            created_at: Timestamp::from_milliseconds(message * 1_000),
            is_from_low: message % 2 == 0,
        }
    }

    fn vector(values: &[f32]) -> Vector {
        Vector::new(values.to_vec()).unwrap()
    }

    fn scores(chunk: &Chunk, query: &Vector) -> Vec<(Entry, f32)> {
        QueryVector::from(query).scores(chunk.entries_bytes(), chunk.vectors_bytes()).unwrap().collect()
    }

    #[test]
    fn a_vector_has_length_1_or_is_none() {
        assert_eq!(vector(&[3.0, 4.0]).values(), [0.6, 0.8]);
        assert_eq!(vector(&[f32::MAX, 0.0]).values(), [1.0, 0.0]);
        for values in [vec![], vec![0.0; 3], vec![1.0, f32::NAN], vec![f32::INFINITY]] {
            assert_eq!(Vector::new(values), None);
        }
    }

    #[test]
    fn a_chunk_holds_each_message_once_up_to_its_capacity() {
        let mut chunk = Chunk::new(2);
        for message in 1..=64 {
            assert!(!chunk.is_full());
            assert!(chunk.push(entry(message), &vector(&[1.0, 2.0])));
            assert!(!chunk.push(entry(message), &vector(&[1.0, 2.0])));
        }
        assert!(chunk.is_full() && !chunk.push(entry(65), &vector(&[1.0, 2.0])));
        assert!(chunk.remove(entry(7).message) && !chunk.remove(entry(7).message));
        assert!(!chunk.contains(entry(7).message) && chunk.contains(entry(8).message));
        assert!(!chunk.push(entry(7), &vector(&[1.0])));
        assert_eq!((chunk.len(), chunk.entries_bytes().len(), chunk.vectors_bytes().len()), (63, 63 * 16, 63 * 6));
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let mut chunk = Chunk::new(3);
        assert!(chunk.push(entry(1), &vector(&[1.0, 0.0, 0.0])) && chunk.push(entry(2), &vector(&[0.0, -1.0, 0.0])));
        let (entries, vectors) = (chunk.entries_bytes().to_vec(), chunk.vectors_bytes().to_vec());
        assert_eq!(entries[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(entries[8..10], 1_000_i16.to_le_bytes());
        assert_eq!(Chunk::from_bytes(entries.clone(), vectors.clone(), 3), Some(chunk));
        assert_eq!(Chunk::from_bytes(entries.clone(), vectors.clone(), 2), None);
        assert_eq!(Chunk::from_bytes(entries[1..].to_vec(), vectors.clone(), 3), None);
        let query = QueryVector::from(&vector(&[1.0, 0.0]));
        assert!(query.scores(&entries, &vectors).is_none());
    }

    #[test]
    fn what_is_removed_leaves_the_others_with_their_own_vectors() {
        let mut chunk = Chunk::new(2);
        for (message, values) in [(1, [1.0, 0.0]), (2, [0.0, 1.0]), (3, [0.6, 0.8])] {
            assert!(chunk.push(entry(message), &vector(&values)));
        }
        assert!(chunk.remove(entry(2).message));
        let [(one, first), (three, last)] = scores(&chunk, &vector(&[0.0, 1.0]))[..] else { panic!() };
        assert_eq!([one, three], [entry(1), entry(3)]);
        assert!(first.abs() < 1e-3 && (last - 0.8).abs() < 5e-3);
    }

    #[test]
    fn sums_of_many_dimensions_do_not_overflow() {
        let flat = Vector::new(vec![1.0; 100_003]).unwrap();
        let mut chunk = Chunk::new(flat.dimensions());
        assert!(chunk.push(entry(1), &flat));
        assert!((scores(&chunk, &flat)[0].1 - 1.0).abs() < 1e-3);
    }

    proptest! {
        #[test]
        fn a_score_is_close_to_the_cosine(pairs in prop::collection::vec((-1.0..1.0_f32, -1.0..1.0_f32), 1..50)) {
            let (one, other) = pairs.into_iter().unzip();
            let (Some(one), Some(other)) = (Vector::new(one), Vector::new(other)) else { return Ok(()) };
            let mut chunk = Chunk::new(one.dimensions());
            prop_assert!(chunk.push(entry(1), &one));
            let cosine: f32 = one.values().iter().zip(other.values()).map(|(one, other)| one * other).sum();
            prop_assert!((scores(&chunk, &other)[0].1 - cosine).abs() < 0.02);
        }
    }
}
