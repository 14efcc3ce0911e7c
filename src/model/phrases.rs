//! What a person looks for: words, and words that follow each other.
//!
//! Not here: how a database is asked for them.

use crate::model::words::{Token, tokens};

/// The most words of a query; what follows is ignored.
pub const MAX_QUERY_WORDS: usize = 32;

/// The most beginnings of words of a query: a database reads the lists of all words that begin so.
const MAX_PREFIXES: usize = 4;

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

    /// Where in a text that consists of these tokens the phrase is.
    pub fn places(&self, tokens: &[Token]) -> impl Iterator<Item = usize> {
        (0..tokens.len()).filter(|at| tokens.get(*at..).is_some_and(|rest| self.begins(rest)))
    }

    /// The phrase of a text, without what is beyond so many words.
    fn parse(text: &str, longest: usize) -> Option<Self> {
        let mut tokens = tokens(text);
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
    /// after the last word of a phrase, or after its quote, makes that the beginning of a word: of the first four that have one, and of
    /// two characters or more. A phrase that comes again is dropped, and so is what is beyond [`MAX_QUERY_WORDS`].
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut found = Self(Vec::new());
        let mut parts = query.split(is_double_quote).peekable();
        while let Some(outside) = parts.next() {
            for piece in outside.split_whitespace() {
                found.add(Phrase::parse(piece, found.words_left()));
            }
            if let Some(quoted) = parts.next() {
                let has_star = parts.peek().is_some_and(|after| after.starts_with(is_star));
                let text = format!("{}{}", quoted.trim_end(), if has_star { "*" } else { "" });
                found.add(Phrase::parse(&text, found.words_left()));
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

    /// Whether a text has all of the phrases.
    #[must_use]
    pub fn are_in(&self, text: &str) -> bool {
        let tokens = tokens(text);
        self.iter().all(|phrase| phrase.places(&tokens).next().is_some())
    }

    /// The phrases whose words are whole.
    #[must_use]
    pub fn without_prefixes(&self) -> Self {
        Self(self.iter().filter(|phrase| !phrase.is_prefix).cloned().collect())
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
        let Some(mut phrase) = phrase else { return };
        // So many words begin with one character that a database would read much of its index.
        phrase.is_prefix &= phrase.words.last().is_some_and(|word| word.chars().nth(1).is_some());
        phrase.is_prefix &= self.0.iter().filter(|its| its.is_prefix).count() < MAX_PREFIXES;
        if !self.0.contains(&phrase) {
            self.0.push(phrase);
        }
    }
}

impl<'a> IntoIterator for &'a Phrases {
    type Item = &'a Phrase;
    type IntoIter = std::slice::Iter<'a, Phrase>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn is_star(c: char) -> bool {
    matches!(c, '*' | '＊')
}

fn is_double_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '「' | '」' | '『' | '』' | '〝' | '〞' | '〟' | '＂')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Phrases as tests write them: words of one phrase with `+` between them.
    fn shown(phrases: &Phrases) -> String {
        let shown = |phrase: &Phrase| phrase.words().join("+") + if phrase.is_prefix() { "*" } else { "" };
        phrases.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn parsed(query: &str) -> String {
        shown(&Phrases::parse(query))
    }

    #[test]
    fn quotes_make_phrases_and_a_star_a_prefix() {
        for (query, expected) in [
            ("early flight", "early flight"),
            ("\"early flight\" lisbon", "early+flight lisbon"),
            ("„früher Flug“ «a b» 「照片」 “open end", "fruher+flug a+b 照+片 open+end"),
            ("don't foo-bar rfc0052 rfc-0052", "don+t foo+bar rfc0052 rfc+0052"),
            ("fli* foo-bar* \"early fli*\" \"late fli\"* \"open en*", "fli* foo+bar* early+fli* late+fli* open+en"),
            ("* a * ** \"*\" \"\" \"\"* b", "a b"),
            ("foo*bar foo,*", "foo+bar foo"),
            ("a A á \"a\" ab*", "a ab*"),
            ("a* \"early f\"* ab*", "a early+f ab*"),
            ("who:1 NEAR(x) -y OR ' & | ! <-> \\", "who+1 near+x y or"),
        ] {
            assert_eq!(parsed(query), expected, "{query:?}");
        }
        assert!(Phrases::parse(" \"\" … ").is_empty());
    }

    #[test]
    fn a_query_has_at_most_32_words() {
        let many: Vec<String> = (0..50).map(|number| format!("w{number}")).collect();
        assert_eq!(Phrases::parse(&many.join(" ")).iter().count(), MAX_QUERY_WORDS);
        let cut = Phrases::parse(&format!("x \"{}*\" y", many.join(" ")));
        let longest = cut.iter().last().unwrap();
        assert_eq!((longest.words().len(), longest.is_prefix()), (MAX_QUERY_WORDS - 1, false));
        assert!(!Phrases::parse(&format!("\"{}\"*", many.join(" "))).iter().any(Phrase::is_prefix));
    }

    #[test]
    fn words_apart_are_phrases_of_one_word() {
        let apart = Phrases::parse("\"early fli*\" early fli foo-bar").words_apart();
        assert_eq!(shown(&apart), "early fli* fli foo bar");
    }

    #[test]
    fn equal_queries_have_one_spelling() {
        assert_eq!(parsed(" Früh  „Der Flug“ FRUH fli*"), "fruh der+flug fli*");
        assert_eq!(parsed(""), "");
    }

    #[test]
    fn a_phrase_begins_a_text_with_its_words_in_order() {
        let begins = |query: &str, text: &str| {
            let all = tokens(text);
            Phrases::parse(query).iter().all(|phrase| phrase.begins(&all))
        };
        assert!(begins("\"early fl*\"", "Early flight"));
        assert!(!begins("\"early fl\"", "Early flight"));
        assert!(!begins("\"early flight\"", "flight, early"));
        assert!(!begins("\"early flight\"", "early"));
        assert!(!begins("a", ""));
    }

    proptest! {
        #[test]
        fn a_query_is_read_again_as_it_is_shown(query in "[aß照한ำ1½\u{301}\u{AD}\"“*＊「」'\\\\:() \\PC]{0,60}") {
            let phrases = Phrases::parse(&query);
            prop_assert!(phrases.iter().map(|phrase| phrase.words().len()).sum::<usize>() <= MAX_QUERY_WORDS);
            prop_assert_eq!(Phrases::parse(&shown(&phrases)), phrases);
        }
    }
}
