//! Errors of a response (<https://spec.graphql.org/October2021/#sec-Errors>): each has a code of a closed list and a
//! sentence for people.
//!
//! Not here: `userErrors`, which are data.

use std::{fmt, time::Duration};

use apollo_compiler::{Node, parser::SourceMap};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// `extensions.code` of every error of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::IntoStaticStr, strum::VariantArray)]
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

/// Errors of a response at most.
pub(super) const MAX_ERRORS: usize = 20;
/// Characters of a message at most: a message may repeat what was sent.
const MAX_MESSAGE: usize = 500;

/// An error, and where in the document and in the answer it is.
#[derive(Debug, Clone)]
pub struct Error {
    /// What kind of error it is, for programs.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
    /// Line and column in the document, both from 1.
    pub location: Option<Location>,
    /// Keys and indexes from the field that failed up to the root of the answer; empty for an error of the whole request.
    pub(super) path: Vec<Segment>,
    retry_after: Option<Duration>,
    request_id: Option<String>,
}

/// Line and column in a document, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Location {
    /// Where a part of a document is.
    pub(super) fn of<T>(node: &Node<T>, sources: &SourceMap) -> Option<Self> {
        let start = node.line_column_range(sources)?.start;
        Some(Self { line: start.line, column: start.column })
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
        }
        Self { code, message, location: None, path: Vec::new(), retry_after: None, request_id: None }
    }

    /// An argument or a variable that cannot be.
    pub fn bad_input(why: impl fmt::Display) -> Self {
        Self::new(Code::BadUserInput, why.to_string())
    }

    /// The same error, at a place of the document.
    #[must_use]
    pub fn at(self, location: Option<Location>) -> Self {
        Self { location, ..self }
    }

    /// The same error, with the time after which the request may be repeated.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same error, with the id by which the log names the request.
    #[must_use]
    pub fn of_request(self, request_id: &str) -> Self {
        Self { request_id: Some(request_id.to_owned()), ..self }
    }

    /// Milliseconds after which the request may be repeated.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_map(None)?;
        error.serialize_entry("message", &self.message)?;
        if let Some(location) = self.location {
            error.serialize_entry("locations", &[location])?;
        }
        if !self.path.is_empty() {
            error.serialize_entry("path", &self.path.iter().rev().collect::<Vec<_>>())?;
        }
        error.serialize_entry(
            "extensions",
            &Extensions {
                code: self.code.into(),
                retry_after_ms: self.retry_after_ms(),
                request_id: self.request_id.as_deref(),
            },
        )?;
        error.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extensions<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}
