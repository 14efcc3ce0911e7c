//! Snippets: the part of a text that shows best why it is a hit, with the words that were found between `**`.
//!
//! Not here: which texts are hits.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::model::{phrases::Phrases, words::tokens};

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
    let tokens = tokens(line.text);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, query: &str, max: usize) -> String {
        snippet(text, &Phrases::parse(query), max)
    }

    #[test]
    fn what_was_found_is_marked() {
        for (text, query, expected) in [
            ("I left the keys", "key* left", "I **left** the **keys**"),
            ("Café, cafe\u{301} and CAFE", "cafe", "**Café**, **cafe\u{301}** and **CAFE**"),
            ("Die Größe", "GRÖSSE", "Die **Größe**"),
            ("我们开会讨论预算吧", "讨论 预算 开会", "我们**开会讨论预算**吧"),
            ("the early flight", "\"early flight\" flight", "the **early flight**"),
            ("a b a", "a", "**a** b **a**"),
            ("don't", "don't", "**don't**"),
            ("  2 * 3\n\t** 4 ", "4", "2 ∗ 3 ∗∗ **4**"),
            ("5㎏!", "kg", "5㎏!"),
            ("5 ㎏!", "kg", "5 **㎏**!"),
            ("nothing", "else", "nothing"),
            ("", "else", ""),
        ] {
            assert_eq!(shown(text, query, 160), expected, "{text:?} {query:?}");
        }
    }

    #[test]
    fn the_window_has_the_most_different_phrases_then_the_most_then_the_first() {
        let gap = " and so on".repeat(20);
        let text = format!("one one one{gap} one two{gap} two one{gap} two two one end");
        assert!(shown(&text, "one two end", 60).ends_with("**two** **two** **one** **end**"));
        assert!(shown(&text, "one two", 60).ends_with("**two** **two** **one** end"));
        assert!(shown(&text, "one", 60).starts_with("**one** **one** **one** and"));
        assert!(shown(&format!("x{gap} one{gap} one"), "one", 60).ends_with('…'));
    }

    #[test]
    fn a_cut_is_at_a_blank_that_is_near() {
        let text = "word ".repeat(100);
        assert_eq!(shown(&text, "", 22), "word word word word…");
        assert_eq!(shown(&text, "", 24), "word word word word word…");
        let text = format!("{text}found {text}");
        assert_eq!(shown(&text, "found", 22), "…word **found** word…");
        let one = "照".repeat(100);
        assert_eq!(shown(&one, "", 10), format!("{}…", "照".repeat(10)));
        assert_eq!(shown(&"x".repeat(100), "xx*", 10), format!("**{}**…", "x".repeat(10)));
    }

    #[test]
    fn a_grapheme_is_one_and_whole() {
        let family = "👨\u{200D}👩\u{200D}👧\u{200D}👦";
        assert_eq!(shown(&family.repeat(20), "", 3), format!("{}…", family.repeat(3)));
        assert_eq!(shown("क्षि क्षि", "क्षि", 160), "**क्षि** **क्षि**");
    }

    /// Texts of whole words and of pieces of graphemes.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = vec![
            "one ",
            "two ",
            "one",
            " ",
            "\n",
            "*",
            "**",
            "…",
            "照",
            "片",
            "é",
            "e\u{301}",
            "\u{301}",
            "\u{323}",
            "👨",
            "👩",
            "\u{200D}",
            "👨\u{200D}👩\u{200D}👧",
            "🇩",
            "🇪",
            "🇩🇪",
            "क",
            "्",
            "ष",
            "ि",
            "น",
            "้",
            "ำ",
            "\u{AD}",
            "\u{FE0F}",
            "ﷺ",
            "ß",
            "한",
            "\u{1161}",
            "\u{600}",
            "\u{1}",
            "\r\n",
        ];
        let piece = prop_oneof![9 => prop::sample::select(pieces).prop_map(String::from), 1 => any::<char>().prop_map(String::from)];
        prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_part_of_the_text_with_balanced_marks(text in texts(), max in 0..60_usize) {
            for query in ["one two", "\"one two\" o*", "照片 照 e", "क न ﷺ 한", "x"] {
                let shown = shown(&text, query, max);
                let parts: Vec<&str> = shown.split(MARK).collect();
                prop_assert!(parts.len() % 2 == 1, "{shown:?}");
                prop_assert!(parts.iter().skip(1).step_by(2).all(|part| !part.is_empty()));
                prop_assert!(!shown.replace(MARK, "").contains('*'));
                // The text's own ellipses are no cuts.
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('*', SHOWN_STAR);
                let bounds: Vec<usize> = line.grapheme_indices(true).map(|(at, _)| at).chain([line.len()]).collect();
                let plain = shown.replace(MARK, "");
                let (start, end) = (plain.strip_prefix(ELLIPSIS), plain.strip_suffix(ELLIPSIS));
                let both = start.and_then(|start| start.strip_suffix(ELLIPSIS));
                let is_part = |part: &str| {
                    bounds.iter().enumerate().any(|(number, at)| {
                        let end = bounds.binary_search(&(at + part.len()));
                        line[*at..].starts_with(part) && end.is_ok_and(|end| end - number <= max)
                    })
                };
                prop_assert!([Some(plain.as_str()), start, end, both].into_iter().flatten().any(is_part), "{shown:?}");
            }
        }
    }
}
