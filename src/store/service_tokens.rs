//! The table `service_tokens`: credentials of programs, which may act as any user.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, dsl::exists};

use super::{Conn, Result, conn::on, schema::service_tokens};
use crate::model::{ids::ServiceTokenId, timestamps::Timestamp};

/// Inserts a token.
pub fn insert(conn: &mut Conn<'_>, name: &str, hash: &[u8], at: Timestamp) -> Result<ServiceTokenId> {
    let query = diesel::insert_into(service_tokens::table)
        .values((service_tokens::name.eq(name), service_tokens::token_hash.eq(hash), service_tokens::created_at.eq(at)))
        .returning(service_tokens::id);
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// The token with this hash, if it was not revoked.
pub fn active(conn: &mut Conn<'_>, hash: &[u8]) -> Result<Option<ServiceTokenId>> {
    let query = service_tokens::table
        .select(service_tokens::id)
        .filter(service_tokens::token_hash.eq(hash).and(service_tokens::revoked_at.is_null()));
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Whether there is such a token that was not revoked.
pub fn is_active(conn: &mut Conn<'_>, id: ServiceTokenId) -> Result<bool> {
    let query = diesel::select(exists(service_tokens::table.find(id).filter(service_tokens::revoked_at.is_null())));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Revokes a token; false if there is no active one.
pub fn revoke(conn: &mut Conn<'_>, id: ServiceTokenId, at: Timestamp) -> Result<bool> {
    let query = diesel::update(service_tokens::table.find(id))
        .filter(service_tokens::revoked_at.is_null())
        .set(service_tokens::revoked_at.eq(at));
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// The tokens that were revoked at an instant or later.
pub fn revoked_since(conn: &mut Conn<'_>, at: Timestamp) -> Result<Vec<ServiceTokenId>> {
    let query = service_tokens::table.select(service_tokens::id).filter(service_tokens::revoked_at.ge(at));
    Ok(on!(conn, |c| query.load(c))?)
}

/// All active tokens, with their names, oldest first.
pub fn all(conn: &mut Conn<'_>) -> Result<Vec<(ServiceTokenId, String, Timestamp)>> {
    let query = service_tokens::table
        .select((service_tokens::id, service_tokens::name, service_tokens::created_at))
        .filter(service_tokens::revoked_at.is_null())
        .order(service_tokens::id);
    Ok(on!(conn, |c| query.load(c))?)
}
