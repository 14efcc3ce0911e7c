//! The order of hits: of texts by their words, and of several lists in one.
//!
//! No score depends on other texts than those that are given: nobody learns from it what others wrote.

use std::{collections::HashMap, hash::Hash};

use crate::model::{
    phrases::{Phrase, Phrases},
    words::tokens,
};

/// How soon further occurrences of a phrase count less (`k1` of BM25).
const SATURATION: f64 = 1.2;
/// How much the occurrences in longer texts count less (`b` of BM25).
const LENGTH_WEIGHT: f64 = 0.75;
/// How much less the first ranks differ from later ones (`k` of reciprocal rank fusion).
const RANK_OFFSET: f64 = 60.0;

/// The keys of texts that contain all phrases, the most relevant (BM25) first; those of equally relevant ones keep their order.
/// A phrase has no weight by its rarity: it is in all of these texts.
pub fn by_relevance<K>(phrases: &Phrases, texts: impl IntoIterator<Item = (K, impl AsRef<str>)>) -> Vec<K> {
    let counted: Vec<(K, Counts)> =
        texts.into_iter().map(|(key, text)| (key, Counts::of(phrases, text.as_ref()))).collect();
    let average = counted.iter().map(|(_, counts)| counts.words).sum::<f64>() / number(counted.len());
    let mut scored: Vec<(K, f64)> = counted.into_iter().map(|(key, counts)| (key, counts.score(average))).collect();
    // The sort is stable.
    scored.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    scored.into_iter().map(|(key, _)| key).collect()
}

/// One list of several, each with its weight, by reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): the keys with their
/// scores, the best first. Of two with the same score, that which comes first in the first list that has one of them.
#[must_use]
pub fn fuse<K: Eq + Hash + Copy>(lists: &[(f64, &[K])]) -> Vec<(K, f64)> {
    let mut fused: Vec<(K, f64)> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for (weight, keys) in lists {
        for (rank, key) in keys.iter().enumerate() {
            let place = *places.entry(*key).or_insert(fused.len());
            if place == fused.len() {
                fused.push((*key, 0.0));
            }
            if let Some((_, score)) = fused.get_mut(place) {
                *score += weight / (RANK_OFFSET + 1.0 + number(rank));
            }
        }
    }
    fused.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    fused
}

/// What the relevance of a text depends on.
struct Counts {
    words: f64,
    /// How often each phrase occurs.
    phrases: Vec<f64>,
}

impl Counts {
    fn of(phrases: &Phrases, text: &str) -> Self {
        let tokens = tokens(text);
        let occurrences = |phrase: &Phrase| number(phrase.places(&tokens).count());
        Self { words: number(tokens.len()), phrases: phrases.iter().map(occurrences).collect() }
    }

    fn score(&self, average_words: f64) -> f64 {
        let damping = SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * self.words / average_words);
        self.phrases.iter().filter(|count| **count > 0.0).map(|count| count / (count + damping)).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "these numbers are small")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked<'a>(query: &str, texts: &[&'a str]) -> Vec<&'a str> {
        by_relevance(&Phrases::parse(query), texts.iter().map(|text| (*text, *text)))
    }

    #[test]
    fn texts_with_more_of_the_phrases_and_less_else_come_first() {
        let (long, short, twice) =
            ("the train left an hour ago, they say", "a train left", "the train, a train, it left");
        assert_eq!(ranked("train left", &[long, short, twice]), [short, twice, long]);
        assert_eq!(ranked("\"train left\"", &[twice, long, short]), [short, long, twice]);
        assert_eq!(
            ranked("tra*", &["travel by bike is a joy", "travel by train today"]),
            ["travel by train today", "travel by bike is a joy"]
        );
    }

    #[test]
    fn equally_relevant_texts_keep_their_order() {
        let texts = ["b cat", "a cat", "c cat"];
        assert_eq!(ranked("cat", &texts), texts);
        assert_eq!(ranked("", &texts), texts);
        assert_eq!(ranked("dog", &["", "!"]), ["", "!"]);
        assert!(ranked("cat", &[]).is_empty());
    }

    #[test]
    fn further_occurrences_count_less_and_less() {
        let once_each = "cat and dog went out";
        let one_often = "cat cat cat cat dog";
        let one_only = "cat cat cat cat cat";
        assert_eq!(ranked("cat dog", &[one_only, once_each, one_often]), [one_often, once_each, one_only]);
    }

    #[test]
    fn a_key_in_both_lists_is_before_those_in_one() {
        let keys = |lists: &[(f64, &[u8])]| fuse(lists).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(&[(1.0, &[1, 2, 3]), (1.0, &[4, 3])]), [3, 1, 4, 2]);
        assert_eq!(keys(&[(1.0, &[1, 2]), (2.0, &[3])]), [3, 1, 2]);
        // The same score: the order of the first list, then of the second.
        assert_eq!(keys(&[(1.0, &[1, 2]), (1.0, &[2, 1])]), [1, 2]);
        assert_eq!(keys(&[(1.0, &[]), (1.0, &[9, 8])]), [9, 8]);
        let [(_, score)] = fuse(&[(2.0, &[7_u8]), (1.0, &[7])])[..] else { panic!() };
        assert!((score - 3.0 / 61.0).abs() < 1e-12);
    }
}
