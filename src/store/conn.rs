//! A connection to either database, a macro to write a query once for both, and transactions.

use deadpool::managed::Object;
use diesel::{
    Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection, dsl::sql, sql_query, sql_types::BigInt,
};
use diesel_async::{
    AsyncPgConnection, async_connection_wrapper::AsyncConnectionWrapper,
    pooled_connection::AsyncDieselConnectionManager,
};

use super::{Error, Result};

/// A pooled PostgreSQL connection, wrapped as a synchronous one.
pub(super) type Postgres = AsyncConnectionWrapper<Object<AsyncDieselConnectionManager<AsyncPgConnection>>>;

/// A connection that a unit of work may use.
pub enum Conn<'a> {
    /// To the embedded SQLite file.
    Sqlite(&'a mut SqliteConnection),
    /// From the PostgreSQL pool.
    Postgres(&'a mut Postgres),
}

/// `on!(conn, |c| query.load(c))`: the same diesel query on either database. With `|c: Db|` the body can also name the
/// backend.
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => {
                let $c = &mut **conn;
                $body
            }
            $crate::store::Conn::Postgres(conn) => {
                let $c = &mut **conn;
                $body
            }
        }
    };
    ($conn:expr, |$c:ident: $Db:ident| $body:expr) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => {
                type $Db = ::diesel::sqlite::Sqlite;
                let $c = &mut **conn;
                $body
            }
            $crate::store::Conn::Postgres(conn) => {
                type $Db = ::diesel::pg::Pg;
                let $c = &mut **conn;
                $body
            }
        }
    };
}
pub(super) use on;

/// Whether there is a table of this name.
pub(super) fn has_table(conn: &mut Conn<'_>, name: &str) -> Result<bool> {
    // Raw, because diesel knows only the tables of the schema.
    let query = match conn {
        Conn::Sqlite(_) => format!("SELECT count(*) FROM sqlite_schema WHERE name = '{name}'"),
        Conn::Postgres(_) => format!("SELECT count(to_regclass('{name}'))"),
    };
    Ok(on!(conn, |c| sql::<BigInt>(&query).get_result::<i64>(c))? > 0)
}

impl Conn<'_> {
    /// Runs the work in a savepoint of the transaction: if it fails, what it did is rolled back, and the transaction can go on.
    ///
    /// # Errors
    /// That of the work, or of the database.
    pub fn savepoint<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // Raw, because the transaction of the writer is none of diesel's.
        on!(self, |c| c.batch_execute("SAVEPOINT part"))?;
        let done = work(self);
        if done.is_ok() {
            on!(self, |c| c.batch_execute("RELEASE SAVEPOINT part"))?;
        } else {
            // It is gone where SQLite has rolled back the whole transaction.
            let _ = on!(self, |c| c.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part"));
        }
        done
    }
}

/// Runs the work in a transaction: committed on `Ok`, rolled back on `Err`. On SQLite the writer does this.
pub(super) fn transaction<T, E: From<Error>>(
    conn: &mut Postgres,
    work: impl FnOnce(&mut Conn<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let outcome = conn.transaction(|conn| work(&mut Conn::Postgres(conn)).map_err(Abort::Work));
    outcome.map_err(Abort::into_error)
}

/// Runs the work on one snapshot.
pub(super) fn repeatable_read<T, E: From<Error>>(
    conn: &mut Postgres,
    work: impl FnOnce(&mut Conn<'_>) -> Result<T, E>,
) -> Result<T, E> {
    transaction(conn, |conn| {
        if let Conn::Postgres(conn) = conn {
            // Raw, because diesel has no synchronous API for it.
            let kind = sql_query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
            kind.execute(&mut **conn).map_err(Error::from)?;
        }
        work(conn)
    })
}

/// Runs the work on one snapshot of SQLite, as every transaction reads there.
pub(super) fn sqlite_snapshot<T, E: From<Error>>(
    conn: &mut SqliteConnection,
    work: impl FnOnce(&mut Conn<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let outcome = conn.transaction(|conn| work(&mut Conn::Sqlite(conn)).map_err(Abort::Work));
    outcome.map_err(Abort::into_error)
}

/// Whether the work or the database caused a rollback.
enum Abort<E> {
    Work(E),
    Database(diesel::result::Error),
}

impl<E: From<Error>> Abort<E> {
    fn into_error(self) -> E {
        match self {
            Self::Work(error) => error,
            Self::Database(error) => E::from(Error::from(error)),
        }
    }
}

impl<E> From<diesel::result::Error> for Abort<E> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}
