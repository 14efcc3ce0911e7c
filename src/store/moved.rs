//! Whether a database may be used: not any more once it was moved elsewhere, and not yet while one is being moved to it.

use diesel::{RunQueryDsl, dsl::sql, sql_types::BigInt};

use super::{Conn, Error, Result, conn::on};

/// Whether there is a table of this name.
pub(super) fn has_table(conn: &mut Conn<'_>, name: &str) -> Result<bool> {
    // Raw, because it is no table of the schema.
    let query = match conn {
        Conn::Sqlite(_) => format!("SELECT count(*) FROM sqlite_schema WHERE name = '{name}'"),
        Conn::Postgres(_) => format!("SELECT count(to_regclass('{name}'))"),
    };
    Ok(on!(conn, |c| sql::<BigInt>(&query).get_result::<i64>(c))? > 0)
}

/// Whether it was moved elsewhere, and must not be used any more.
pub fn is_moved(conn: &mut Conn<'_>) -> Result<bool> {
    has_table(conn, "moved")
}

/// Whether it is being filled with another one, and must not be used yet.
pub fn is_move_target(conn: &mut Conn<'_>) -> Result<bool> {
    has_table(conn, "moving")
}

/// Refuses a database that was moved elsewhere.
///
/// # Errors
/// [`Error::Unusable`]
pub fn require_not_moved(conn: &mut Conn<'_>) -> Result<()> {
    let why =
        "the database was moved with `duologue move`, and what is written elsewhere now is not in it: name the new one";
    if is_moved(conn)? { Err(Error::Unusable(why.to_owned())) } else { Ok(()) }
}

/// Refuses a database that was moved elsewhere, or that is not whole yet.
///
/// # Errors
/// [`Error::Unusable`]
pub fn require_usable(conn: &mut Conn<'_>) -> Result<()> {
    require_not_moved(conn)?;
    let why = "the database is being moved here: let `duologue move` end first";
    if is_move_target(conn)? { Err(Error::Unusable(why.to_owned())) } else { Ok(()) }
}
