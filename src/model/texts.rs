//! Texts that people write, valid by construction: once input is parsed, only these types are used.
//!
//! Lengths are in characters (Unicode scalar values). NUL is refused everywhere: PostgreSQL cannot store it, and both
//! databases must answer alike. Names are shown beside other texts, and on terminals: they have nothing in them that would
//! change how those look. What is stored is not validated again.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{BidiClass, DefaultIgnorableCodePoint, GeneralCategory, WhiteSpace},
};
use unicode_normalization::UnicodeNormalization;

/// The longest text of a message, in characters.
pub const MAX_CONTENT: usize = 10_000;
/// Characters around the content of a message, all blank, at most.
const MAX_BLANKS: usize = 1_000;
/// The longest name of a user, in characters.
pub const MAX_NAME: usize = 100;
const MAX_EMAIL: usize = 254;
const MAX_CLIENT_ID: usize = 128;
const MIN_PASSWORD: usize = 12;
const MAX_PASSWORD: usize = 256;
const MAX_DEVICE: usize = 100;

/// Ends an embedding or an override.
const POP_DIRECTIONAL_FORMATTING: char = '\u{202C}';
/// Ends an isolate.
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// Why a text was refused, with a sentence for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Empty, blank, or with something in it that cannot be there.
    #[error("{0}")]
    Invalid(String),
    /// Longer than its limit.
    #[error("{0}")]
    TooLong(String),
}

/// The text of a message: 1 to 10,000 characters without the blanks around it, of which it may have 1,000 more; kept as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(String);

/// The name of a user: 1 to 100 characters, kept as it was sent. It is one line, something of it can be seen, and what
/// changes the direction of writing in it ends in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(String);

/// An email address: 3 to 254 characters around one `@`, of which all can be seen. Of ASCII it has what addresses may have
/// without quotes (`atext` and dots, <https://www.rfc-editor.org/rfc/rfc5322#section-3.2.3>), and any other letters, marks,
/// numbers and signs (<https://www.rfc-editor.org/rfc/rfc6531#section-3.3>).
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// The id that a client chose for its message: 1 to 128 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientId(String);

/// A password: 12 to 256 characters of any kind, kept as it was sent. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// What a client calls its device: 1 to 100 characters, of the same kinds as in a [`Name`].
#[derive(Clone, PartialEq, Eq)]
pub struct Device(String);

impl Content {
    /// Takes the text as it is.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
        not_longer("content with the blanks around it", &text, MAX_CONTENT + MAX_BLANKS)?;
        Self::of_message(text)
    }

    /// A text that may be that of a message, also of one that an earlier version took and that would be refused now.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it: then no message has it.
    pub fn of_message(text: String) -> Result<Self, BadText> {
        not_blank("content", &text)?;
        not_longer("content", text.trim_matches(is_blank), MAX_CONTENT)?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Name {
    /// Takes the name as it is.
    ///
    /// # Errors
    /// When it is blank or too long, or has something in it that a name cannot have.
    pub fn parse(text: String) -> Result<Self, BadText> {
        no_control("name", &text)?;
        ends_its_directions("name", &text)?;
        Self::of_account(text)
    }

    /// A name that may be that of an account, also of one that an earlier version made and that would be refused now.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it: then no account has it.
    pub fn of_account(text: String) -> Result<Self, BadText> {
        no_nul("name", &text)?;
        not_blank("name", &text)?;
        not_longer("name", &text, MAX_NAME)?;
        Ok(Self(text))
    }

    /// What names are compared by: [`folded`].
    #[must_use]
    pub fn key(&self) -> String {
        folded(&self.0)
    }
}

impl Email {
    /// Takes the address without the blanks around it.
    ///
    /// # Errors
    /// When it does not look like `name@host`, is too long, or has characters in it that an address cannot have.
    pub fn parse(text: &str) -> Result<Self, BadText> {
        let text = text.trim();
        let two_parts = text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        if !two_parts {
            not_blank("email", text)?;
            return invalid("The email must look like name@example.com, without blanks.".into());
        }
        if let Some(wrong) = text.chars().find(|c| *c != '@' && !may_be_in_address(*c)) {
            return invalid(format!("The email may not contain the character {}: leave it out.", shown(wrong)));
        }
        Self::of_account(text)
    }

    /// An address that may be that of an account, also of one that an earlier version made and that would be refused now.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it: then no account has it.
    pub fn of_account(text: &str) -> Result<Self, BadText> {
        let text = text.trim();
        not_blank("email", text)?;
        not_longer("email", text, MAX_EMAIL)?;
        Ok(Self(text.into()))
    }

    /// What addresses are compared by: [`folded`]. One key, one account.
    #[must_use]
    pub fn key(&self) -> String {
        folded(&self.0)
    }
}

impl ClientId {
    /// Takes the id as it is.
    ///
    /// # Errors
    /// When it is blank, too long or has a control character in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
        no_control("clientId", &text)?;
        Self::of_message(text)
    }

    /// An id that may be that of a message, also of one that an earlier version accepted and that would be refused now.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it: then no message has it.
    pub fn of_message(text: String) -> Result<Self, BadText> {
        no_nul("clientId", &text)?;
        not_blank("clientId", &text)?;
        not_longer("clientId", &text, MAX_CLIENT_ID)?;
        Ok(Self(text))
    }
}

