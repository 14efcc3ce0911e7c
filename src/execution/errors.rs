//! Errors of a response (<https://spec.graphql.org/October2021/#sec-Errors>): each has a code of a closed list and a
//! sentence for people.
//!
//! Not here: `userErrors`, which are data.

use std::{fmt, iter::once, time::Duration};

use apollo_compiler::parser::SourceSpan;
use serde::{Serialize, Serializer};

/// `extensions.code` of every error of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// An argument or a variable has a value that cannot be.
    BadUserInput,
    /// The document asks for too much.
    QueryTooComplex,
    /// The document is nested too deeply.
    QueryTooDeep,
    /// The document is not GraphQL.
    GraphqlParseFailed,
    /// The document does not fit the schema.
    GraphqlValidationFailed,
    /// The request around the document is wrong.
    BadRequest,
    /// The document was named by its hash, and is not known: send it once.
    PersistedQueryNotFound,
    /// It needs somebody who has signed in, and whose token is valid.
    Unauthenticated,
    /// The viewer may not.
    Forbidden,
    /// It needs an optional feature that this server does not have: `server { features }` says which it has.
    FeatureDisabled,
    /// Done too often. `extensions.retryAfterMs` says when it may be tried again.
    RateLimited,
    /// The request is too large.
    PayloadTooLarge,
    /// The answer took too long.
    Timeout,
    /// Try again: somebody held the database for too long.
    DatabaseBusy,
    /// The disk of the server is full.
    StorageFull,
    /// Try again later: the server cannot answer now.
    Unavailable,
    /// A defect or an accident. `extensions.requestId` finds it in the server's log.
    Internal,
}

impl Code {
    /// Whether the same request may be answered without this error a moment later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::DatabaseBusy | Self::RateLimited | Self::StorageFull | Self::Timeout | Self::Unavailable)
    }
}

/// Errors of a response at most.
pub(super) const MAX_ERRORS: usize = 20;
/// Characters of a message at most: a message may repeat what was sent.
const MAX_MESSAGE: usize = 500;

/// An error, and where in the document and in the answer it is: its fields, in the order in which they are sent.
#[derive(Debug, Clone, Serialize)]
pub struct Error {
    /// What is wrong, for people.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    locations: Option<[Location; 1]>,
    /// Keys and indexes from the field that failed up to the root of the answer; empty for an error of the whole request.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "from_the_root")]
    pub(super) path: Vec<Segment>,
    extensions: Extensions,
}

/// What an error says to programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

fn from_the_root<S: Serializer>(path: &[Segment], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(path.iter().rev())
}

/// Line and column in a document, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// Finds lines and columns in a document; apollo-compiler has other lines, and counts bytes.
pub(super) struct LineIndex {
    /// Where lines begin.
    starts: Box<[usize]>,
    /// Bytes that continue a character.
    continued: Box<[usize]>,
}

impl LineIndex {
    /// The lines of a text: they end with `\n`, `\r`, or both
    /// (<https://spec.graphql.org/October2021/#sec-Line-Terminators>).
    pub(super) fn of(text: &str) -> Self {
        let ends = text.match_indices(['\n', '\r']).filter(|(at, _)| text.get(*at..at + 2) != Some("\r\n"));
        let starts = once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { starts, continued: (0..text.len()).filter(|at| !text.is_char_boundary(*at)).collect() }
    }

    /// Where a part of the document begins.
    pub(super) fn location(&self, span: Option<SourceSpan>) -> Option<Location> {
        self.at(span?.offset())
    }

    /// Where a byte of the document is.
    pub(super) fn at(&self, offset: usize) -> Option<Location> {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let continued = |end: usize| self.continued.partition_point(|at| *at < end);
        Some(Location { line, column: 1 + offset - start - (continued(offset) - continued(start)) })
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        (size_of::<usize>() * (self.starts.len() + self.continued.len())) as u64
    }
}

/// A step into an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

impl Error {
    /// An error without a place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
            message.shrink_to_fit();
        }
        let extensions = Extensions { code, retry_after_ms: None, request_id: None };
        Self { message, locations: None, path: Vec::new(), extensions }
    }

    /// An argument or a variable that cannot be.
    pub fn bad_input(why: impl fmt::Display) -> Self {
        Self::new(Code::BadUserInput, why.to_string())
    }

    /// A text that is not GraphQL.
    pub(super) fn not_graphql(why: impl fmt::Display) -> Self {
        Self::new(Code::GraphqlParseFailed, format!("The document is not GraphQL: {why}."))
    }

    /// Says where in the document the error is.
    #[must_use]
    pub fn at(self, location: Option<Location>) -> Self {
        Self { locations: location.map(|location| [location]), ..self }
    }

    /// Says that the error is somewhere within this field of the answer.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        self.path.push(Segment::Key(key.to_owned()));
        self
    }

    /// Says after which time the request may be repeated.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.extensions.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        self
    }

    /// Adds the id by which the log names the request.
    #[must_use]
    pub fn of_request(mut self, request_id: &str) -> Self {
        self.extensions.request_id = Some(request_id.to_owned());
        self
    }

    /// What kind of error it is, for programs.
    #[must_use]
    pub fn code(&self) -> Code {
        self.extensions.code
    }

    /// Milliseconds after which the request may be repeated.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        self.extensions.retry_after_ms
    }
}
