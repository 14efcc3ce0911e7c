//! The table `attempts`: how often something was tried, in windows of time.

use std::time::Duration;

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, query_dsl::methods};

use super::{Conn, Result, conn::on, schema::attempts};
use crate::model::timestamps::Timestamp;

/// Rows that one statement deletes.
const ROWS_PER_STEP: i64 = 500;
/// A window that ends by more than this later than one that begins now was begun by a clock that was ahead, and has expired. The clocks
/// of several servers differ by less.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// When the next attempt may be made; `None` if it may be made now, as there were fewer than `max` in the window.
pub fn blocked_until(
    conn: &mut Conn<'_>,
    key: i64,
    max: i32,
    now: Timestamp,
    window: Duration,
) -> Result<Option<Timestamp>> {
    let query = attempts::table
        .find(key)
        .select(attempts::expires_at)
        .filter(attempts::expires_at.gt(now))
        .filter(attempts::expires_at.le(now.later(window + CLOCK_TOLERANCE)))
        .filter(attempts::count.ge(max));
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Counts an attempt, unless there were `max` already: false then. The first one begins a window.
pub fn count(conn: &mut Conn<'_>, key: i64, max: i32, now: Timestamp, window: Duration) -> Result<bool> {
    let latest = now.later(window + CLOCK_TOLERANCE);
    let expired = diesel::delete(attempts::table.find(key))
        .filter(attempts::expires_at.le(now).or(attempts::expires_at.gt(latest)));
    on!(conn, |c| expired.execute(c))?;
    let count = diesel::insert_into(attempts::table)
        .values((attempts::key.eq(key), attempts::count.eq(1), attempts::expires_at.eq(now.later(window))))
        .on_conflict(attempts::key)
        .do_update()
        .set(attempts::count.eq(attempts::count + 1));
    // By its full name: here, and nowhere else, it is not that of `QueryDsl`.
    let count = methods::FilterDsl::filter(count, attempts::count.lt(max));
    Ok(on!(conn, |c| count.execute(c))? > 0)
}

/// An attempt does not count after all.
pub fn uncount(conn: &mut Conn<'_>, key: i64) -> Result<()> {
    let query = diesel::update(attempts::table.find(key))
        .filter(attempts::count.gt(0))
        .set(attempts::count.eq(attempts::count - 1));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// No attempt counts any more.
pub fn forget(conn: &mut Conn<'_>, key: i64) -> Result<()> {
    let query = diesel::delete(attempts::table.find(key));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Removes those that do not count any more, some at a time; gives their number, 0 if there are no more.
pub fn purge(conn: &mut Conn<'_>, now: Timestamp) -> Result<usize> {
    let expired = attempts::table.select(attempts::key).filter(attempts::expires_at.le(now)).limit(ROWS_PER_STEP);
    let keys: Vec<i64> = on!(conn, |c| expired.load(c))?;
    // A new window may have begun meanwhile.
    let query = diesel::delete(attempts::table.filter(attempts::key.eq_any(keys)).filter(attempts::expires_at.le(now)));
    Ok(on!(conn, |c| query.execute(c))?)
}
