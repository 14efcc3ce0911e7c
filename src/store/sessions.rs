//! The table `sessions`. An ended session stays for a while, so that other processes can find its end.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};

use super::{
    Conn, Result,
    conn::on,
    schema::{sessions, users},
};
use crate::model::{
    ids::{MAX_KEY, SessionId, UserId},
    sessions::Session,
    texts::Device,
    timestamps::Timestamp,
    users::Role,
};

type Columns = (
    sessions::id,
    sessions::user_id,
    sessions::device,
    sessions::created_at,
    sessions::last_used_at,
    sessions::expires_at,
);
const COLUMNS: Columns = (
    sessions::id,
    sessions::user_id,
    sessions::device,
    sessions::created_at,
    sessions::last_used_at,
    sessions::expires_at,
);

/// Sessions that one statement ends or deletes.
const ROWS_PER_STEP: i64 = 500;

/// Inserts a session. Its refresh token contains the id, and so is set afterwards.
///
/// The id is random, so that none is given twice: after a restore, or a failover that lost commits, the tokens of sessions that are gone
/// are valid still, and must not name those of others.
pub fn insert(
    conn: &mut Conn<'_>,
    user: UserId,
    device: Option<&Device>,
    at: Timestamp,
    expires_at: Timestamp,
) -> Result<Session> {
    let no_token: Vec<u8> = rand::random::<[u8; 32]>().to_vec();
    let query = diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(rand::random_range(1..=MAX_KEY)),
            sessions::user_id.eq(user),
            sessions::device.eq(device.map(Device::as_str)),
            sessions::refresh_hash.eq(no_token),
            sessions::created_at.eq(at),
            sessions::last_used_at.eq(at),
            sessions::expires_at.eq(expires_at),
        ))
        .returning(COLUMNS);
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Sets the first refresh token.
pub fn set_refresh_hash(conn: &mut Conn<'_>, id: SessionId, hash: &[u8]) -> Result<()> {
    let query = diesel::update(sessions::table.find(id)).set(sessions::refresh_hash.eq(hash));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// An active session, and the hash of its current refresh token.
pub fn with_refresh_hash(conn: &mut Conn<'_>, id: SessionId, at: Timestamp) -> Result<Option<(Session, Vec<u8>)>> {
    let query = sessions::table
        .select((COLUMNS, sessions::refresh_hash))
        .find(id)
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(at)));
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Replaces the refresh token; `None` if the session is not active, or `old` is not its current token.
pub fn renew(
    conn: &mut Conn<'_>,
    id: SessionId,
    [old, new]: [&[u8]; 2],
    at: Timestamp,
    expires_at: Timestamp,
) -> Result<Option<Session>> {
    let query = diesel::update(sessions::table.find(id))
        .filter(sessions::refresh_hash.eq(old).and(sessions::ended_at.is_null()).and(sessions::expires_at.gt(at)))
        .set((sessions::refresh_hash.eq(new), sessions::last_used_at.eq(at), sessions::expires_at.eq(expires_at)))
        .returning(COLUMNS);
    Ok(on!(conn, |c| query.get_result(c).optional())?)
}

/// The user of the session and their role, if it is active, and the user is not suspended.
pub fn active(conn: &mut Conn<'_>, id: SessionId, at: Timestamp) -> Result<Option<(UserId, Role)>> {
    let query = sessions::table
        .inner_join(users::table)
        .select((users::id, users::role))
        .filter(sessions::id.eq(id))
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(at)))
        .filter(users::erased_at.is_null().and(users::suspended_at.is_null()));
    let found: Option<(UserId, i16)> = on!(conn, |c| query.first(c).optional())?;
    Ok(found.map(|(user, role)| (user, Role::from_code(role))))
}