impl Password {
    /// Takes the password as it is.
    ///
    /// # Errors
    /// When it is too short, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
        no_nul("password", &text)?;
        if text.chars().count() < MIN_PASSWORD {
            return invalid(format!("The password must have at least {MIN_PASSWORD} characters."));
        }
        not_longer("password", &text, MAX_PASSWORD)?;
        Ok(Self(text))
    }
}

impl Device {
    /// Takes the name as it is.
    ///
    /// # Errors
    /// As for a [`Name`].
    pub fn parse(text: String) -> Result<Self, BadText> {
        no_control("device", &text)?;
        not_blank("device", &text)?;
        not_longer("device", &text, MAX_DEVICE)?;
        ends_its_directions("device", &text)?;
        Ok(Self(text))
    }
}

/// A text of the type, as it is kept.
macro_rules! as_str {
    ($($Text:ident),*) => { $(
        impl $Text {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )* };
}
as_str!(Content, Name, Email, ClientId, Password, Device);

/// The form in which names and addresses are compared: trimmed, NFC, lower case.
#[must_use]
pub fn folded(text: &str) -> String {
    text.trim().nfc().collect::<String>().to_lowercase().nfc().collect()
}

/// Whether a text has the sign of addresses, in any of its forms.
#[must_use]
pub fn has_at_sign(text: &str) -> bool {
    text.nfkc().any(|c| c == '@')
}

fn invalid<T>(why: String) -> Result<T, BadText> {
    Err(BadText::Invalid(why))
}

/// A character that may not be visible, for people.
fn shown(c: char) -> String {
    if c.is_ascii_graphic() { format!("`{c}`") } else { format!("U+{:04X}", u32::from(c)) }
}

fn no_nul(what: &str, text: &str) -> Result<(), BadText> {
    if text.contains('\0') {
        return invalid(format!("The {what} may not contain the character U+0000."));
    }
    Ok(())
}

fn not_blank(what: &str, text: &str) -> Result<(), BadText> {
    no_nul(what, text)?;
    if text.chars().all(is_blank) {
        return invalid(format!("The {what} must not be empty or blank."));
    }
    Ok(())
}

/// Without control characters, and without what ends a line or a paragraph.
fn no_control(what: &str, text: &str) -> Result<(), BadText> {
    match text.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        Some(wrong) => {
            invalid(format!("The {what} may not contain the control character {}: leave it out.", shown(wrong)))
        }
        None => Ok(()),
    }
}

/// Each embedding, override and isolate ends in the text, the innermost first, and nothing ends that did not begin in it
/// (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>): what follows the text keeps its own direction.
fn ends_its_directions(what: &str, text: &str) -> Result<(), BadText> {
    let mut open: Vec<(char, char)> = Vec::new();
    for c in text.chars() {
        match CodePointMapData::<BidiClass>::new().get(c) {
            BidiClass::LeftToRightEmbedding
            | BidiClass::RightToLeftEmbedding
            | BidiClass::LeftToRightOverride
            | BidiClass::RightToLeftOverride => open.push((c, POP_DIRECTIONAL_FORMATTING)),
            BidiClass::LeftToRightIsolate | BidiClass::RightToLeftIsolate | BidiClass::FirstStrongIsolate => {
                open.push((c, POP_DIRECTIONAL_ISOLATE));
            }
            BidiClass::PopDirectionalFormat | BidiClass::PopDirectionalIsolate
                if open.pop_if(|(_, end)| *end == c).is_none() =>
            {
                return invalid(format!(
                    "The {what} contains the character {}, which ends a direction of writing that did not begin before it: \
                     leave it out.",
                    shown(c)
                ));
            }
            _ => {}
        }
    }
    match open.pop() {
        Some((begin, end)) => invalid(format!(
            "The {what} contains the character {}, which changes the direction of writing: leave it out, or end it with {}.",
            shown(begin),
            shown(end)
        )),
        None => Ok(()),
    }
}

