//! The migrations of both databases, embedded in the binary, with the same names on both.

use std::collections::HashSet;

use diesel::{
    RunQueryDsl, SqliteConnection,
    backend::Backend,
    connection::SimpleConnection,
    dsl::sql,
    migration::MigrationSource,
    sql_types::{BigInt, Text},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Conn, Error, Result, conn::on, timeouts::postgres_timeouts};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// The key of the PostgreSQL advisory lock.
const LOCK_KEY: i64 = 0x4475_6F6C;

/// Which way to migrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All migrations that were not run yet.
    Up,
    /// Revert all of them. All data is lost.
    Down,
}

/// Runs the migrations, on PostgreSQL each in a transaction of its own and without timeouts; gives the names of those that
/// ran. When one fails it is rolled back, and on SQLite so are those before it.
pub(super) fn run(conn: &mut Conn<'_>, direction: Direction) -> Result<Vec<String>> {
    match conn {
        // Several servers may start at once: one transaction around all of it excludes the others.
        Conn::Sqlite(c) => c.immediate_transaction(|c| migrate(c, SQLITE, direction)),
        Conn::Postgres(c) => {
            // First of all: whoever starts while another one migrates waits for it as long as it takes.
            c.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0")?;
            c.batch_execute(&format!("SELECT pg_advisory_lock({LOCK_KEY})"))?;
            let done = migrate(*c, POSTGRES, direction);
            c.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK_KEY}); {}", postgres_timeouts()))?;
            done
        }
    }
}

/// Refuses a database that is not of this version, with a message that begins with its name; only reads.
///
/// # Errors
/// [`Error::Unusable`]
pub(super) fn require_current(conn: &mut Conn<'_>, database: &str) -> Result<()> {
    // Those of PostgreSQL have the same names.
    let known = MigrationSource::<Sqlite>::migrations(&SQLITE).map_err(migration_failed)?;
    let known: HashSet<_> = known.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = applied(conn)?;
    Err(Error::Unusable(match applied.iter().find(|version| !known.contains(*version)) {
        Some(newer) => format!("{database} {}", explain_newer(newer)),
        None if applied.is_empty() => format!(
            "{database} has nothing of Duologue in it yet: see whether it is the right one, or run `duologue migrate` to \
             begin it"
        ),
        None if applied.len() < known.len() => {
            format!("{database} is of an older Duologue; nothing was changed: run `duologue migrate` first")
        }
        None => return Ok(()),
    }))
}

/// The versions of the migrations that were run. Raw, because diesel would create the table that it keeps them in.
fn applied(conn: &mut Conn<'_>) -> Result<Vec<String>> {
    let is_there = match conn {
        Conn::Sqlite(_) => "SELECT count(*) FROM sqlite_schema WHERE name = '__diesel_schema_migrations'",
        Conn::Postgres(_) => "SELECT count(to_regclass('__diesel_schema_migrations'))",
    };
    let is_there: i64 = on!(conn, |c| sql::<BigInt>(is_there).get_result(c))?;
    if is_there == 0 {
        return Ok(Vec::new());
    }
    Ok(on!(conn, |c| sql::<Text>("SELECT version FROM __diesel_schema_migrations").load(c))?)
}

/// The message about an unknown migration, after the name of the database.
pub(super) fn explain_newer(migration: &str) -> String {
    format!(
        "was brought up to date by a newer Duologue, with the migration {migration} that this one does not know; nothing \
         was changed: use the newer one"
    )
}

/// An applied migration of a SQLite file that this version does not know.
pub(super) fn unknown_sqlite_migration(conn: &mut SqliteConnection) -> Result<Option<String>> {
    unknown(conn, &SQLITE)
}

fn unknown<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: &EmbeddedMigrations,
) -> Result<Option<String>> {
    let known = MigrationSource::<DB>::migrations(migrations).map_err(migration_failed)?;
    let known: HashSet<_> = known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = conn.applied_migrations().map_err(migration_failed)?;
    Ok(applied.into_iter().find(|version| !known.contains(version)).map(|version| version.to_string()))
}

fn migrate<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
    direction: Direction,
) -> Result<Vec<String>> {
    if let Some(migration) = unknown(conn, &migrations)? {
        return Err(Error::Unusable(format!("the database {}", explain_newer(&migration))));
    }
    let done = match direction {
        Direction::Up => conn.run_pending_migrations(migrations),
        Direction::Down => conn.revert_all_migrations(migrations),
    };
    Ok(done.map_err(migration_failed)?.iter().map(ToString::to_string).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "this is what `map_err` has")]
fn migration_failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::from_message(&format!("a migration migration_failed: {error}"))
}
