//! Characters as words are compared by them: NFKC without accents and without what shows nothing, a cluster at a time, so that
//! each has its place in the original text.
//!
//! Not here: what is a word.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, GraphemeClusterBreak, Script},
};
use unicode_normalization::{UnicodeNormalization, char::decompose_compatible};

/// The bytes of the first character of a text, with those after it that normalization can combine with it or that are dropped.
pub(super) fn cluster_length(text: &str) -> usize {
    text.char_indices().skip(1).find(|(_, c)| !continues(*c)).map_or(text.len(), |(at, _)| at)
}

fn continues(c: char) -> bool {
    let mut first = None;
    decompose_compatible(c, |part| first = first.or(Some(part)));
    first.is_some_and(|first| is_dropped(first) || can_combine(first))
}

/// Calls `found` with each character of a cluster in NFKC, without those that are dropped.
pub(super) fn each_normal(cluster: &str, mut found: impl FnMut(char)) {
    let mut all = cluster.chars();
    // Most clusters are one character that is quickly normalized.
    if let (Some(only), None) = (all.next(), all.next()) {
        if is_hangul_syllable(only) {
            return found(only);
        }
        let (mut parts, mut is_to_compose) = (0, false);
        decompose_compatible(only, |part| {
            if !is_dropped(part) {
                is_to_compose |= parts > 0 && can_combine(part);
                parts += 1;
            }
        });
        if !is_to_compose {
            return decompose_compatible(only, |part| {
                if !is_dropped(part) {
                    found(part);
                }
            });
        }
    }
    cluster.nfkd().filter(|c| !is_dropped(*c)).nfc().for_each(found);
}

/// Accents, and what shows nothing.
fn is_dropped(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
        // All of them are of these classes, which are found much faster.
        || matches!(
            CodePointMapData::<GraphemeClusterBreak>::new().get(c),
            GraphemeClusterBreak::Control
                | GraphemeClusterBreak::Extend
                | GraphemeClusterBreak::ZWJ
                | GraphemeClusterBreak::L
                | GraphemeClusterBreak::V
        ) && CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Whether normalization can combine it with what is before it: marks, and the second and third letters of syllables.
fn can_combine(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
        || matches!(
            CodePointMapData::<GraphemeClusterBreak>::new().get(c),
            GraphemeClusterBreak::V | GraphemeClusterBreak::T
        )
}

fn is_hangul_syllable(c: char) -> bool {
    matches!(c, '\u{AC00}'..='\u{D7A3}')
}

/// Whether a letter or digit is a word: it is of a script without blanks between words.
pub(super) fn stands_alone(c: char) -> bool {
    // Kana and Han share the marks of length and repetition in these blocks.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::{IsNormalized, is_nfkc_quick};

    use super::*;

    const CLUSTERS: &str = concat!(
        "[aé\u{300}\u{323}\u{3099}\u{AD}\u{200D}カﾞｶ한ᄒ\u{1160}-\u{1163}\u{11A8}ㄱㅏ",
        "각ำน้क़क़\u{93C}\u{16D63}\u{16D67}ﷺ½ \\PC]{0,12}"
    );

    #[test]
    fn characters_are_classified_as_unicode_has_them() {
        // The planes with characters that are assigned or have a meaning.
        let all = (0..0x4_0000).chain(0xE_0000..0xE_1000).filter_map(char::from_u32);
        for c in all.filter(|c| [*c].into_iter().nfkd().eq([*c])) {
            let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c);
            assert_eq!(is_dropped(c), is_ignorable || matches!(c, '\u{300}'..='\u{36F}'), "{c:?}");
            let combines = is_nfkc_quick(std::iter::once(c)) == IsNormalized::Maybe;
            assert!(!combines || can_combine(c), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn clusters_are_normalized_like_the_text(text in CLUSTERS) {
            let (mut normal, mut rest) = (String::new(), text.as_str());
            while !rest.is_empty() {
                let (cluster, after) = rest.split_at(cluster_length(rest));
                each_normal(cluster, |c| normal.push(c));
                rest = after;
            }
            prop_assert_eq!(normal, text.nfkd().filter(|c| !is_dropped(*c)).nfc().collect::<String>());
        }
    }
}
