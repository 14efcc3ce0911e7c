//! The words of texts and of queries: one function for both, and for both databases.
//!
//! A word consists of letters, digits and marks only, so that none can be anything else in the query language of a database.
//!
//! Not here: how a database stores words and looks for them.

use std::{fmt, ops::Range};

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, Script},
};
use unicode_normalization::{IsNormalized, UnicodeNormalization, char::decompose_compatible, is_nfkc_quick};

/// The longest word, in characters; what follows in a longer one is ignored. A lexeme of PostgreSQL has at most 2,046 bytes.
pub const MAX_WORD: usize = 64;
/// The most words of a query; what follows is ignored.
pub const MAX_QUERY_WORDS: usize = 32;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word, as words are compared.
    pub word: String,
    /// Where it is in the text. Words that one character stands for, as `㎏` for two letters and `½` for two numbers, have
    /// the same place.
    pub bytes: Range<usize>,
}

/// The words of a text in their order. Letters and digits, with the marks that follow them, make words; everything else is a
/// gap. Each character of Han, kana, Hangul, Thai, Lao, Khmer and Myanmar is a word, for these have no blanks between words.
///
/// Words are compared without case, compatibility forms, the accents of Latin, Greek and Cyrillic letters, and characters that
/// show nothing, such as soft hyphens: `Größe` is `grosse`, `ﬁancé` is `fiance`. The marks of other scripts stay.
pub fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let mut found = Vec::new();
    each_word(text, |word, bytes| found.push(Token { word: word.to_owned(), bytes }));
    found.into_iter()
}

/// The words of a text with one blank between them.
#[must_use]
pub fn joined(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    each_word(text, |word, _| {
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(word);
    });
    all
}

/// Words that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phrase {
    words: Vec<String>,
    is_prefix: bool,
}

impl Phrase {
    /// Its words: at least one.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether its last word is the beginning of a word.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Whether a text that consists of these tokens begins with the phrase.
    #[must_use]
    pub fn begins(&self, tokens: &[Token]) -> bool {
        let Some((last, before)) = self.words.split_last() else { return false };
        let Some((begin, [token, ..])) = tokens.split_at_checked(before.len()) else { return false };
        let ends = if self.is_prefix { token.word.starts_with(last) } else { token.word == *last };
        ends && begin.iter().zip(before).all(|(token, word)| token.word == *word)
    }

    /// The phrase of a text, without what is beyond so many words.
    fn parse(text: &str, longest: usize) -> Option<Self> {
        let mut tokens: Vec<Token> = tokens(text).collect();
        let is_whole = tokens.len() <= longest;
        tokens.truncate(longest);
        let rest = tokens.last().and_then(|last| text.get(last.bytes.end..))?;
        let is_prefix = is_whole && rest.starts_with(is_star);
        Some(Self { words: tokens.into_iter().map(|token| token.word).collect(), is_prefix })
    }
}

/// A query for texts that contain all of its phrases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phrases(Vec<Phrase>);

impl Phrases {
    /// Reads what a person wrote; there is no text that it refuses.
    ///
    /// What is in double quotes, also typographic ones, is one phrase; a quote that does not end reaches to the end. Each piece
    /// between blanks outside of quotes is a phrase: most often of one word, but `foo-bar` and `照片` have two. `*` directly
    /// after the last word of a phrase, or after its quote, makes that the beginning of a word. A phrase that comes again is
    /// dropped, and so is what is beyond [`MAX_QUERY_WORDS`].
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut found = Self(Vec::new());
        let mut parts = query.split(is_double_quote).peekable();
        while let Some(outside) = parts.next() {
            for piece in outside.split_whitespace() {
                found.add(Phrase::parse(piece, found.words_left()));
            }
            if let Some(quoted) = parts.next() {
                let ends_in_star = parts.peek().is_some_and(|after| after.starts_with(is_star));
                let phrase = Phrase::parse(quoted.trim_end(), found.words_left());
                found.add(phrase.map(|phrase| Phrase { is_prefix: phrase.is_prefix || ends_in_star, ..phrase }));
            }
        }
        found
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The phrases, in the order of the query.
    pub fn iter(&self) -> std::slice::Iter<'_, Phrase> {
        self.0.iter()
    }

    /// Each word as a phrase of its own.
    #[must_use]
    pub fn words_apart(&self) -> Self {
        let mut apart = Self(Vec::new());
        for phrase in self {
            for (at, word) in phrase.words.iter().enumerate() {
                let is_prefix = phrase.is_prefix && at + 1 == phrase.words.len();
                apart.add(Some(Phrase { words: vec![word.clone()], is_prefix }));
            }
        }
        apart
    }

    fn words_left(&self) -> usize {
        MAX_QUERY_WORDS.saturating_sub(self.0.iter().map(|phrase| phrase.words.len()).sum())
    }

    fn add(&mut self, phrase: Option<Phrase>) {
        self.0.extend(phrase.filter(|phrase| !self.0.contains(phrase)));
    }
}

