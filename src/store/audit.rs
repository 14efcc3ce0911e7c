//! The table `audit`: who did what to whom. Its rows are never changed, and are deleted only when they are old.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, NullableExpressionMethods, QueryDsl, Queryable, RunQueryDsl,
    Selectable, SelectableHelper,
};

use super::{Conn, Result, conn::on, nodes, schema::audit};
use crate::model::{
    ids::{ServiceTokenId, SessionId, UserId},
    timestamps::Timestamp,
};

/// The operator at the command line, as [`NewRecord::actor`].
pub const OPERATOR: &str = "operator";
/// Ids that one statement looks at.
const ROWS_PER_LOOK: i64 = 5_000;

/// A record of something that somebody did, to be inserted.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = audit)]
pub struct NewRecord<'a> {
    /// When.
    pub at: Timestamp,
    /// Who: [`OPERATOR`], or the id of a user or a service token.
    pub actor: &'a str,
    /// The session of the user who did it.
    pub session_id: Option<SessionId>,
    /// What: a mutation or a command.
    pub action: &'a str,
    /// To whom, or on whose behalf.
    pub user_id: Option<UserId>,
    /// What it was done with, such as the id of a message.
    pub object: Option<&'a str>,
}

/// A row of the table.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = audit)]
pub struct Record {
    /// Grows with each row.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// [`NewRecord::actor`]
    pub actor: String,
    /// [`NewRecord::session_id`]
    pub session_id: Option<SessionId>,
    /// [`NewRecord::action`]
    pub action: String,
    /// [`NewRecord::user_id`]
    pub user_id: Option<UserId>,
    /// [`NewRecord::object`]
    pub object: Option<String>,
}

/// Whom records concern: a user, or a service token.
#[derive(Debug, Clone)]
pub struct Subject {
    actor: String,
    user: Option<UserId>,
}

impl Subject {
    /// The operator.
    #[must_use]
    pub fn of_commands() -> Self {
        Self { actor: OPERATOR.to_owned(), user: None }
    }
}

impl From<UserId> for Subject {
    fn from(user: UserId) -> Self {
        Self { actor: user.to_string(), user: Some(user) }
    }
}

impl From<ServiceTokenId> for Subject {
    fn from(token: ServiceTokenId) -> Self {
        Self { actor: token.to_string(), user: None }
    }
}

/// Inserts a row.
pub fn insert(conn: &mut Conn<'_>, record: &NewRecord<'_>) -> Result<()> {
    let query = diesel::insert_into(audit::table).values(record);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Inserts a row of a command that the operator runs on the whole database, with the time by the clock of the other rows.
pub fn insert_command(conn: &mut Conn<'_>, command: &str) -> Result<()> {
    let at = nodes::clock(conn)?.unwrap_or_else(Timestamp::now);
    insert(conn, &NewRecord { at, actor: OPERATOR, session_id: None, action: command, user_id: None, object: None })
}

/// Which records are listed.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Since when, if not all.
    pub since: Option<Timestamp>,
    /// Only what this one did, or what was done to them.
    pub subject: Option<Subject>,
    /// Only this, as [`NewRecord::action`].
    pub action: Option<String>,
}

/// The rows with higher ids that a filter lets through, by id, and through which id was looked; `None` instead of it after the last one.
/// It looks at no more than some thousand rows.
pub fn after(conn: &mut Conn<'_>, after: i64, filter: &AuditFilter) -> Result<(Vec<Record>, Option<i64>)> {
    let through = after + ROWS_PER_LOOK;
    let found = on!(conn, |c: Db| {
        let mut query = audit::table
            .select(Record::as_select())
            .filter(audit::id.gt(after).and(audit::id.le(through)))
            .order(audit::id)
            .into_boxed::<Db>();
        if let Some(since) = filter.since {
            query = query.filter(audit::at.ge(since));
        }
        if let Some(Subject { actor, user }) = &filter.subject {
            query = query.filter(audit::actor.eq(actor).nullable().or(audit::user_id.eq(user)));
        }
        if let Some(action) = &filter.action {
            query = query.filter(audit::action.eq(action));
        }
        query.load(c)
    })?;
    let rest = diesel::select(diesel::dsl::exists(audit::table.filter(audit::id.gt(through))));
    let has_more: bool = on!(conn, |c| rest.get_result(c))?;
    Ok((found, has_more.then_some(through)))
}

/// Deletes rows from before an instant, at most 1,000; gives their number. Those after `now`, written while a clock was ahead, wait
/// until then.
pub fn trim(conn: &mut Conn<'_>, before: Timestamp, now: Timestamp) -> Result<usize> {
    let old = audit::table.select((audit::id, audit::at)).filter(audit::at.le(now)).order(audit::id).limit(1_000);
    let old: Vec<(i64, Timestamp)> = on!(conn, |c| old.load(c))?;
    // Not in the order of time, if a clock was wrong.
    let ids: Vec<i64> = old.into_iter().filter(|(_, at)| *at < before).map(|(id, _)| id).collect();
    let query = diesel::delete(audit::table.filter(audit::id.eq_any(ids)));
    Ok(on!(conn, |c| query.execute(c))?)
}
