//! Documents that need not be sent. A client may name one by the SHA-256 of its text, and send the text only when it is
//! asked for (Apollo's automatic persisted queries, <https://www.apollographql.com/docs/apollo-server/performance/apq>).
//! And a server may have a list of documents that it trusts: then it runs no others.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Answer, Code, Error, Request, caches::ByteCache};

/// Bytes of the texts that are cached, at most.
const CACHED_BYTES: u64 = 512 * 1024;
/// Bytes of one text that is cached, at most.
const MAX_TEXT: usize = 32_000;

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

    /// The document that a request is about, if it is known, trusted, and the one that its hash says. One that came with a hash, and that
    /// `parse` finds to fit the schema, is kept, unless it is too long: the next request need not have it.
    pub(super) fn document<T>(
        &self,
        request: &Request,
        parse: impl FnOnce(&str) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        let bad = |why| Error::new(Code::BadRequest, why);
        // Libraries that cannot leave the text out, such as graphql-ws, send an empty one beside the hash.
        let text = request.query.as_deref().filter(|text| !text.is_empty() || request.hash.is_none());
        let hash = request.hash.as_ref().map(|hash| hash.as_deref().map_err(|why| bad(*why))).transpose()?;
        if let Some(trusted) = &self.trusted {
            return parse(trusted.text(text, hash)?);
        }
        match (text, hash) {
            (Some(text), None) => parse(text),
            (None, hash) => parse(&hash.and_then(|hash| self.sent.get(hash)).ok_or_else(not_found)?),
            (Some(text), Some(hash)) => {
                if hash != hexadecimal(&Sha256::digest(text)) {
                    return Err(bad("`sha256Hash` is not the SHA-256 of `query`.").into());
                }
                let document = parse(text)?;
                if text.len() <= MAX_TEXT && self.sent.get(hash).is_none() {
                    self.sent.insert(hash.to_owned(), text.into(), (hash.len() + text.len()) as u64);
                }
                Ok(document)
            }
        }
    }
}

fn not_found() -> Error {
    Error::new(Code::PersistedQueryNotFound, "PersistedQueryNotFound")
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

    /// The text of a document of the list that is named by its text, its id, or both.
    fn text<'a>(&'a self, text: Option<&'a str>, id: Option<&str>) -> Result<&'a str, Error> {
        match (text, id.and_then(|id| self.by_id.get(id))) {
            (Some(text), Some(its)) if text != its => {
                Err(Error::new(Code::BadRequest, "`query` is not the document with this id."))
            }
            (_, Some(text)) => Ok(text),
            (Some(text), None) if self.texts.contains(text) => Ok(text),
            (None, None) => Err(not_found()),
            (Some(_), None) => {
                let why = "This server runs only the documents of its own list, and this is none of them.";
                Err(Error::new(Code::Forbidden, why))
            }
        }
    }
}
