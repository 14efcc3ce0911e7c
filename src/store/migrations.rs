//! The migrations of both databases, embedded in the binary, with the same names on both.
//!
//! Releases may run side by side on one database: a migration adds columns, tables and indexes that an older release need not know.
//! What such a migration made superfluous, a migration of a later release removes; it raises [`OLDEST_COMPATIBLE`].

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use diesel::{
    OptionalExtension, RunQueryDsl,
    backend::Backend,
    connection::SimpleConnection,
    dsl::sql,
    migration::MigrationSource,
    sql_types::{Bool, Text},
    sqlite::Sqlite,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    Conn, Error, Result,
    conn::{Postgres, has_table, on, transaction},
    moving, names, nodes,
    timeouts::postgres_timeouts,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// The key of the PostgreSQL advisory lock.
const LOCK_KEY: i64 = 0x4475_6F6C;

/// The migration that a program must know to use a database that this one has migrated.
pub(super) const OLDEST_COMPATIBLE: &str = "20261126000010";
/// The migration since which a database says so.
const COMPATIBILITY: &str = "20261126000009";
/// How long a migration waits for locks on PostgreSQL: all who come later wait behind it.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '2s'";
/// How often a migration is tried that did not get its locks.
const LOCK_TRIES: usize = 60;
/// Between two such tries, so that others can go on.
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// Which way to migrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All migrations that were not run yet.
    Up,
    /// Revert all of them. All data is lost.
    Down,
}

/// Runs the migrations, on PostgreSQL each in a transaction of its own; gives the names of those that ran. When one fails it is rolled
/// back, and on SQLite so are those before it.
pub(super) fn run(conn: &mut Conn<'_>, direction: Direction) -> Result<Vec<String>> {
    match conn {
        // Several servers may start at once: one transaction around all of it excludes the others.
        Conn::Sqlite(c) => c.immediate_transaction(|c| {
            require_compatible(&mut Conn::Sqlite(c))?;
            let done = migrate(c, SQLITE, direction)?;
            raise_oldest(&mut Conn::Sqlite(c), direction)?;
            fill(&mut Conn::Sqlite(c), direction)?;
            Ok(done)
        }),
        Conn::Postgres(c) => {
            // First of all: whoever starts while another one migrates waits for it as long as it takes.
            c.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0")?;
            c.batch_execute(&format!("SELECT pg_advisory_lock({LOCK_KEY}); {LOCK_TIMEOUT}"))?;
            let done = run_on_postgres(c, direction);
            let unlocked = c.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK_KEY}); {}", postgres_timeouts()));
            // Where the connection broke, the first error says why.
            let done = done?;
            unlocked?;
            Ok(done)
        }
    }
}

fn run_on_postgres(conn: &mut Postgres, direction: Direction) -> Result<Vec<String>> {
    require_compatible(&mut Conn::Postgres(conn))?;
    let (mut done, mut tries) = (Vec::new(), 0..LOCK_TRIES);
    loop {
        match migrate(conn, POSTGRES, direction) {
            Ok(more) => {
                done.extend(more);
                raise_oldest(&mut Conn::Postgres(conn), direction)?;
                transaction(conn, |conn| fill(conn, direction))?;
                return Ok(done);
            }
            Err(Error::Busy) if tries.next().is_some() => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error),
        }
    }
}

/// Refuses a database that this program cannot use, or that it would make useless for other servers that run.
fn require_compatible(conn: &mut Conn<'_>) -> Result<()> {
    if let Some(migration) = too_new(conn)? {
        return Err(Error::Unusable(format!("the database {}", explain_newer(&migration))));
    }
    if applied(conn)?.contains(COMPATIBILITY)
        && oldest(conn)?.is_some_and(|oldest| *oldest < *OLDEST_COMPATIBLE)
        && let Some(version) = older_server(conn)?
    {
        return Err(Error::Unusable(format!(
            "a server of Duologue {version} uses the database, and could not after it is brought up to date; nothing was changed: stop \
             that server first"
        )));
    }
    Ok(())
}

