//! The table `users`. The row of an erased account stays, without its personal data, for the messages that name it.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl,
    dsl::{self, max},
};

use super::{
    Conn, Result,
    cached::{CachedStatement, MAX_CACHED_KEYS, padded},
    conn::on,
    names,
    schema::users,
};
use crate::model::{
    ids::UserId,
    texts::{Email, Name},
    timestamps::Timestamp,
    users::{Account, Role, User},
};

pub(super) type Columns = (users::id, users::name, users::email, users::created_at);
pub(super) const COLUMNS: Columns = (users::id, users::name, users::email, users::created_at);

/// The users with these ids, in any order.
pub fn by_ids(conn: &mut Conn<'_>, ids: &[UserId]) -> Result<Vec<User>> {
    let ids = padded(ids);
    let query = users::table.select(COLUMNS).filter(users::id.eq_any(&ids)).filter(users::erased_at.is_null());
    Ok(on!(conn, |c| if ids.len() <= MAX_CACHED_KEYS { CachedStatement(query).load(c) } else { query.load(c) })?)
}

/// Locks these users until the end of the transaction, and with them their conversations and feeds; erased ones too. Gives
/// those that are not erased, by id.
pub fn lock(conn: &mut Conn<'_>, ids: &[UserId]) -> Result<Vec<User>> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    match conn {
        // There is only one writer.
        Conn::Sqlite(c) => {
            let mut present = Vec::with_capacity(ids.len());
            for id in ids {
                let query = users::table.select(COLUMNS).find(id).filter(users::erased_at.is_null());
                present.extend(query.first(*c).optional()?);
            }
            Ok(present)
        }
        Conn::Postgres(c) => {
            let rows: Vec<(User, bool)> = users::table
                .select((COLUMNS, users::erased_at.is_null()))
                .filter(users::id.eq_any(ids))
                .order(users::id)
                .for_no_key_update()
                .load(*c)?;
            Ok(rows.into_iter().filter(|(_, present)| *present).map(|(user, _)| user).collect())
        }
    }
}

/// Indexes the names of the users with higher ids anew, at most `limit`; gives the last id, `None` after the last user.
pub fn reindex_names(conn: &mut Conn<'_>, after: i64, limit: i64) -> Result<Option<i64>> {
    let query = users::table.select(users::id).filter(users::id.gt(after)).order(users::id).limit(limit);
    let ids: Vec<UserId> = on!(conn, |c| query.load(c))?;
    let Some(last) = ids.last() else { return Ok(None) };
    // So that nobody is renamed or erased meanwhile.
    let present = lock(conn, &ids)?;
    names::replace(conn, &ids, &present)?;
    Ok(Some(last.key()))
}

/// A user to be inserted.
pub struct NewUser<'a> {
    /// Only on an empty database; otherwise the database assigns the next one.
    pub id: Option<UserId>,
    /// Display name.
    pub name: &'a Name,
    /// Address, if it is known.
    pub email: Option<&'a Email>,
    /// When the account was created.
    pub created_at: Timestamp,
    /// The hash of the password, if the user can sign in with one.
    pub password_hash: Option<&'a str>,
    /// What the user may do.
    pub role: Role,
}

/// Inserts a user. An address that is taken is [`Constraint::UniqueEmail`](super::Constraint).
pub fn insert(conn: &mut Conn<'_>, user: &NewUser<'_>) -> Result<User> {
    let query = diesel::insert_into(users::table)
        .values((
            user.id.map(|id| users::id.eq(id)),
            users::name.eq(user.name.as_str()),
            users::name_key.eq(user.name.key()),
            users::email.eq(user.email.map(Email::as_str)),
            users::email_key.eq(user.email.map(Email::key)),
            users::created_at.eq(user.created_at),
            users::password_hash.eq(user.password_hash),
            users::role.eq(user.role.code()),
        ))
        .returning(COLUMNS);
    let inserted: User = on!(conn, |c| query.get_result(c))?;
    names::insert(conn, inserted.id, &inserted.name)?;
    Ok(inserted)
}

