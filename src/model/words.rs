//! The words of texts: one function for messages and queries, and for both databases.
//!
//! A word consists of letters, digits and marks only, so that none can be anything else in the query language of a database.
//!
//! Not here: how a database stores words and looks for them.

use std::ops::Range;

use icu_properties::{
    CodePointMapData,
    props::{GeneralCategory, GeneralCategoryGroup},
};

use crate::model::characters::{cluster_length, each_normal, stands_alone};

/// Changes with [`tokens`]: what was indexed before is indexed again. For the names of users it takes a migration that rewrites the words
/// in `name_words`.
pub const VERSION: i32 = 2;
/// The longest word, in characters; what follows in a longer one is ignored. A lexeme of PostgreSQL has at most 2,046 bytes.
pub const MAX_WORD: usize = 64;

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
/// Words are compared without case, compatibility forms, the accents of Latin, Greek and Cyrillic letters, the strokes and ligatures of
/// the usual Latin ones, and characters that show nothing, such as soft hyphens: `Größe` is `grosse`, `ﬁancé` is `fiance`, `Øyvind` is
/// `oyvind`. The marks of other scripts stay.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    each_word(text, |word, bytes| found.push(Token { word: word.to_owned(), bytes }));
    found
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
            each_normal(cluster, |c| word.add(c, &place));
        } else if first.is_ascii_alphanumeric() {
            word.push(first.to_ascii_lowercase(), &place, false);
        } else {
            word.end();
        }
    }
    word.end();
}

