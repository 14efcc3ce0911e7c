//! Documents: parsed and validated once for each text, and cached for whoever sends the same text again.

use apollo_compiler::{ExecutableDocument, Name, Node, executable::Operation, validation::Valid};

use super::{
    errors::{Code, Error, LineIndex},
    limits::check_text,
    schema::Schema,
    validation::{DocumentStats, validated},
};
use crate::config::Limits;

/// Bytes that the cached documents hold together, at most; and the cached plans as many again.
pub(super) const CACHED_BYTES: u64 = 10 * 1024 * 1024;
/// Highest ratio of text length to token bytes of a cached document, so that comments and whitespace cannot fill the cache.
const MAX_TEXT_PER_TOKENS: usize = 8;

// What a document holds, rounded up. `tests/api/caches.rs` holds it against the memory of the program.
const BYTES_PER_DOCUMENT: u64 = 2_000;
/// For each selection, value, variable, operation and fragment.
const BYTES_PER_NODE: u64 = 400;
/// The text is the key, and what was parsed; names and strings are parts of it.
const COPIES_OF_TEXT: u64 = 3;

/// A document that fits the schema.
pub(super) struct Document {
    /// Tells it from every other document of the engine.
    pub(super) id: u64,
    pub(super) parsed: Valid<ExecutableDocument>,
    pub(super) lines: LineIndex,
    /// The variables that decide about `@skip` and `@include`.
    pub(super) conditions: Vec<Name>,
    /// Bytes that it holds, with its text as the key of the cache.
    pub(super) bytes: u64,
    /// Whether most of the text is comments, whitespace and commas: then neither it nor its plans are cached.
    pub(super) is_mostly_whitespace: bool,
}

impl Document {
    /// The document with this text, if it fits the schema and the limits.
    pub(super) fn parse(id: u64, text: &str, schema: &Schema, limits: &Limits) -> Result<Self, Vec<Error>> {
        let tokens = check_text(text, limits).map_err(|error| vec![error])?;
        let lines = LineIndex::of(text);
        let (parsed, DocumentStats { nodes, conditions, .. }) = validated(text, &lines, schema)?;
        let definitions = parsed.operations.len() + parsed.fragments.len();
        let bytes = BYTES_PER_DOCUMENT
            + COPIES_OF_TEXT * text.len() as u64
            + lines.bytes()
            + BYTES_PER_NODE * (nodes + definitions as u64);
        let is_mostly_whitespace = text.len() > MAX_TEXT_PER_TOKENS * tokens;
        Ok(Self { id, parsed, lines, conditions: conditions.into_iter().collect(), bytes, is_mostly_whitespace })
    }

    /// The operation that is meant.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<&Node<Operation>, Error> {
        self.parsed.operations.get(name).map_err(|_not_found| {
            let message = match name {
                Some(_) => "The document has no operation of this name.",
                None => "The document has several operations: name one of them with `operationName`.",
            };
            Error::new(Code::GraphqlValidationFailed, message)
        })
    }
}
