//! The keys that sign tokens: the first signs, and all of them hold. So a key is changed by putting a new one before it, and
//! taking the old one away once its last token has ended.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use sha2::{Digest, Sha256};

/// Keys at most: a new one and the one before it.
const MOST: usize = 2;
/// Bytes of a key at least: as many as the hash has (RFC 7518, 3.2).
const LENGTH: usize = 32;

/// The keys of a server.
pub struct Keys {
    keys: Vec<Key>,
}

/// A key, and its name in tokens.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: Vec<u8>,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// One is too short, or not base64, or there are none or too many.
    #[error(
        "a signing key must be at least 32 random bytes in base64, as `openssl rand -base64 32` prints them; give one, or \
         two while you change it"
    )]
    Malformed,
    /// The file cannot be read or made.
    #[error("cannot use the file of the signing key, {0}: {1}")]
    File(String, io::Error),
}

impl Keys {
    /// Reads keys, one on a line or between commas, the one that signs first.
    ///
    /// # Errors
    /// [`BadKeys::Malformed`]
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let words = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
        let keys: Option<Vec<Key>> = words.map(|word| BASE64_STANDARD.decode(word).ok().and_then(Key::new)).collect();
        let keys = keys.filter(|keys| (1..=MOST).contains(&keys.len())).ok_or(BadKeys::Malformed)?;
        Ok(Self { keys })
    }

    /// Reads the keys from a file; makes it with a new key, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// When it cannot be read or made, or has no keys in it.
    pub fn read_or_make(path: &Path) -> Result<Self, BadKeys> {
        let failed = |error| BadKeys::File(path.display().to_string(), error);
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = BASE64_STANDARD.encode(rand::random::<[u8; LENGTH]>());
                make(path, &text).map_err(failed)?;
                Self::parse(&text)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key that signs.
    pub(super) fn newest(&self) -> Option<&Key> {
        self.keys.first()
    }

    pub(super) fn all(&self) -> &[Key] {
        &self.keys
    }
}

impl Key {
    fn new(secret: Vec<u8>) -> Option<Self> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&secret)).chars().take(8).collect();
        (secret.len() >= LENGTH).then_some(Self { id, secret })
    }
}

fn make(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
