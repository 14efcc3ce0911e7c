//! Cached statements: prepared statements that diesel by itself would not cache.

use diesel::{
    QueryResult, RunQueryDsl, SqliteConnection,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::Integer,
    sqlite::Sqlite,
};

use super::Result;

/// Keys of a cached statement, at most.
pub(super) const MAX_CACHED_KEYS: usize = 128;

/// The same keys, the last one repeated until their number is a power of two: so a statement for several keys has a handful of
/// texts.
pub(super) fn padded<K: Copy>(keys: &[K]) -> Vec<K> {
    let mut padded = keys.to_vec();
    if let Some(last) = keys.last().filter(|_| keys.len() <= MAX_CACHED_KEYS) {
        padded.resize(keys.len().next_power_of_two(), *last);
    }
    padded
}

/// A statement whose prepared form is cached, by its text. diesel caches no UPDATE, ON CONFLICT or IN, because their texts
/// may vary without bound. This is for statements with few texts, and only for those that return rows: `execute` does not
/// use the cache.
pub(super) struct CachedStatement<Q>(pub(super) Q);

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for CachedStatement<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

/// Runs a statement that returns no rows, and caches its prepared form. On SQLite only, and for few texts: written in SQL,
/// because diesel would cache only what returns rows, for which SQLite makes a temporary table each time.
pub(super) fn run_cached<Q>(conn: &mut SqliteConnection, statement: Q) -> Result<()>
where
    Q: Query<SqlType = Integer> + QueryFragment<Sqlite>,
{
    let none: Vec<i32> = CachedStatement(statement).load(conn)?;
    debug_assert!(none.is_empty());
    Ok(())
}

impl<Q> QueryId for CachedStatement<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for CachedStatement<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> RunQueryDsl<C> for CachedStatement<Q> {}