/// What a letter is compared as that Unicode does not decompose: one with a stroke, a ligature, and other forms of a letter.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' | 'ẞ' => "ss",
        'ς' => "σ",
        'ı' => "i",
        'ø' | 'Ø' => "o",
        'ł' | 'Ł' => "l",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'ħ' | 'Ħ' => "h",
        'ŧ' | 'Ŧ' => "t",
        'þ' | 'Þ' => "th",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        _ => return None,
    })
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
        match (plain(c), CodePointMapData::<GeneralCategory>::new().get(c)) {
            (Some(plain), _) => plain.chars().for_each(|c| self.push(c, place, false)),
            (_, GeneralCategory::UppercaseLetter | GeneralCategory::TitlecaseLetter) => {
                c.to_lowercase().for_each(|c| self.push(c, place, false));
            }
            (_, its) if GeneralCategoryGroup::Letter.contains(its) || GeneralCategoryGroup::Number.contains(its) => {
                self.push(c, place, stands_alone(c));
            }
            (_, its) if GeneralCategoryGroup::Mark.contains(its) && !self.text.is_empty() => self.append(c, place),
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

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|token| token.word).collect()
    }

    fn of(text: &str) -> String {
        words(text).join(" ")
    }

    #[test]
    fn letters_and_digits_make_words_and_all_else_is_a_gap() {
        for (text, expected) in [
            ("Don't foo-bar_2, rfc0052!", "don t foo bar 2 rfc0052"),
            ("a\0b\\c\"d'e:f(g)h*i^j", "a b c d e f g h i j"),
            ("", ""),
            ("👨\u{200D}👩\u{200D}👧 🇩🇪 ❤\u{FE0F} …", ""),
            ("1\u{FE0F}\u{20E3}", "1\u{20E3}"),
        ] {
            assert_eq!(of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_are_compared_without_case_accents_and_forms() {
        for (text, expected) in [
            ("GRÖSSE Größe größe GRÖẞE gro\u{308}ße", "grosse grosse grosse grosse grosse"),
            ("Σίσυφος ΣΊΣΥΦΟΣ", "σισυφοσ σισυφοσ"),
            ("Ёлка Йод", "елка иод"),
            ("İstanbul ISTANBUL Işık IŞIK ışık", "istanbul istanbul isik isik isik"),
            ("Øre Łódź Đorđe Ðór Ħal Ŧ Þór", "ore lodz dorde dor hal t thor"),
            ("ǾRE Æble ǽ Œuvre", "ore aeble ae oeuvre"),
            ("ﬁancé ＡＢＣ１２ ① ½ ㎏ Ⅳ", "fiance abc12 1 1 2 kg iv"),
            ("soft\u{AD}ly می\u{200C}خواهم", "softly میخواهم"),
        ] {
            assert_eq!(of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn marks_of_other_scripts_stay() {
        assert_eq!(of("हिन्दी में"), "हिन्दी में");
        assert_eq!(of("น้ำ"), "น\u{E49}\u{E4D} า");
        assert_eq!(of("َa َ"), "a");
        assert_ne!(of("が"), of("か"));
    }

    #[test]
    fn characters_of_scripts_without_blanks_stand_alone() {
        for (text, expected) in [
            ("讨论2026年API", "讨 论 2026 年 api"),
            ("ラーメンを", "ラ ー メ ン を"),
            ("ﾗｰﾒﾝ ｶﾞ ガ カ\u{3099}", "ラ ー メ ン ガ ガ ガ"),
            ("한글 \u{1112}\u{1161}\u{11AB}", "한 글 한"),
            ("ㅋㅋ", "\u{110F} \u{110F}"),
            ("ကခ ກຂ កខ", "က ခ ກ ຂ ក ខ"),
            ("葛\u{E0100}〇々", "葛 〇 々"),
        ] {
            assert_eq!(of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_word_is_cut_and_its_place_is_not() {
        let long = format!("x {} y", "é".repeat(1_000));
        let all = tokens(&long);
        assert_eq!(all[1], Token { word: "e".repeat(MAX_WORD), bytes: 2..2_002 });
        assert_eq!(all[2].bytes, 2_003..2_004);
        let marks = format!("ก{}", "\u{E38}".repeat(1_000));
        assert_eq!(words(&marks)[0].chars().count(), MAX_WORD);
    }

    #[test]
    fn a_place_is_in_the_original_text() {
        let text = "…Cafe\u{301}s, ㎏";
        let places: Vec<&str> = tokens(text).into_iter().map(|token| &text[token.bytes]).collect();
        assert_eq!(places, ["Cafe\u{301}s", "㎏"]);
    }

    /// Texts of characters that are likely to matter, and of any.
    fn texts() -> impl Strategy<Value = String> {
        let likely: Vec<char> = concat!(
            "aZß İıøŁÆœς1²½㎏ﬁﷺéöй*\"“”„'’\\:()\0\u{AD}\u{200B}\u{200D}\u{FE0F}\u{301}\u{308}\u{323}\u{94D}",
            "\u{93F}क照片ガｶﾞ\u{3099}ー한\u{1112}\u{1161}\u{11AB}\u{1160}ㅋㅏน้ำ\u{E33}👨👩🇩🇪\u{16D63}\u{16D67}"
        )
        .chars()
        .collect();
        let c = prop_oneof![4 => prop::sample::select(likely), 1 => any::<char>()];
        prop::collection::vec(c, 0..40).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_word_has_only_letters_digits_and_marks(text in texts()) {
            for Token { word, bytes } in tokens(&text) {
                let is_word = |c: char| {
                    let its = CodePointMapData::<GeneralCategory>::new().get(c);
                    [GeneralCategoryGroup::Letter, GeneralCategoryGroup::Number, GeneralCategoryGroup::Mark]
                        .into_iter()
                        .any(|group| group.contains(its))
                };
                prop_assert!(word.chars().all(is_word), "{word:?}");
                prop_assert!((1..=MAX_WORD).contains(&word.chars().count()));
                prop_assert!(!text[bytes].is_empty());
            }
        }

        #[test]
        fn words_do_not_depend_on_the_form_of_the_text(text in texts()) {
            let expected = words(&text);
            prop_assert_eq!(&words(&text.nfc().collect::<String>()), &expected);
            prop_assert_eq!(&words(&text.nfd().collect::<String>()), &expected);
            prop_assert_eq!(&words(&expected.join(" ")), &expected);
            prop_assert_eq!(joined(&text), expected.join(" "));
        }
    }
}