impl<'a> IntoIterator for &'a Phrases {
    type Item = &'a Phrase;
    type IntoIter = std::slice::Iter<'a, Phrase>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The query in its only spelling: each phrase in quotes.
impl fmt::Display for Phrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, phrase) in self.iter().enumerate() {
            let (blank, star) = (if at == 0 { "" } else { " " }, if phrase.is_prefix { "*" } else { "" });
            write!(f, "{blank}\"{}{star}\"", phrase.words.join(" "))?;
        }
        Ok(())
    }
}

fn is_star(c: char) -> bool {
    matches!(c, '*' | '＊')
}

fn is_double_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '「' | '」' | '『' | '』' | '〝' | '〞' | '〟' | '＂')
}

/// Calls `found` with each word of a text and its place.
fn each_word(text: &str, found: impl FnMut(&str, Range<usize>)) {
    let mut word = Word { text: String::new(), characters: 0, is_alone: false, bytes: 0..0, found };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let begin = text.len() - rest.len();
        // Most texts are ASCII. What follows a character can change it only if it is not ASCII.
        let is_plain = first.is_ascii() && rest.as_bytes().get(1).is_none_or(u8::is_ascii);
        let length = if is_plain { 1 } else { cluster_length(rest) };
        let Some((cluster, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        let place = begin..begin + length;
        if !is_plain {
            each_folded(cluster, |c| word.add(c, &place));
        } else if first.is_ascii_alphanumeric() {
            word.push(first.to_ascii_lowercase(), &place, false);
        } else {
            word.end();
        }
    }
    word.end();
}

/// A word in the making.
struct Word<F> {
    text: String,
    characters: usize,
    /// Only marks can follow.
    is_alone: bool,
    bytes: Range<usize>,
    found: F,
}

impl<F: FnMut(&str, Range<usize>)> Word<F> {
    fn add(&mut self, c: char, place: &Range<usize>) {
        match CodePointMapData::<GeneralCategory>::new().get(c) {
            its if GeneralCategoryGroup::Letter.union(GeneralCategoryGroup::Number).contains(its) => {
                self.push(c, place, stands_alone(c));
            }
            its if GeneralCategoryGroup::Mark.contains(its) && !self.text.is_empty() => self.append(c, place),
            _ => self.end(),
        }
    }

    /// Adds a letter or digit.
    fn push(&mut self, c: char, place: &Range<usize>, is_alone: bool) {
        if is_alone || self.is_alone {
            self.end();
            self.is_alone = is_alone;
        }
        if self.text.is_empty() {
            self.bytes.start = place.start;
        }
        self.append(c, place);
    }

    fn append(&mut self, c: char, place: &Range<usize>) {
        self.bytes.end = place.end;
        if self.characters < MAX_WORD {
            self.text.push(c);
            self.characters += 1;
        }
    }

    fn end(&mut self) {
        if !self.text.is_empty() {
            (self.found)(&self.text, self.bytes.clone());
            self.text.clear();
        }
        (self.characters, self.is_alone) = (0, false);
    }
}

/// The bytes of the first character of a text, with those that normalization can combine with it or that are dropped.
fn cluster_length(text: &str) -> usize {
    text.char_indices().skip(1).find(|(_, c)| !continues(*c)).map_or(text.len(), |(at, _)| at)
}

fn continues(c: char) -> bool {
    // The first mark is U+0300.
    if c < '\u{300}' {
        return is_dropped(c);
    }
    let mut first = None;
    decompose_compatible(c, |part| first = first.or(Some(part)));
    let first = first.unwrap_or(c);
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(first))
        || is_nfkc_quick(std::iter::once(first)) == IsNormalized::Maybe
        || is_dropped(first)
}

/// Calls `found` with each character of a cluster as it is compared.
fn each_folded(cluster: &str, mut found: impl FnMut(char)) {
    let mut lower = |c: char| match c {
        'ß' | 'ẞ' => ['s', 's'].into_iter().for_each(&mut found),
        'ς' => found('σ'),
        c => c.to_lowercase().for_each(&mut found),
    };
    let mut all = cluster.chars();
    if let (Some(only), None) = (all.next(), all.next()) {
        let (mut kept, mut count, mut dropped) = (only, 0, false);
        decompose_compatible(only, |part| {
            if is_dropped(part) {
                dropped = true;
            } else {
                (kept, count) = (part, count + 1);
            }
        });
        let is_normal = !dropped && is_nfkc_quick(std::iter::once(only)) == IsNormalized::Yes;
        match count {
            0 => return,
            1 => return lower(kept),
            _ if is_normal => return lower(only),
            _ => {}
        }
    }
    cluster.nfkd().filter(|c| !is_dropped(*c)).nfc().for_each(lower);
}

/// Accents, and what shows nothing.
fn is_dropped(c: char) -> bool {
    !c.is_ascii()
        && (matches!(c, '\u{300}'..='\u{36F}') || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c))
}

/// Whether a letter or digit is a word: it is of a script without blanks between words.
fn stands_alone(c: char) -> bool {
    // Kana and Han share the marks of length and repetition in the first blocks.
    matches!(c, '\u{3000}'..='\u{30FF}')
        || matches!(
            CodePointMapData::<Script>::new().get(c),
            Script::Han
                | Script::Hiragana
                | Script::Katakana
                | Script::Hangul
                | Script::Thai
                | Script::Lao
                | Script::Khmer
                | Script::Myanmar
        )
}