/// Inserts an account that was erased, on an empty database with its id; gives the id.
pub fn insert_erased(
    conn: &mut Conn<'_>,
    id: Option<UserId>,
    created_at: Timestamp,
    erased_at: Timestamp,
) -> Result<UserId> {
    let query = diesel::insert_into(users::table)
        .values((
            id.map(|id| users::id.eq(id)),
            users::name.eq(""),
            users::name_key.eq(""),
            users::created_at.eq(created_at),
            users::erased_at.eq(erased_at),
        ))
        .returning(users::id);
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Changes the fields that are given; at least one must be.
pub fn update(conn: &mut Conn<'_>, id: UserId, name: Option<&Name>, email: Option<&Email>) -> Result<Option<User>> {
    let query = diesel::update(users::table.find(id))
        .filter(users::erased_at.is_null())
        .set((
            name.map(|name| (users::name.eq(name.as_str()), users::name_key.eq(name.key()))),
            email.map(|email| (users::email.eq(email.as_str()), users::email_key.eq(email.key()))),
        ))
        .returning(COLUMNS);
    let updated: Option<User> = on!(conn, |c| query.get_result(c).optional())?;
    if let Some(user) = updated.as_ref().filter(|_| name.is_some()) {
        names::remove(conn, id)?;
        names::insert(conn, id, &user.name)?;
    }
    Ok(updated)
}

/// The user with this address, and the hash of their password.
pub fn by_email(conn: &mut Conn<'_>, email: &Email) -> Result<Option<(User, Option<String>)>> {
    let query = users::table
        .select((COLUMNS, users::password_hash))
        .filter(users::email_key.eq(email.key()))
        .filter(users::erased_at.is_null());
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// The hash of a user's password; `None` if there is none, or no such user.
pub fn password_hash(conn: &mut Conn<'_>, id: UserId) -> Result<Option<String>> {
    let query = users::table.select(users::password_hash).find(id).filter(users::erased_at.is_null());
    let found: Option<Option<String>> = on!(conn, |c| query.first(c).optional())?;
    Ok(found.flatten())
}

/// Changes the password, unless the account was erased.
pub fn set_password(conn: &mut Conn<'_>, id: UserId, hash: &str) -> Result<()> {
    let account = users::table.find(id).filter(users::erased_at.is_null());
    let query = diesel::update(account).set(users::password_hash.eq(hash));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Changes what a user may do; false if it was that already, or the account was erased.
pub fn set_role(conn: &mut Conn<'_>, id: UserId, role: Role) -> Result<bool> {
    let account = users::table.find(id).filter(users::erased_at.is_null());
    let query = diesel::update(account.filter(users::role.ne(role.code()))).set(users::role.eq(role.code()));
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// Suspends an account, or ends its suspension if there is no time; false if nothing changed: the account is erased, or in that state
/// already.
pub fn set_suspended(conn: &mut Conn<'_>, id: UserId, at: Option<Timestamp>) -> Result<bool> {
    let account = users::table.find(id).filter(users::erased_at.is_null());
    let changed = account.filter(users::suspended_at.is_null().eq(at.is_some()));
    let query = diesel::update(changed).set(users::suspended_at.eq(at));
    Ok(on!(conn, |c| query.execute(c))? > 0)
}

/// Whether the user may act, or else is suspended, and when the account was created; `None` if there is no such user.
pub fn standing(conn: &mut Conn<'_>, id: UserId) -> Result<Option<(bool, Timestamp)>> {
    let columns = (users::suspended_at.is_null(), users::created_at);
    let query = users::table.select(columns).find(id).filter(users::erased_at.is_null());
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// Those who were suspended at this time or later.
pub fn suspended_since(conn: &mut Conn<'_>, at: Timestamp) -> Result<Vec<UserId>> {
    let query = users::table.select(users::id).filter(users::suspended_at.ge(at));
    Ok(on!(conn, |c| query.load(c))?)
}

/// The accounts with a higher id, by id.
pub fn accounts_after(conn: &mut Conn<'_>, after: Option<UserId>, limit: i64) -> Result<Vec<Account>> {
    let query = users::table
        .select((COLUMNS, users::role, users::suspended_at))
        .filter(users::id.gt(after.map_or(0, UserId::key)))
        .filter(users::erased_at.is_null())
        .order(users::id)
        .limit(limit);
    let rows: Vec<(User, i16, Option<Timestamp>)> = on!(conn, |c| query.load(c))?;
    let account = |(user, role, suspended_at)| Account { user, role: Role::from_code(role), suspended_at };
    Ok(rows.into_iter().map(account).collect())
}

/// Whether there is a user with this role who is not suspended. It may read all users.
pub fn any_with_role(conn: &mut Conn<'_>, role: Role) -> Result<bool> {
    let active = users::table.filter(users::role.eq(role.code()).and(users::suspended_at.is_null()));
    let query = diesel::select(dsl::exists(active));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Removes all that is personal; false if there was no such user.
pub fn erase(conn: &mut Conn<'_>, id: UserId, at: Timestamp) -> Result<bool> {
    let query = diesel::update(users::table.find(id)).filter(users::erased_at.is_null()).set((
        users::name.eq(""),
        users::name_key.eq(""),
        users::email.eq(None::<&str>),
        users::email_key.eq(None::<&str>),
        users::password_hash.eq(None::<&str>),
        users::role.eq(Role::User.code()),
        users::erased_at.eq(at),
        users::suspended_at.eq(None::<Timestamp>),
    ));
    let is_erased = on!(conn, |c| query.execute(c))? > 0;
    names::remove(conn, id)?;
    Ok(is_erased)
}

/// Those who were erased at this time or later. None on SQLite, where there is no index for it and no other server.
pub fn erased_since(conn: &mut Conn<'_>, at: Timestamp) -> Result<Vec<UserId>> {
    let Conn::Postgres(c) = conn else { return Ok(Vec::new()) };
    Ok(users::table.select(users::id).filter(users::erased_at.ge(at)).load(*c)?)
}

/// Whether there is such a user.
pub fn exists(conn: &mut Conn<'_>, id: UserId) -> Result<bool> {
    let query = diesel::select(dsl::exists(users::table.find(id).filter(users::erased_at.is_null())));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// The highest id; 0 before the first.
pub fn last_id(conn: &mut Conn<'_>) -> Result<i64> {
    let query = users::table.select(max(users::id));
    let last: Option<i64> = on!(conn, |c| query.first(c))?;
    Ok(last.unwrap_or(0))
}
