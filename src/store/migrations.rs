//! The migrations of both databases, embedded in the binary, with the same names on both.

use diesel::connection::SimpleConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, Error, Result, Store};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// Any number that no other program on the same PostgreSQL server takes for its advisory lock.
const LOCK: i64 = 0x4475_6F6C;

/// Which way to migrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All migrations that were not run yet.
    Up,
    /// Undo every one. All data is lost.
    Down,
}

impl Store {
    /// Runs the migrations, on PostgreSQL each in a transaction of its own; gives the names of those that ran.
    ///
    /// # Errors
    /// When one failed; it was undone, and on SQLite so were those before it.
    pub async fn migrate(&self, direction: Direction) -> Result<Vec<String>> {
        self.alone(move |conn| match conn {
            // Several servers may start at once: all of it is one transaction, which is alone.
            Conn::Sqlite(c) => c.immediate_transaction(|c| migrate(c, SQLITE, direction)),
            Conn::Postgres(c) => {
                c.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
                let done = migrate(*c, POSTGRES, direction);
                c.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))?;
                done
            }
        })
        .await
    }
}

fn migrate<DB: diesel::backend::Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
    direction: Direction,
) -> Result<Vec<String>> {
    let done = match direction {
        Direction::Up => conn.run_pending_migrations(migrations),
        Direction::Down => conn.revert_all_migrations(migrations),
    };
    let done = done.map_err(|error| Error::Failed(format!("a migration failed: {error}")))?;
    Ok(done.iter().map(ToString::to_string).collect())
}