/// The version of a server that uses the database and does not know [`OLDEST_COMPATIBLE`]. When no lease holds, PostgreSQL may have been
/// away or crashed: those that still run say again within the time of a lease that they use it.
fn older_server(conn: &mut Conn<'_>) -> Result<Option<String>> {
    let may_come_back = matches!(conn, Conn::Postgres(_)) && !nodes::is_any_alive(conn)?;
    let wait = if may_come_back { nodes::LEASE } else { Duration::ZERO };
    if may_come_back {
        tracing::warn!(
            "waiting {} seconds for servers that may come back, as this release cannot run beside all others",
            wait.as_secs()
        );
    }
    let begun = Instant::now();
    loop {
        let version = nodes::version_without(conn, OLDEST_COMPATIBLE)?;
        if version.is_some() || begun.elapsed() >= wait {
            return Ok(version);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// From now on only programs that know [`OLDEST_COMPATIBLE`] may use the database.
fn raise_oldest(conn: &mut Conn<'_>, direction: Direction) -> Result<()> {
    if direction == Direction::Up {
        let raise = format!("UPDATE server SET oldest = '{OLDEST_COMPATIBLE}' WHERE oldest < '{OLDEST_COMPATIBLE}'");
        on!(conn, |c| c.batch_execute(&raise))?;
    }
    Ok(())
}

/// Backfills what a migration cannot compute in SQL. During a move this is left to the next server of the database.
fn fill(conn: &mut Conn<'_>, direction: Direction) -> Result<()> {
    if direction == Direction::Up && !moving::is_move_target(conn)? {
        names::insert_missing(conn)?;
    }
    Ok(())
}

/// Refuses a database whose migrations this program does not know or has not run, with a message that begins with its name; only
/// reads.
///
/// # Errors
/// [`Error::Unusable`]
pub(super) fn require_current(conn: &mut Conn<'_>, database: &str) -> Result<()> {
    let applied = applied(conn)?;
    Err(Error::Unusable(match too_new(conn)? {
        Some(newer) => format!("{database} {}", explain_newer(&newer)),
        None if applied.is_empty() => format!(
            "{database} has nothing of Duologue in it yet: see whether it is the right one, or run `duologue migrate` to \
             begin it"
        ),
        None if !known()?.is_subset(&applied) => {
            format!("{database} is of an older Duologue; nothing was changed: run `duologue migrate` first")
        }
        None => return Ok(()),
    }))
}

/// The migrations that this program knows and that were not run yet; refuses a database of a newer one, and one that was moved
/// elsewhere, is not whole yet, or in which they cannot be run.
///
/// # Errors
/// [`Error::Unusable`]
pub(super) fn pending(conn: &mut Conn<'_>) -> Result<Vec<String>> {
    if let Some(newer) = too_new(conn)? {
        return Err(Error::Unusable(format!("the database {}", explain_newer(&newer))));
    }
    moving::require_usable(conn)?;
    let pending: Vec<String> = known()?.difference(&applied(conn)?).cloned().collect();
    if !pending.is_empty() {
        require_create(conn)?;
    }
    Ok(pending)
}

/// Refuses a database in which the migrations cannot make tables.
fn require_create(conn: &mut Conn<'_>) -> Result<()> {
    let Conn::Postgres(conn) = conn else { return Ok(()) };
    // Raw, because diesel has no privileges. Without a schema it is NULL.
    let may_create = sql::<Bool>("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE)");
    if may_create.get_result(*conn)? {
        return Ok(());
    }
    Err(Error::Unusable(
        "tables cannot be made in the database: a schema that search_path names must be there, and the user of the server needs \
         the right CREATE on it"
            .to_owned(),
    ))
}

/// The versions of the migrations that were run. Raw, because diesel would create the table that it keeps them in.
fn applied(conn: &mut Conn<'_>) -> Result<BTreeSet<String>> {
    if !has_table(conn, "__diesel_schema_migrations")? {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<String> = on!(conn, |c| sql::<Text>("SELECT version FROM __diesel_schema_migrations").load(c))?;
    Ok(versions.into_iter().collect())
}

/// The versions of the migrations that this program knows.
fn known() -> Result<BTreeSet<String>> {
    // Those of PostgreSQL have the same names.
    let known = MigrationSource::<Sqlite>::migrations(&SQLITE).map_err(migration_failed)?;
    Ok(known.iter().map(|migration| migration.name().version().to_string()).collect())
}

/// The version of the last migration that this program knows.
///
/// # Errors
/// None, unless the program was built wrongly.
pub fn last_known_migration() -> Result<String> {
    Ok(known()?.pop_last().unwrap_or_default())
}

/// The migration that a program must know to use the database; `None` if nobody has served it yet.
fn oldest(conn: &mut Conn<'_>) -> Result<Option<String>> {
    Ok(on!(conn, |c| sql::<Text>("SELECT oldest FROM server").get_result(c).optional())?)
}

/// Whether a program that knows what this one knows may use the database.
pub fn is_compatible(conn: &mut Conn<'_>) -> Result<bool> {
    Ok(too_new(conn)?.is_none())
}

/// Whether the database has what migrations have made that this program does not know.
pub fn has_unknown_migrations(conn: &mut Conn<'_>) -> Result<bool> {
    Ok(!applied(conn)?.is_subset(&known()?))
}

/// A migration that this program does not know, if it must know it to use the database.
pub(super) fn too_new(conn: &mut Conn<'_>) -> Result<Option<String>> {
    let (applied, known) = (applied(conn)?, known()?);
    let Some(unknown) = applied.difference(&known).next() else { return Ok(None) };
    let is_compatible = oldest(conn)?.is_some_and(|oldest| known.contains(&oldest));
    Ok(Some(unknown.clone()).filter(|_| !is_compatible))
}

/// The message about an unknown migration, after the name of the database.
pub(super) fn explain_newer(migration: &str) -> String {
    format!(
        "was brought up to date by a newer Duologue, with the migration {migration} that this one does not know; nothing \
         was changed: use the newer one"
    )
}

fn migrate<DB: Backend>(
    conn: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
    direction: Direction,
) -> Result<Vec<String>> {
    let done = match direction {
        Direction::Up => conn.run_pending_migrations(migrations),
        Direction::Down => conn.revert_all_migrations(migrations),
    };
    Ok(done.map_err(migration_failed)?.iter().map(ToString::to_string).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "this is what `map_err` has")]
fn migration_failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::from_message(&format!("a migration failed: {error}"))
}
