//! Signing keys: the first one signs, and all of them verify. To rotate, put a new key first, and remove the old one once
//! its last token has expired.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rustix::fs::{Access, access};
use sha2::{Digest, Sha256};
use tempfile::Builder;

/// Keys at most: a new one and the previous one.
const MAX_KEYS: usize = 2;
/// The minimal length of a key: that of the hash (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;

/// The keys of a server.
pub struct Keys {
    keys: Vec<SigningKey>,
}

/// A key, and its `kid` in tokens.
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) secret: Vec<u8>,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// A key is too short or not base64, or there are none or too many.
    #[error(
        "a signing key must be at least 32 random bytes in base64, as `openssl rand -base64 32` prints them; give one, or \
         two while you change it"
    )]
    Malformed,
    /// The same of those in a file.
    #[error(
        "the signing key in {0} cannot be used: there must be at least 32 random bytes in base64, as `openssl rand -base64 32` prints \
         them, or two such lines. Put it back; or remove the file: the next start makes a new key, and everybody has to sign in again"
    )]
    MalformedFile(String),
    /// The file cannot be read or created.
    #[error("cannot use the file of the signing key, {0}: {1}")]
    File(String, io::Error),
}

impl Keys {
    /// Parses keys, separated by lines or commas, the signing key first.
    ///
    /// # Errors
    /// [`BadKeys::Malformed`]
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let words = text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
        let keys: Option<Vec<SigningKey>> =
            words.map(|word| BASE64_STANDARD.decode(word).ok().and_then(SigningKey::new)).collect();
        let keys = keys.filter(|keys| (1..=MAX_KEYS).contains(&keys.len())).ok_or(BadKeys::Malformed)?;
        Ok(Self { keys })
    }

    /// Reads the keys from a file; `None` if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read, or has no valid keys.
    pub fn read(path: &Path) -> Result<Option<Self>, BadKeys> {
        match fs::read_to_string(path) {
            Ok(text) => {
                let malformed = |_malformed| BadKeys::MalformedFile(path.display().to_string());
                Self::parse(&text).map(Some).map_err(malformed)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BadKeys::File(path.display().to_string(), error)),
        }
    }

    /// Creates a file with a new key, readable by its owner only; or reads that of another server that was faster.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self, BadKeys> {
        let text = BASE64_STANDARD.encode(rand::random::<[u8; MIN_KEY_BYTES]>());
        if let Err(error) = create(path, &text) {
            let theirs = if error.kind() == ErrorKind::AlreadyExists { Self::read(path)? } else { None };
            return theirs.ok_or_else(|| BadKeys::File(path.display().to_string(), error));
        }
        Self::parse(&text)
    }

    /// Checks that a file could be created that does not exist, without creating it.
    ///
    /// # Errors
    /// When it could not.
    pub fn check_creatable(path: &Path) -> Result<(), BadKeys> {
        let folder = folder_of(path);
        let checked = if path.is_symlink() {
            Err(io::Error::other("it is a link to a file that is not there"))
        } else if folder.is_dir() {
            access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        } else {
            Err(io::Error::other(format!("there is no folder {}", folder.display())))
        };
        checked.map_err(|error| BadKeys::File(path.display().to_string(), error))
    }

    /// The ids of the keys, as in the `kid` of tokens, that of the signing key first.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }

    /// The signing key.
    pub(super) fn signing(&self) -> Option<&SigningKey> {
        self.keys.first()
    }

    pub(super) fn all(&self) -> &[SigningKey] {
        &self.keys
    }
}

impl SigningKey {
    fn new(secret: Vec<u8>) -> Option<Self> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&secret)).chars().take(8).collect();
        (secret.len() >= MIN_KEY_BYTES).then_some(Self { id, secret })
    }
}

/// The file has its name only once it is whole and on the disk: one that is empty would keep every server from starting.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let folder = folder_of(path);
    let mut part = Builder::new().prefix(".duologue-key-").suffix(".part").tempfile_in(folder)?;
    writeln!(part, "{text}")?;
    part.as_file().sync_all()?;
    part.persist_noclobber(path)?;
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
