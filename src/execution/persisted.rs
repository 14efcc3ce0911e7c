//! Documents that need not be sent. A client may name one by the SHA-256 of its text, and send the text only when it is
//! asked for (Apollo's automatic persisted queries, <https://www.apollographql.com/docs/apollo-server/performance/apq>).
//! And a server may have a list of documents that it trusts: then it runs no others.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{ByteCache, Code, Error, Request};

/// Bytes of the texts that are cached, at most; of one text, a sixteenth.
const CACHED_BYTES: u64 = 512 * 1024;

/// Why there is no list of trusted documents: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BadDocuments {
    /// The file is not there.
    #[error("cannot read the trusted documents in {0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// The file has something else in it.
    #[error(
        "{0} is no list of trusted documents ({1}): it must be a JSON object of ids and texts, or a manifest of Apollo's"
    )]
    Malformed(PathBuf, serde_json::Error),
}

/// The files that tools for clients make: an object of ids and texts, or Apollo's manifest.
#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    Apollo { operations: Vec<Operation> },
    Plain(HashMap<String, String>),
}

#[derive(Deserialize)]
struct Operation {
    id: String,
    body: String,
}

/// What is known of documents that may not be sent along.
pub struct Persisted {
    /// Those that clients have sent and that fit the schema, by their hashes.
    sent: ByteCache<String, Arc<str>>,
    trusted: Option<Trusted>,
}

/// The documents of the list.
struct Trusted {
    by_id: HashMap<String, String>,
    texts: HashSet<String>,
}

impl Persisted {
    /// With a list of trusted documents, if there is to be one.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn open(list: Option<&Path>) -> Result<Self, BadDocuments> {
        let trusted = list.map(Trusted::read).transpose()?;
        Ok(Self { sent: ByteCache::new(CACHED_BYTES), trusted })
    }

    /// The text of the document that a request is about, if it is known, trusted, and the one that its hash says.
    pub(super) fn text<'a>(&'a self, request: &'a Request) -> Result<Cow<'a, str>, Error> {
        let bad = |why| Error::new(Code::BadRequest, why);
        // Libraries that cannot leave the text out, such as graphql-ws, send an empty one beside the hash.
        let text = request.query.as_deref().filter(|text| !text.is_empty() || request.hash.is_none());
        let hash = request.hash.as_ref().map(|hash| hash.as_deref().map_err(|why| bad(*why))).transpose()?;
        let not_found = || Error::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound");
        if let Some(trusted) = &self.trusted {
            return match (text, hash.and_then(|hash| trusted.by_id.get(hash))) {
                (Some(text), Some(its)) if text != its => Err(bad("`query` is not the document with this id.")),
                (_, Some(text)) => Ok(text.into()),
                (Some(text), None) if trusted.texts.contains(text) => Ok(text.into()),
                (None, None) => Err(not_found()),
                (Some(_), None) => {
                    let why = "This server runs only the documents of its own list, and this is none of them.";
                    Err(Error::new(Code::Forbidden, why))
                }
            };
        }
        match (text, hash) {
            (Some(text), None) => Ok(text.into()),
            (None, hash) => Ok(hash.and_then(|hash| self.sent.get(hash)).ok_or_else(not_found)?.to_string().into()),
            (Some(text), Some(hash)) => {
                if hash != hexadecimal(&Sha256::digest(text)) {
                    return Err(bad("`sha256Hash` is not the SHA-256 of `query`."));
                }
                Ok(text.into())
            }
        }
    }

    /// Keeps the text that came with a hash, so that the next request need not have it: once it was found to be a document
    /// that fits the schema. A text of more than some 32,000 bytes is not kept.
    pub(super) fn keep(&self, request: &Request, text: &str) {
        if let (Some(_), Some(Ok(hash)), None) = (&request.query, &request.hash, &self.trusted)
            && self.sent.get(hash).is_none()
        {
            self.sent.insert(hash.clone(), text.into(), (hash.len() + text.len()) as u64);
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Trusted {
    fn read(file: &Path) -> Result<Self, BadDocuments> {
        let json = fs::read(file).map_err(|error| BadDocuments::Unreadable(file.into(), error))?;
        let manifest = serde_json::from_slice(&json).map_err(|error| BadDocuments::Malformed(file.into(), error))?;
        let by_id: HashMap<_, _> = match manifest {
            Manifest::Apollo { operations } => operations.into_iter().map(|its| (its.id, its.body)).collect(),
            Manifest::Plain(by_id) => by_id,
        };
        let texts = by_id.values().cloned().collect();
        Ok(Self { by_id, texts })
    }
}
