//! Errors of the database, classified by how to react to them.

use std::{cell::Cell, path::PathBuf};

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

/// The result of a query or a unit of work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the database failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A constraint of the schema was violated.
    #[error("the constraint {0:?} is violated")]
    ConstraintViolated(Constraint),
    /// A lock or a connection was not free in time: retry.
    #[error("the database is busy")]
    Busy,
    /// Too many changes are pending: retry.
    #[error("too many changes are waiting")]
    Overloaded,
    /// What is read has more text than the caller has room for.
    #[error("there is more text than may be read at once")]
    TooMuchText,
    /// The disk is full.
    #[error("there is no room left on the disk")]
    Full,
    /// The database does not answer: retry.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The database can be read, but not written.
    #[error(
        "the database may not be written: let the user of the server write its file and its folder, and see whether the \
         disk was made read-only"
    )]
    ReadOnly,
    /// A file of the database cannot be opened or created.
    #[error(
        "the files of the database cannot be opened: see to the permissions of their folder, and to the limit of open \
         files"
    )]
    Unopened,
    /// An I/O error of the disk.
    #[error("I/O error on the disk of the database: see the system log")]
    Disk,
    /// The file is corrupt, or not a database.
    #[error("the database is damaged: stop the server, keep a copy of the files, and restore a backup")]
    Damaged,
    /// The file is not there any more under its name.
    #[error(
        "{} is not there any more, or another file has its name: nothing is written until it is back; to replace it, stop \
         the server first",
        .0.display()
    )]
    Gone(PathBuf),
    /// The database cannot be used as it is. The message is for the operator.
    #[error("{0}")]
    Unusable(String),
    /// Anything else: for the log, not for clients.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// The constraints of the schema that a caller can violate.
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
            // On some errors, as on a full disk, SQLite has rolled back already.
            DieselError::RollbackErrorOnCommit { commit_error, .. } => Self::from(*commit_error),
            // The connection broke in an earlier transaction; the pool will not hand it out again.
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

/// The pool could not open a connection.
impl From<diesel_async::pooled_connection::PoolError> for Error {
    fn from(error: diesel_async::pooled_connection::PoolError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn from_database(kind: DatabaseErrorKind, information: &(dyn DatabaseErrorInformation + Send + Sync)) -> Error {
    let message = information.message();
    match kind {
        DatabaseErrorKind::UniqueViolation => {
            Error::ConstraintViolated(unique(information.constraint_name().unwrap_or(message)))
        }
        DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation => Error::ConstraintViolated(Constraint::Other),
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            Error::Unavailable(message.to_owned())
        }
        DatabaseErrorKind::SerializationFailure => Error::Busy,
        DatabaseErrorKind::ReadOnlyTransaction => {
            READ_ONLY_SERVER.set(true);
            Error::Unavailable("the server takes no changes, as a standby does".to_owned())
        }
        DatabaseErrorKind::RestrictViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::Unknown
        | _ => Error::from_message(message),
    }
}

/// How the message begins with which PostgreSQL refuses one connection more, of all, of a role or of a database.
pub(super) const NO_CONNECTION_LEFT: &str = "PostgreSQL gives no more connections";

impl Error {
    /// Whether PostgreSQL refused one connection more.
    pub(super) fn is_no_connection_left(&self) -> bool {
        matches!(self, Self::Unavailable(message) if message.contains(NO_CONNECTION_LEFT))
    }

    /// Classifies by the message, because diesel keeps no error code: that of SQLite (`sqlite3_errstr`) or of PostgreSQL, which
    /// is in English as far as the server lets us choose (`postgres::ENGLISH`).
    pub(super) fn from_message(message: &str) -> Self {
        let contains = |words: &[&str]| words.iter().any(|words| message.contains(words));
        if contains(BUSY_MESSAGES) {
            Self::Busy
        } else if contains(FULL_MESSAGES) {
            Self::Full
        } else if contains(&["attempt to write a readonly database"]) {
            Self::ReadOnly
        } else if contains(&["unable to open database", "access permission denied"]) {
            Self::Unopened
        } else if contains(&["disk I/O error"]) {
            Self::Disk
        } else if message.starts_with("fts5: corrupt")
            || contains(&["disk image is malformed", "file is not a database"])
        {
            DAMAGE.set(true);
            Self::Damaged
        } else if contains(UNAVAILABLE_MESSAGES) {
            Self::Unavailable(message.to_owned())
        } else {
            Self::Failed(message.to_owned())
        }
    }
}

const BUSY_MESSAGES: &[&str] = &[
    "database is locked",
    "database table is locked",
    "locking protocol",
    "lock timeout",
    "statement timeout",
    "deadlock detected",
];

const FULL_MESSAGES: &[&str] = &["database or disk is full", "No space left on device", "Disk quota exceeded"];

thread_local! {
    /// Whether a statement of this thread met damage: diesel reports to nobody else an error that a row comes with, and the work on
    /// a connection has an error type of its own.
    static DAMAGE: Cell<bool> = const { Cell::new(false) };
}

/// Whether a statement of this thread met damage since this was last asked.
pub(super) fn take_damage() -> bool {
    DAMAGE.take()
}

thread_local! {
    /// Whether a statement of this thread met a PostgreSQL server that takes no changes.
    static READ_ONLY_SERVER: Cell<bool> = const { Cell::new(false) };
}

/// Whether a statement of this thread met a PostgreSQL server that takes no changes since this was last asked.
pub(super) fn take_read_only_server() -> bool {
    READ_ONLY_SERVER.take()
}

/// The PostgreSQL server stops, starts, or has no free connection slot; or this process is out of memory.
const UNAVAILABLE_MESSAGES: &[&str] = &[
    "connection closed",
    "terminating connection",
    "canceling statement due to user request",
    "the database system is",
    "too many clients",
    "connection slots are reserved",
    "out of memory",
];

/// PostgreSQL gives the name of the constraint, SQLite its columns.
fn unique(name: &str) -> Constraint {
    if name.contains("email_key") { Constraint::UniqueEmail } else { Constraint::Other }
}
