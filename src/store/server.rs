//! The table `server`: one row about the database itself.

use std::time::Duration;

use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, connection::SimpleConnection, dsl::sql, sql_types::BigInt};

use super::{
    Conn, Result,
    conn::on,
    migrations,
    schema::{retention, server},
};
use crate::model::timestamps::Timestamp;

/// Creates the row, unless there is one.
pub fn create_if_missing(conn: &mut Conn<'_>, epoch: &str) -> Result<()> {
    let query = diesel::insert_into(server::table)
        .values((server::id.eq(1), server::epoch.eq(epoch), server::oldest.eq(migrations::OLDEST_COMPATIBLE)))
        .on_conflict(server::id)
        .do_nothing();
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The random text that identifies this database.
pub fn epoch(conn: &mut Conn<'_>) -> Result<String> {
    let query = server::table.select(server::epoch);
    Ok(on!(conn, |c| query.first(c))?)
}

/// For how long messages can be read; `None` for ever.
pub fn message_retention(conn: &mut Conn<'_>) -> Result<Option<Duration>> {
    let query = server::table.select(server::message_retention);
    let milliseconds: Option<i64> = on!(conn, |c| query.first(c))?;
    Ok(milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.unsigned_abs())))
}

/// Changes for how long messages can be read.
pub fn set_message_retention(conn: &mut Conn<'_>, retention: Option<Duration>) -> Result<()> {
    let milliseconds = retention.map(|retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let query = diesel::update(server::table).set(server::message_retention.eq(milliseconds));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// When the oldest messages were sent that can be read.
pub fn messages_from(conn: &mut Conn<'_>) -> Result<Timestamp> {
    let query = retention::table.select(retention::messages_from);
    Ok(on!(conn, |c| query.first(c))?)
}

/// How many users and messages there are, each counted up to a limit.
pub fn count_contents(conn: &mut Conn<'_>, limit: i64) -> Result<(i64, i64)> {
    // Raw, because diesel cannot count a limited select.
    let query =
        sql::<(BigInt, BigInt)>("SELECT (SELECT count(*) FROM (SELECT 1 FROM users WHERE erased_at IS NULL LIMIT ")
            .bind::<BigInt, _>(limit)
            .sql(") AS counted), (SELECT count(*) FROM (SELECT 1 FROM messages WHERE deleted_at IS NULL LIMIT ")
            .bind::<BigInt, _>(limit)
            .sql(") AS counted)");
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Changes the epoch: the history of the database is another one from now on.
pub fn set_epoch(conn: &mut Conn<'_>, epoch: &str) -> Result<()> {
    let query = diesel::update(server::table).set(server::epoch.eq(epoch));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Writes what is there already: fails if nothing can be written.
pub fn touch(conn: &mut Conn<'_>) -> Result<()> {
    let query = diesel::update(server::table).set(server::id.eq(server::id));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// As [`set_epoch`], if the epoch is `former` still; false if it is another one already.
pub fn replace_epoch(conn: &mut Conn<'_>, former: &str, epoch: &str) -> Result<bool> {
    // Locks the row: of several servers one does it.
    let query = diesel::update(server::table.filter(server::epoch.eq(former))).set(server::epoch.eq(epoch));
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// Locks out other writers of users, messages and events until the end of the transaction, so that explicit ids may be inserted.
pub fn lock_ids(conn: &mut Conn<'_>) -> Result<()> {
    match conn {
        // There is only one writer.
        Conn::Sqlite(_) => Ok(()),
        // Raw, because diesel has no LOCK. In the order in which every transaction changes these tables: this prevents deadlocks.
        Conn::Postgres(c) => Ok(c.batch_execute("LOCK TABLE users, messages, events IN SHARE ROW EXCLUSIVE MODE")?),
    }
}

/// Advances the id sequences past the explicit ids, of which the last one of a message or an event is `last`.
pub fn release_ids(conn: &mut Conn<'_>, last: i64) -> Result<()> {
    match conn {
        // SQLite takes them into account.
        Conn::Sqlite(_) => Ok(()),
        // Raw, because diesel has no identity sequences. Never back: they may have given numbers to what was rolled back, or lost
        // some in a crash, and servers have seen these.
        Conn::Postgres(c) => Ok(c.batch_execute(&format!(
            "SELECT setval('users_id_seq', greatest(last, last_value), last > 0 OR is_called)
                 FROM users_id_seq, (SELECT coalesce(max(id), 0) AS last FROM users) AS users;
             SELECT setval('messages_id_seq', greatest({last}, last_value), {last} > 0 OR is_called) FROM messages_id_seq"
        ))?),
    }
}
