//! The table `server`: one row about the database itself.

use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, connection::SimpleConnection};

use super::{Conn, Result, conn::on, schema::server};

/// Makes the row, unless there is one.
pub fn found(conn: &mut Conn<'_>, epoch: &str) -> Result<()> {
    let query = diesel::insert_into(server::table)
        .values((server::id.eq(1), server::epoch.eq(epoch)))
        .on_conflict(server::id)
        .do_nothing();
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The random text that tells this database from every other one.
pub fn epoch(conn: &mut Conn<'_>) -> Result<String> {
    let query = server::table.select(server::epoch);
    Ok(on!(conn, |c| query.first(c))?)
}

/// Changes it.
pub fn set_epoch(conn: &mut Conn<'_>, epoch: &str) -> Result<()> {
    let query = diesel::update(server::table).set(server::epoch.eq(epoch));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Keeps other writers of users and messages out until the end of the transaction, so that ids may be chosen.
pub fn lock_ids(conn: &mut Conn<'_>) -> Result<()> {
    match conn {
        // A transaction that writes is alone.
        Conn::Sqlite(_) => Ok(()),
        // Raw, because diesel has no LOCK.
        Conn::Postgres(c) => Ok(c.batch_execute("LOCK TABLE users, messages IN SHARE ROW EXCLUSIVE MODE")?),
    }
}

/// Makes the database give ids after those that were chosen.
pub fn release_ids(conn: &mut Conn<'_>) -> Result<()> {
    match conn {
        // AUTOINCREMENT has seen them.
        Conn::Sqlite(_) => Ok(()),
        // Raw, because diesel has no identity sequences.
        Conn::Postgres(c) => Ok(c.batch_execute(
            "SELECT setval(pg_get_serial_sequence('users', 'id'), greatest(max(id), 1), max(id) IS NOT NULL) FROM users;
             SELECT setval(pg_get_serial_sequence('messages', 'id'), greatest(max(id), 1), max(id) IS NOT NULL) FROM messages",
        )?),
    }
}
