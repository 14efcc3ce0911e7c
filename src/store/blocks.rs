//! The table `blocks`: which users have blocked which others.

use std::collections::HashSet;

use diesel::{
    BoolExpressionMethods, ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl,
    dsl::sql,
    sql_types::{BigInt, Bool, Integer},
};

use super::{
    Conn, Result,
    conn::on,
    pages::{UnionAll, assemble, slices},
    schema::{blocks, users},
};
use crate::model::{
    ids::UserId,
    pages::{End, Page, PageRequest},
    timestamps::Timestamp,
    users::User,
};

/// Inserts a block; false if there is one.
pub fn insert(conn: &mut Conn<'_>, user: UserId, blocked: UserId, at: Timestamp) -> Result<bool> {
    let query = diesel::insert_into(blocks::table)
        .values((blocks::user_id.eq(user), blocks::blocked_id.eq(blocked), blocks::created_at.eq(at)))
        .on_conflict((blocks::user_id, blocks::blocked_id))
        .do_nothing();
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// Deletes a block; false if there is none.
pub fn delete(conn: &mut Conn<'_>, user: UserId, blocked: UserId) -> Result<bool> {
    let query = diesel::delete(blocks::table.find((user, blocked)));
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// Whether one of the two has blocked the other.
pub fn exists_between(conn: &mut Conn<'_>, one: UserId, other: UserId) -> Result<bool> {
    let pair = |user, blocked| blocks::user_id.eq(user).and(blocks::blocked_id.eq(blocked));
    let found = blocks::table.filter(pair(one, other).or(pair(other, one)));
    let query = diesel::select(diesel::dsl::exists(found));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Those of these users that a user has blocked, or that have blocked the user.
pub fn among(conn: &mut Conn<'_>, user: UserId, others: &[UserId]) -> Result<Vec<UserId>> {
    let query = blocks::table.select((blocks::user_id, blocks::blocked_id)).filter(
        (blocks::user_id.eq(user).and(blocks::blocked_id.eq_any(others)))
            .or(blocks::blocked_id.eq(user).and(blocks::user_id.eq_any(others))),
    );
    let found: Vec<(UserId, UserId)> = on!(conn, |c| query.load(c))?;
    Ok(found.into_iter().map(|(one, other)| if one == user { other } else { one }).collect())
}

/// All users that a user has blocked, or that have blocked the user.
pub fn in_either_direction(conn: &mut Conn<'_>, user: UserId) -> Result<HashSet<UserId>> {
    let query = blocks::table
        .select((blocks::user_id, blocks::blocked_id))
        .filter(blocks::user_id.eq(user).or(blocks::blocked_id.eq(user)));
    let found: Vec<(UserId, UserId)> = on!(conn, |c| query.load(c))?;
    Ok(found.into_iter().map(|(one, other)| if one == user { other } else { one }).collect())
}

/// The blocks that a user has made, by blocked user.
pub fn made_by(conn: &mut Conn<'_>, user: UserId) -> Result<Vec<(UserId, UserId, Timestamp)>> {
    let query = blocks::table
        .select((blocks::user_id, blocks::blocked_id, blocks::created_at))
        .filter(blocks::user_id.eq(user))
        .order(blocks::blocked_id);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The blocks with higher keys, by user and blocked user, at most `limit`.
pub fn after(conn: &mut Conn<'_>, (user, blocked): (i64, i64), limit: i64) -> Result<Vec<(UserId, UserId, Timestamp)>> {
    let query = blocks::table
        .select((blocks::user_id, blocks::blocked_id, blocks::created_at))
        .filter(
            // Raw, because diesel does not compare rows; both databases use the index of the key for it.
            sql::<Bool>("(user_id, blocked_id) > (")
                .bind::<BigInt, _>(user)
                .sql(", ")
                .bind::<BigInt, _>(blocked)
                .sql(")"),
        )
        .order((blocks::user_id, blocks::blocked_id))
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// A page of the users that a user has blocked, by id.
pub fn page(conn: &mut Conn<'_>, user: UserId, request: PageRequest) -> Result<Page<User>> {
    let rows: Vec<(i32, User)> = on!(conn, |c: Db| {
        let selects = slices(0, &request).map(|slice| {
            let select = blocks::table
                .inner_join(users::table)
                .select((slice.tag.into_sql::<Integer>(), (users::id, users::name, users::email, users::created_at)))
                .filter(blocks::user_id.eq(user))
                .filter(blocks::blocked_id.gt(slice.after))
                .filter(blocks::blocked_id.lt(slice.before))
                .filter(users::erased_at.is_null())
                .limit(slice.limit)
                .into_boxed::<Db>();
            match slice.end {
                End::First => select.order(blocks::blocked_id.asc()),
                End::Last => select.order(blocks::blocked_id.desc()),
            }
        });
        UnionAll::new(selects.collect()).load(c)
    })?;
    Ok(assemble(request, rows, |user| user.id.key()))
}
