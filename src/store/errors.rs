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
    /// Reading goes on, writing may not.
    #[error(
        "the database may not be written: let the user of the server write its file and its folder, and see whether the \
         disk was made read-only"
    )]
    ReadOnly,
    /// A file of the database cannot be opened, or made.
    #[error(
        "the files of the database cannot be opened: see to the permissions of their folder, and to the limit of open \
         files"
    )]
    Unopened,
    /// The disk does not do what it is told.
    #[error("the disk fails to read or to write the database: the log of the system says more")]
    Disk,
    /// What is in the file is no database any more.
    #[error("the database is damaged: stop the server, keep a copy of the files, and restore a backup")]
    Damaged,
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
        match error {
            DieselError::DatabaseError(kind, information) => from_database(kind, information.as_ref()),
            // When it cannot go on, as on a full disk, SQLite has undone everything already.
            DieselError::RollbackErrorOnCommit { commit_error, .. } => Self::from(*commit_error),
            // The connection broke in a transaction before; the pool will not give it out again.
            DieselError::BrokenTransactionManager => Self::Unavailable(error.to_string()),
            DieselError::NotFound
            | DieselError::AlreadyInTransaction
            | DieselError::NotInTransaction
            | DieselError::RollbackTransaction
            | DieselError::InvalidCString(_)
            | DieselError::QueryBuilderError(_)
            | DieselError::SerializationError(_)
            | DieselError::DeserializationError(_)
            | DieselError::IntegerConversion(_)
            | _ => Self::Failed(error.to_string()),
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
        DatabaseErrorKind::ReadOnlyTransaction => Error::ReadOnly,
        DatabaseErrorKind::RestrictViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::Unknown
        | _ => Error::of_words(message),
    }
}

impl Error {
    /// diesel keeps no error code, so the words of SQLite (`sqlite3_errstr`) and of PostgreSQL (in English, its
    /// `lc_messages`) have to do.
    pub(super) fn of_words(message: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        if says(BUSY) {
            Self::Busy
        } else if says(FULL) {
            Self::Full
        } else if says(&["attempt to write a readonly database"]) {
            Self::ReadOnly
        } else if says(&["unable to open database", "access permission denied"]) {
            Self::Unopened
        } else if says(&["disk I/O error"]) {
            Self::Disk
        } else if says(&["disk image is malformed", "file is not a database"]) {
            Self::Damaged
        } else if says(GONE) {
            Self::Unavailable(message.to_owned())
        } else {
            Self::Failed(message.to_owned())
        }
    }
}

const BUSY: &[&str] = &[
    "database is locked",
    "database table is locked",
    "locking protocol",
    "lock timeout",
    "statement timeout",
    "deadlock detected",
];

const FULL: &[&str] = &["database or disk is full", "No space left on device", "Disk quota exceeded"];

/// The server of PostgreSQL stops, starts, or has no room for one more; or this process has no memory.
const GONE: &[&str] = &[
    "connection closed",
    "terminating connection",
    "canceling statement due to user request",
    "the database system is",
    "too many clients",
    "connection slots are reserved",
    "out of memory",
];

/// PostgreSQL names the constraint, SQLite its columns.
fn unique(name: &str) -> Constraint {
    if name.contains("email_key") { Constraint::UniqueEmail } else { Constraint::Other }
}
