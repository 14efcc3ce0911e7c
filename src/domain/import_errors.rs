//! What can be wrong with a line of an import.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Error;
use crate::store::{self, Constraint};

/// The highest id of an import: half of all ids are left for what comes after it.
pub(super) const MAX_ID: i64 = 1 << 52;
/// The highest id of an export, which may have ids that came after such an import: a quarter of all ids is left.
pub(super) const MAX_EXPORTED_ID: i64 = 3 << 51;

/// Why an import failed. It was rolled back.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line is wrong.
    #[error("line {line}: {why} Nothing was imported.")]
    Line {
        /// Counted from 1.
        line: u64,
        /// The reason, a message for people.
        why: String,
    },
    /// The database failed.
    #[error("{0}; nothing was imported")]
    Failed(#[from] Error),
}

impl From<store::Error> for ImportError {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Why a line was not imported.
pub(super) enum LineError {
    /// What it says, for people.
    Invalid(String),
    /// The database failed.
    Store(store::Error),
}

impl LineError {
    /// The error of the import.
    pub(super) fn of_line(self, line: u64) -> ImportError {
        match self {
            Self::Invalid(why) => ImportError::Line { line, why },
            Self::Store(error) => error.into(),
        }
    }
}

impl From<store::Error> for LineError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

pub(super) fn invalid(why: impl Into<String>) -> LineError {
    LineError::Invalid(why.into())
}

pub(super) fn bad_id(max: i64) -> LineError {
    invalid(format!("The id must be from 1 to {max}: leave room for ids to come."))
}

pub(super) fn check_last_id(id: i64) -> Result<(), LineError> {
    let bad = || invalid(format!("The lastId must be at most {MAX_EXPORTED_ID}: leave room for ids to come."));
    if id <= MAX_EXPORTED_ID { Ok(()) } else { Err(bad()) }
}

pub(super) fn email_in_use(error: store::Error) -> LineError {
    let is_taken = matches!(error, store::Error::ConstraintViolated(Constraint::UniqueEmail));
    if is_taken { invalid("Another user has this email.") } else { error.into() }
}

/// The bytes of a `sendDigest`.
pub(super) fn digest(text: &str) -> Result<Vec<u8>, LineError> {
    BASE64_STANDARD.decode(text).map_err(|_why| invalid("The sendDigest is no Base64."))
}

pub(super) fn valid<T>(parsed: Result<T, impl std::fmt::Display>) -> Result<T, LineError> {
    parsed.map_err(|why| invalid(why.to_string()))
}
