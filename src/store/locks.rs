//! Locks that one of several servers on a database holds.

use diesel::{
    dsl::sql,
    sql_types::{Bool, Integer},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::Result;

/// A lock that is held until it is dropped, or its connection is lost. It is for work that may be done twice, but need not be.
pub struct Lock {
    /// A connection of its own; `None` on SQLite, which is for one server.
    conn: Option<AsyncPgConnection>,
}

impl Lock {
    pub(super) fn of_sqlite() -> Self {
        Self { conn: None }
    }

    /// `None` if somebody else holds it.
    pub(super) async fn try_on(mut conn: AsyncPgConnection, key: i32) -> Result<Option<Self>> {
        // Raw, because diesel has no advisory locks. They are of a whole database, where each schema may be of other servers.
        let lock = sql::<Bool>("SELECT pg_try_advisory_lock(")
            .bind::<Integer, _>(key)
            .sql(", CAST(oid AS INTEGER)) FROM pg_namespace WHERE nspname = current_schema()");
        let is_held: bool = lock.get_result(&mut conn).await?;
        Ok(is_held.then_some(Self { conn: Some(conn) }))
    }

    /// Whether its connection is still there.
    pub async fn is_held(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return true };
        let answered: Result<bool, _> = diesel::select(sql::<Bool>("TRUE")).get_result(conn).await;
        answered.is_ok()
    }
}