/// A user's active sessions, the newest first; at most `limit`.
pub fn of_user(conn: &mut Conn<'_>, user: UserId, at: Timestamp, limit: i64) -> Result<Vec<Session>> {
    let query = sessions::table
        .select(COLUMNS)
        .filter(sessions::user_id.eq(user).and(sessions::ended_at.is_null()).and(sessions::expires_at.gt(at)))
        .order((sessions::created_at.desc(), sessions::id))
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// All sessions of a user that are kept, with those that have ended, the oldest first.
pub fn all_of(conn: &mut Conn<'_>, user: UserId) -> Result<Vec<(Session, Option<Timestamp>)>> {
    let query = sessions::table
        .select((COLUMNS, sessions::ended_at))
        .filter(sessions::user_id.eq(user))
        .order((sessions::created_at, sessions::id));
    Ok(on!(conn, |c| query.load(c))?)
}

/// Ends a session, unless it has ended; gives its user.
pub fn end(conn: &mut Conn<'_>, id: SessionId, at: Timestamp) -> Result<Option<UserId>> {
    let query = diesel::update(sessions::table.find(id))
        .filter(sessions::ended_at.is_null())
        .set(sessions::ended_at.eq(at))
        .returning(sessions::user_id);
    Ok(on!(conn, |c| query.get_result(c).optional())?)
}

/// Ends all sessions of a user except one; gives those that it ended.
pub fn end_all(conn: &mut Conn<'_>, user: UserId, except: Option<SessionId>, at: Timestamp) -> Result<Vec<SessionId>> {
    // No session has the id 0.
    let excepted = except.map_or(0, SessionId::key);
    let query = diesel::update(sessions::table)
        .filter(sessions::user_id.eq(user).and(sessions::ended_at.is_null()).and(sessions::id.ne(excepted)))
        .set(sessions::ended_at.eq(at))
        .returning(sessions::id);
    Ok(on!(conn, |c| query.get_results(c))?)
}

/// Forgets on which devices a user had sessions.
pub fn forget_devices(conn: &mut Conn<'_>, user: UserId) -> Result<()> {
    let of_user = sessions::table.filter(sessions::user_id.eq(user).and(sessions::device.is_not_null()));
    on!(conn, |c| diesel::update(of_user).set(sessions::device.eq(None::<&str>)).execute(c))?;
    Ok(())
}

/// Ends the oldest sessions of a user, so that with the new one at most so many are left.
pub fn end_oldest(conn: &mut Conn<'_>, new: &Session, keep: i64, at: Timestamp) -> Result<()> {
    let oldest = sessions::table
        .select(sessions::id)
        .filter(sessions::user_id.eq(new.user_id).and(sessions::ended_at.is_null()).and(sessions::id.ne(new.id)))
        .order((sessions::created_at.desc(), sessions::id))
        .offset(keep - 1)
        .limit(ROWS_PER_STEP);
    let ids: Vec<SessionId> = on!(conn, |c| oldest.load(c))?;
    if !ids.is_empty() {
        let query = diesel::update(sessions::table.filter(sessions::id.eq_any(ids))).set(sessions::ended_at.eq(at));
        on!(conn, |c| query.execute(c))?;
    }
    Ok(())
}

/// Deletes sessions that ended, or expired, before an instant, some at a time; gives their number, 0 if there are no more.
pub fn purge(conn: &mut Conn<'_>, before: Timestamp) -> Result<usize> {
    let all = sessions::table.select(sessions::id).limit(ROWS_PER_STEP);
    let ended: Vec<SessionId> = on!(conn, |c| all.filter(sessions::ended_at.lt(before)).load(c))?;
    let expired: Vec<SessionId> = on!(conn, |c| all.filter(sessions::expires_at.lt(before)).load(c))?;
    let query = diesel::delete(sessions::table.filter(sessions::id.eq_any(ended.into_iter().chain(expired))));
    Ok(on!(conn, |c| query.execute(c))?)
}

/// The sessions that ended at an instant or later.
pub fn ended_since(conn: &mut Conn<'_>, at: Timestamp) -> Result<Vec<SessionId>> {
    let query = sessions::table.select(sessions::id).filter(sessions::ended_at.ge(at)).order(sessions::ended_at);
    Ok(on!(conn, |c| query.load(c))?)
}
