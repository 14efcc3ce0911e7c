//! Texts that people write, valid by construction: below the door only these exist.
//!
//! Lengths are in characters (Unicode scalar values). NUL is
//! refused everywhere: PostgreSQL cannot store it, and both databases must answer alike.

use unicode_normalization::UnicodeNormalization;

/// The longest text of a message, in characters.
pub const MAX_CONTENT: usize = 10_000;
/// The longest name of a user, in characters.
pub const MAX_NAME: usize = 100;
const MAX_EMAIL: usize = 254;
const MAX_CLIENT_ID: usize = 128;
const MIN_PASSWORD: usize = 12;
const MAX_PASSWORD: usize = 256;
const MAX_DEVICE: usize = 100;

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

/// The text of a message: 1 to 10,000 characters without the blanks around it, kept as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(String);

/// The name of a user: 1 to 100 characters, kept as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(String);

/// An email address: 3 to 254 characters around one `@`, without blanks.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// The id that a client chose for its message: 1 to 128 characters.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientId(String);

/// A password: 12 to 256 characters of any kind, kept as it was sent. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// What a client calls its device: 1 to 100 characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Device(String);

impl Content {
    /// Takes the text as it is.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
        not_blank("content", &text)?;
        not_longer("content", text.trim_matches(is_blank), MAX_CONTENT)?;
        Ok(Self(text))
    }
}

impl Name {
    /// Takes the name as it is.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
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
    /// When it does not look like `name@host`, is too long, or has blanks or control characters in it.
    pub fn parse(text: &str) -> Result<Self, BadText> {
        let text = text.trim();
        not_blank("email", text)?;
        not_longer("email", text, MAX_EMAIL)?;
        let two_parts = text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        if !two_parts || text.chars().any(|c| is_blank(c) || c.is_control()) {
            let message = "The email must look like name@example.com, without blanks.";
            return Err(BadText::Invalid(message.into()));
        }
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
    /// When it is blank, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
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
        if text.contains('\0') {
            return Err(BadText::Invalid("The password may not contain the character U+0000.".into()));
        }
        if text.chars().count() < MIN_PASSWORD {
            return Err(BadText::Invalid(format!("The password must have at least {MIN_PASSWORD} characters.")));
        }
        not_longer("password", &text, MAX_PASSWORD)?;
        Ok(Self(text))
    }
}

impl Device {
    /// Takes the name as it is.
    ///
    /// # Errors
    /// When it is blank, too long or has a NUL in it.
    pub fn parse(text: String) -> Result<Self, BadText> {
        not_blank("device", &text)?;
        not_longer("device", &text, MAX_DEVICE)?;
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

fn not_blank(what: &str, text: &str) -> Result<(), BadText> {
    if text.contains('\0') {
        return Err(BadText::Invalid(format!("The {what} may not contain the character U+0000.")));
    }
    if text.chars().all(is_blank) {
        return Err(BadText::Invalid(format!("The {what} must not be empty or blank.")));
    }
    Ok(())
}

fn not_longer(what: &str, text: &str, longest: usize) -> Result<(), BadText> {
    if text.chars().count() > longest {
        return Err(BadText::TooLong(format!("The {what} may have at most {longest} characters.")));
    }
    Ok(())
}

/// White space (the Unicode property), and the characters that show nothing although they are not white space:
/// soft hyphen, Hangul fillers, zero-width characters and marks, word joiner, Braille blank, byte-order mark.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{AD}' | '\u{115F}' | '\u{1160}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}'
                | '\u{2800}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_judged_without_the_blanks_around_it_and_kept_with_them() {
        let longest = format!(" {} ", "é".repeat(MAX_CONTENT));
        assert_eq!(Content::parse(longest.clone()).map(|c| c.0), Ok(longest));
        assert!(matches!(Content::parse("a".repeat(MAX_CONTENT + 1)), Err(BadText::TooLong(_))));
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
        for text in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\u{1}"] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }
}
