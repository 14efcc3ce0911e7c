//! The table `identities`: the issuers' subjects and their users.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};

use super::{
    Conn, Result,
    conn::on,
    schema::{identities, users},
};
use crate::model::{ids::UserId, timestamps::Timestamp};

/// What has become of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its user may act.
    Active,
    /// Its user may not act for now.
    Suspended,
    /// It is no more, and is not made again.
    Erased,
}

/// The user whom this subject of an issuer has, or had, and when the account was created.
pub fn user(conn: &mut Conn<'_>, issuer: &str, subject: &str) -> Result<Option<(UserId, Timestamp, Standing)>> {
    let query = identities::table
        .inner_join(users::table)
        .select((users::id, users::created_at, users::suspended_at.is_not_null(), users::erased_at.is_not_null()))
        .filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)));
    let found: Option<(UserId, Timestamp, bool, bool)> = on!(conn, |c| query.first(c).optional())?;
    Ok(found.map(|(id, created_at, is_suspended, is_erased)| {
        let standing = match (is_erased, is_suspended) {
            (true, _) => Standing::Erased,
            (false, true) => Standing::Suspended,
            (false, false) => Standing::Active,
        };
        (id, created_at, standing)
    }))
}

/// Whether an account was made for a subject of an issuer.
pub fn has_any(conn: &mut Conn<'_>, user: UserId) -> Result<bool> {
    let query = diesel::select(diesel::dsl::exists(identities::table.filter(identities::user_id.eq(user))));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// The users from one through another with their issuers and subjects, in any order.
pub fn of_users(conn: &mut Conn<'_>, from: UserId, through: UserId) -> Result<Vec<(UserId, String, String)>> {
    let query = identities::table
        .select((identities::user_id, identities::issuer, identities::subject))
        .filter(identities::user_id.between(from, through));
    Ok(on!(conn, |c| query.load(c))?)
}

/// Inserts the subject of a user; false if the subject has a user already.
pub fn insert(conn: &mut Conn<'_>, issuer: &str, subject: &str, user: UserId) -> Result<bool> {
    let query = diesel::insert_into(identities::table)
        .values((identities::issuer.eq(issuer), identities::subject.eq(subject), identities::user_id.eq(user)))
        .on_conflict((identities::issuer, identities::subject))
        .do_nothing();
    Ok(on!(conn, |c| query.execute(c))? > 0)
}
