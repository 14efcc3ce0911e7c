//! The migrations of both databases, embedded in the binary, with the same names on both.

use std::collections::HashSet;

use diesel::{SqliteConnection, backend::Backend, connection::SimpleConnection, migration::MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, Error, Result, Store, pools::STATEMENT};

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
    /// Runs the migrations, on PostgreSQL each in a transaction of its own and for as long as it takes; gives the names of
    /// those that ran.
    ///
    /// # Errors
    /// When one failed; it was undone, and on SQLite so were those before it.
    pub async fn migrate(&self, direction: Direction) -> Result<Vec<String>> {
        self.alone(move |conn| match conn {
            // Several servers may start at once: all of it is one transaction, which is alone.
            Conn::Sqlite(c) => c.immediate_transaction(|c| migrate(c, SQLITE, direction)),
            Conn::Postgres(c) => {
                c.batch_execute(&format!("SELECT pg_advisory_lock({LOCK}); SET statement_timeout = 0"))?;
                let done = migrate(*c, POSTGRES, direction);
                let limit = STATEMENT.as_millis();
                c.batch_execute(&format!("SET statement_timeout = {limit}; SELECT pg_advisory_unlock({LOCK})"))?;
                done
            }
        })
        .await
    }
}

/// In words, after the name of the database.
pub(super) fn newer(migration: &str) -> String {
    format!(
        "was brought up to date by a newer Duologue, with the migration {migration} that this one does not know; nothing \
         was changed: use the newer one"
    )
}

/// A migration in a SQLite file of ours that this program does not know.
pub(super) fn unknown_of_sqlite(conn: &mut SqliteConnection) -> Result<Option<String>> {
    unknown(conn, &SQLITE)
}

fn unknown<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: &EmbeddedMigrations,
) -> Result<Option<String>> {
    let known = MigrationSource::<DB>::migrations(migrations).map_err(failed)?;
    let known: HashSet<_> = known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = conn.applied_migrations().map_err(failed)?;
    Ok(applied.into_iter().find(|version| !known.contains(version)).map(|version| version.to_string()))
}

fn migrate<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
    direction: Direction,
) -> Result<Vec<String>> {
    if let Some(migration) = unknown(conn, &migrations)? {
        return Err(Error::Unusable(format!("the database {}", newer(&migration))));
    }
    let done = match direction {
        Direction::Up => conn.run_pending_migrations(migrations),
        Direction::Down => conn.revert_all_migrations(migrations),
    };
    Ok(done.map_err(failed)?.iter().map(ToString::to_string).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "this is what `map_err` has")]
fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::of_words(&format!("a migration failed: {error}"))
}
