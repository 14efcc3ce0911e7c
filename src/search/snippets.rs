//! Snippets: the part of a text that shows best why it is a hit, with the words that were found between `**`.
//!
//! Not here: which texts are hits.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::model::words::{Phrases, Token, tokens};

/// Around the words that were found.
const MARK: &str = "**";
/// Where something is left out.
const ELLIPSIS: char = '…';
/// What is shown for a `*` of the text, which is no mark: U+2217.
const SHOWN_STAR: &str = "∗";
/// How far a cut is moved to a blank, in graphemes.
const NEAR: usize = 20;

/// At most `max` graphemes of a text, besides the marks and ellipses: those with the most different phrases, then with the most
/// occurrences, then the first ones; the beginning if no phrase occurs.
///
/// White space is one blank. Graphemes are whole, and so are words where a blank is near. What is left out is shown as `…`, and
/// `*` as `∗`. Occurrences that overlap or touch share one pair of marks. Of a prefix the whole word is marked.
#[must_use]
pub fn snippet(text: &str, phrases: &Phrases, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('*', SHOWN_STAR);
    let line = Graphemes::of(&line);
    let hits = hits(&line, phrases);
    let window = window(&line, &hits, max);
    let mut shown = String::with_capacity(2 * line.text(window.clone()).len());
    if window.start > 0 {
        shown.push(ELLIPSIS);
    }
    let mut at = window.start;
    for marked in merged(&hits, &window) {
        for part in [line.text(at..marked.start), MARK, line.text(marked.clone()), MARK] {
            shown.push_str(part);
        }
        at = marked.end;
    }
    shown.push_str(line.text(at..window.end));
    if window.end < line.len() {
        shown.push(ELLIPSIS);
    }
    shown
}

/// A text, and where its graphemes begin.
struct Graphemes<'a> {
    text: &'a str,
    begins: Vec<usize>,
}

impl<'a> Graphemes<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, begins: text.grapheme_indices(true).map(|(at, _)| at).collect() }
    }

    fn len(&self) -> usize {
        self.begins.len()
    }

    fn text(&self, place: Range<usize>) -> &'a str {
        let byte = |grapheme: usize| self.begins.get(grapheme).copied().unwrap_or(self.text.len());
        self.text.get(byte(place.start)..byte(place.end)).unwrap_or_default()
    }

    fn is_blank(&self, grapheme: usize) -> bool {
        self.text(grapheme..grapheme + 1) == " "
    }

    /// The graphemes in which these bytes are.
    fn around(&self, bytes: &Range<usize>) -> Range<usize> {
        let start = self.begins.partition_point(|begin| *begin <= bytes.start).saturating_sub(1);
        start..self.begins.partition_point(|begin| *begin < bytes.end)
    }
}

/// A phrase of the query, by its number, and where it occurs, in graphemes.
struct Hit {
    phrase: usize,
    place: Range<usize>,
}

/// All occurrences, in the order in which they begin.
fn hits(line: &Graphemes<'_>, phrases: &Phrases) -> Vec<Hit> {
    let tokens: Vec<Token> = tokens(line.text).collect();
    let mut found = Vec::new();
    let mut rest = tokens.as_slice();
    while let [first, after @ ..] = rest {
        for (number, phrase) in phrases.iter().enumerate().filter(|(_, phrase)| phrase.begins(rest)) {
            let last = rest.get(phrase.words().len() - 1).unwrap_or(first);
            found.push(Hit { phrase: number, place: line.around(&(first.bytes.start..last.bytes.end)) });
        }
        rest = after;
    }
    found
}

/// The graphemes to show.
fn window(line: &Graphemes<'_>, hits: &[Hit], max: usize) -> Range<usize> {
    if line.len() <= max {
        return 0..line.len();
    }
    let core = best(hits, max);
    // As much before as after it, unless the text begins or ends there.
    let before = max.saturating_sub(core.len()) / 2;
    let start = core.start.saturating_sub(before).min(line.len() - max);
    let end = start + max;
    let blank_before = (start.saturating_sub(1)..core.start.min(start + NEAR)).find(|at| line.is_blank(*at));
    let blank_after = (core.end.max(end.saturating_sub(NEAR))..=end).rev().find(|at| line.is_blank(*at));
    let start = if start == 0 { 0 } else { blank_before.map_or(start, |blank| blank + 1) };
    let end = if end == line.len() { end } else { blank_after.unwrap_or(end) };
    start..end
}

/// From the first to the last occurrence of those that fit so many graphemes and are the best to show.
fn best(hits: &[Hit], max: usize) -> Range<usize> {
    let end_of = |hit: &Hit| hit.place.end.min(hit.place.start + max);
    let mut by_end: Vec<&Hit> = hits.iter().collect();
    by_end.sort_by_key(|hit| end_of(hit));
    let (mut entering, mut leaving) = (by_end.into_iter().peekable(), hits.iter().peekable());
    let mut tally = Tally { of_each: Vec::new(), different: 0, all: 0 };
    let (mut best, mut most, mut end) = (0..0, (0, 0), 0);
    for Hit { place, .. } in hits {
        // None is longer than the window: each enters before it leaves.
        while let Some(hit) = entering.next_if(|hit| end_of(hit) <= place.start + max) {
            tally.enter(hit.phrase);
            end = end_of(hit);
        }
        while let Some(hit) = leaving.next_if(|hit| hit.place.start < place.start) {
            tally.leave(hit.phrase);
        }
        if (tally.different, tally.all) > most {
            (best, most) = (place.start..end, (tally.different, tally.all));
        }
    }
    best
}

/// How often each phrase occurs in a window.
struct Tally {
    of_each: Vec<usize>,
    different: usize,
    all: usize,
}

impl Tally {
    fn enter(&mut self, phrase: usize) {
        if self.of_each.len() <= phrase {
            self.of_each.resize(phrase + 1, 0);
        }
        if let Some(count) = self.of_each.get_mut(phrase) {
            self.different += usize::from(*count == 0);
            self.all += 1;
            *count += 1;
        }
    }

    fn leave(&mut self, phrase: usize) {
        if let Some(count) = self.of_each.get_mut(phrase) {
            self.different -= usize::from(*count == 1);
            self.all -= 1;
            *count -= 1;
        }
    }
}

/// What of a window is to be marked.
fn merged(hits: &[Hit], window: &Range<usize>) -> Vec<Range<usize>> {
    let mut marked: Vec<Range<usize>> = Vec::new();
    for Hit { place, .. } in hits {
        let seen = place.start.max(window.start)..place.end.min(window.end);
        match marked.last_mut() {
            _ if seen.is_empty() => {}
            Some(last) if seen.start <= last.end => last.end = last.end.max(seen.end),
            _ => marked.push(seen),
        }
    }
    marked
}
