//! The URL of a database.

use std::{fmt, path::PathBuf, str::FromStr};

/// Which database to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
    Postgres(String),
}

/// The text is not the URL of a supported database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database must be given as sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
pub struct BadUrl;

impl FromStr for DatabaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (!path.is_empty() && !path.starts_with(':')).then(|| Self::Sqlite(path.into())).ok_or(BadUrl)
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(text.into())),
            _ => Err(BadUrl),
        }
    }
}

/// For people: without the password and the address of a server.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite, {}", path.display()),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}