/// Whether a character may be in an address, besides the `@`: no control or format character, none that is not assigned
/// or private, and none that shows nothing.
fn may_be_in_address(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_hidden = matches!(
        category,
        GeneralCategory::Control | GeneralCategory::Format | GeneralCategory::PrivateUse | GeneralCategory::Unassigned
    );
    !is_hidden && !is_blank(c)
}

fn not_longer(what: &str, text: &str, longest: usize) -> Result<(), BadText> {
    if text.chars().count() > longest {
        return Err(BadText::TooLong(format!("The {what} may have at most {longest} characters.")));
    }
    Ok(())
}

/// White space, what Unicode says to show nothing for, and the Braille pattern without dots.
fn is_blank(c: char) -> bool {
    CodePointSetData::new::<WhiteSpace>().contains(c)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || c == '\u{2800}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_judged_without_the_blanks_around_it_and_kept_with_them() {
        let longest = format!(" {} ", "é".repeat(MAX_CONTENT));
        assert_eq!(Content::parse(longest.clone()).map(|c| c.0), Ok(longest));
        assert!(matches!(Content::parse("a".repeat(MAX_CONTENT + 1)), Err(BadText::TooLong(_))));
        let padded = format!("a{}", " ".repeat(MAX_CONTENT + MAX_BLANKS));
        assert!(matches!(Content::parse(padded.clone()), Err(BadText::TooLong(_))));
        assert!(Content::of_message(padded).is_ok());
        for text in ["", " \n\t", "\u{3000}\u{A0}", "\u{200B}\u{FEFF}", "a\0b"] {
            assert!(matches!(Content::parse(text.into()), Err(BadText::Invalid(_))), "{text:?}");
        }
    }

    #[test]
    fn one_address_has_one_key() {
        let keys = ["ADA@example.com", " ada@EXAMPLE.com\n", "ada@example.com"]
            .map(|text| Email::parse(text).map(|email| email.key()));
        assert_eq!(keys, ["ada@example.com"; 3].map(|key| Ok(key.to_owned())));
        assert_eq!(Email::parse("e\u{301}@x").map(|e| e.key()), Email::parse("É@x").map(|e| e.key()));
        for text in
            ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\u{1}", "\"a\"@b", "<a@b>", "a,b@c", "a@b\u{202E}c"]
        {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        for text in
            ["o'brien+x@example.com", "{a|b}!#$%&*-/=?^_`~.c@d-e", "用户@例子.广告", "ಬೆಂಬಲ@ಡೇಟಾಮೇಲ್.ಭಾರತ", "e\u{301}@x"]
        {
            assert!(Email::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_direction_ends_in_the_name_in_which_it_begins() {
        for name in ["\u{202B}a\u{202C}", "\u{2067}\u{202E}a\u{202C}\u{2069}b", "\u{2068}\u{2069}a", "\u{200F}a\u{61C}"]
        {
            assert!(Name::parse(name.into()).is_ok(), "{name:?}");
        }
        for name in
            ["\u{202E}a", "a\u{202C}", "a\u{2069}\u{2066}", "\u{2066}a\u{202C}", "\u{2066}\u{202A}a\u{2069}\u{202C}"]
        {
            assert!(Name::parse(name.into()).is_err(), "{name:?}");
        }
        let why = Name::parse("a\u{202E}b".into()).err().map(|why| why.to_string());
        let expected = "The name contains the character U+202E, which changes the direction of writing: leave it out, or end \
                        it with U+202C.";
        assert_eq!(why.as_deref(), Some(expected));
    }
}
