//! Whether a database may be used: not any more once it was moved elsewhere, and not yet while one is being moved to it.

use super::{Conn, Error, Result, conn::has_table};

/// Whether the database was moved elsewhere, and must not be used any more.
pub fn is_moved(conn: &mut Conn<'_>) -> Result<bool> {
    has_table(conn, "moved")
}

/// Whether the database is being filled with another one, and must not be used yet.
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
