//! The best of many vectors.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::model::vectors::Entry;

/// The entries with the highest scores of any number that are offered; of two with the same score, the newer message.
#[derive(Debug)]
pub struct Best {
    most: usize,
    /// The lowest is on top.
    kept: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// Keeps so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, kept: BinaryHeap::new() }
    }

    /// Keeps an entry if it is among the best; never one whose score is no number.
    pub fn offer(&mut self, score: f32, entry: Entry) {
        let offered = Reverse(Ranked(score, entry));
        if score.is_nan() {
            return;
        }
        if self.kept.len() < self.most {
            self.kept.push(offered);
        } else if let Some(mut lowest) = self.kept.peek_mut()
            && offered < *lowest
        {
            *lowest = offered;
        }
    }

    /// What was kept, the best first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<(f32, Entry)> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(Ranked(score, entry))| (score, entry)).collect()
    }
}

/// Ordered by score, then by age: the older is lower.
#[derive(Debug)]
struct Ranked(f32, Entry);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let age = |entry: &Entry| (entry.created_at, entry.message);
        self.0.total_cmp(&other.0).then_with(|| age(&self.1).cmp(&age(&other.1)))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ids::MessageId, timestamps::Timestamp};

    fn entry(message: i64) -> Entry {
        let (id, at) = (MessageId::new(message).unwrap(), Timestamp::from_milliseconds(message * 1_000));
        Entry { message: id, created_at: at, is_from_low: message % 2 == 0 }
    }

    #[test]
    fn the_best_are_kept_and_of_equal_ones_the_newer() {
        let mut best = Best::new(3);
        for (score, message) in [(0.1, 1), (f32::NAN, 2), (0.5, 3), (0.5, 5), (0.5, 4), (0.9, 6), (-0.0, 7)] {
            best.offer(score, entry(message));
        }
        assert_eq!(best.into_sorted(), [(0.9, entry(6)), (0.5, entry(5)), (0.5, entry(4))]);
    }
}
