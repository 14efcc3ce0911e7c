//! What can go wrong in a database, by what can be done about it.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

/// The result of a sentence in SQL.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the database did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A rule of the schema stood against it.
    #[error("the rule {0:?} of the schema stands against it")]
    Refused(Constraint),
    /// Somebody else held the database for too long: try again.
    #[error("the database is busy")]
    Busy,
    /// Too many others want to change something: try again.
    #[error("too many changes are waiting")]
    Overloaded,
    /// No room on the disk.
    #[error("there is no room left on the disk")]
    Full,
    /// The database does not answer: try again.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// It cannot be used as it is: a sentence for the operator.
    #[error("{0}")]
    Unusable(String),
    /// Anything else: for the log, not for clients.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// The rules of the schema that a caller can run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// No two users have the same email key.
    UniqueEmail,
    /// Any other one.
    Other,
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        if let DieselError::RollbackErrorOnCommit { commit_error, .. } = error {
            return Self::from(*commit_error);
        }
        if let DieselError::DatabaseError(kind, information) = &error {
            from_database(*kind, information.as_ref())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// A connection of the pool could not be made.
impl From<diesel_async::pooled_connection::PoolError> for Error {
    fn from(error: diesel_async::pooled_connection::PoolError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn from_database(kind: DatabaseErrorKind, information: &(dyn DatabaseErrorInformation + Send + Sync)) -> Error {
    let message = information.message();
    match kind {
        DatabaseErrorKind::UniqueViolation => Error::Refused(unique(information.constraint_name().unwrap_or(message))),
        DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation => Error::Refused(Constraint::Other),
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            Error::Unavailable(message.to_owned())
        }
        DatabaseErrorKind::SerializationFailure => Error::Busy,
        DatabaseErrorKind::ReadOnlyTransaction
        | DatabaseErrorKind::RestrictViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::Unknown
        | _ => from_message(message),
    }
}

/// diesel keeps no error code, so the words of SQLite (`sqlite3_errstr`) and of PostgreSQL (in English, its
/// `lc_messages`) have to do.
fn from_message(message: &str) -> Error {
    let says = |words: &str| message.contains(words);
    let busy =
        ["database is locked", "database table is locked", "lock timeout", "statement timeout", "deadlock detected"];
    if busy.into_iter().any(says) {
        Error::Busy
    } else if says("database or disk is full") || says("No space left on device") {
        Error::Full
    } else if says("connection closed") || says("terminating connection") || says("the database system is") {
        Error::Unavailable(message.to_owned())
    } else {
        Error::Failed(message.to_owned())
    }
}

/// PostgreSQL names the constraint, SQLite its columns.
fn unique(name: &str) -> Constraint {
    if name.contains("email_key") { Constraint::UniqueEmail } else { Constraint::Other }
}
