//! A database of one's own: a SQLite file, or a schema of a PostgreSQL server.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use clap::Parser;
use diesel::SqliteConnection;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use duologue::config::{Cli, Command, Serve};
use tempfile::TempDir;

/// A database of one's own, empty, until this is dropped.
pub(crate) struct Database {
    pub(crate) url: String,
    folder: TempDir,
}

impl Database {
    pub(crate) async fn new() -> Self {
        static SCHEMAS: AtomicU64 = AtomicU64::new(1);
        let folder = tempfile::tempdir().unwrap();
        let url = match std::env::var("DUOLOGUE_TEST_DATABASE") {
            Err(_) => return Self::at("chat.db"),
            Ok(server) => {
                let schema = format!("test_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed));
                let mut conn = AsyncPgConnection::establish(&server).await.unwrap();
                conn.batch_execute(&format!("CREATE SCHEMA {schema}")).await.unwrap();
                format!("{server}?options=-csearch_path%3D{schema}")
            }
        };
        Self { url, folder }
    }

    /// A SQLite file of this name, in a folder of its own.
    pub(crate) fn at(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}", folder.path().join(name).display()), folder }
    }

    /// All of the database of a PostgreSQL server.
    pub(crate) fn on(url: &str) -> Self {
        Self { url: url.to_owned(), folder: tempfile::tempdir().unwrap() }
    }

    /// The SQLite file.
    pub(crate) fn path(&self) -> PathBuf {
        self.url.strip_prefix("sqlite:").unwrap().into()
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Nobody else can write until this is dropped.
    pub(crate) async fn locked(&self) -> Lock {
        let lock = if self.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN; LOCK TABLE users IN EXCLUSIVE MODE" };
        self.run(lock).await
    }

    /// Runs SQL behind the server's back, on a connection of its own.
    pub(crate) async fn run(&self, sql: &str) -> Lock {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let mut conn = <SqliteConnection as diesel::Connection>::establish(path).unwrap();
            // The server may be writing.
            diesel::connection::SimpleConnection::batch_execute(&mut conn, "PRAGMA busy_timeout = 5000").unwrap();
            diesel::connection::SimpleConnection::batch_execute(&mut conn, sql).unwrap();
            return Lock::Sqlite(conn);
        }
        let mut conn = AsyncPgConnection::establish(&self.url).await.unwrap();
        conn.batch_execute(sql).await.unwrap();
        Lock::Postgres(Box::new(conn))
    }

    /// As if a server of this version used the PostgreSQL database, which knows the migrations up to this one.
    pub(crate) async fn used_by(&self, version: &str, migration: &str) {
        let lease = format!(
            "INSERT INTO nodes (id, version, key_ids, knows, renewed_at)
             VALUES (1, '{version}', '', '{migration}', extract(epoch FROM clock_timestamp()) * 1000)"
        );
        drop(self.run(&lease).await);
    }

    /// A folder for files of the test.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The settings of a server with this database and further flags. Without one for embeddings it does not read the model,
    /// which takes a while.
    pub(crate) fn settings(&self, flags: &[&str]) -> Serve {
        let mut fixed = vec!["duologue", "serve", "--listen", "127.0.0.1:0", "--database", &self.url];
        if !flags.iter().any(|flag| flag.starts_with("--embedding")) {
            fixed.push("--no-embeddings");
        }
        let cli = Cli::try_parse_from(fixed.iter().chain(flags)).unwrap();
        let Command::Serve(settings) = cli.command else { unreachable!() };
        *settings
    }
}

/// Keeps others from writing. The connection ends with it, and the lock with the connection.
#[allow(dead_code, reason = "held, never read")]
pub(crate) enum Lock {
    Sqlite(SqliteConnection),
    Postgres(Box<AsyncPgConnection>),
}
