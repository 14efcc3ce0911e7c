//! Cached statements: prepared statements that diesel by itself would not cache.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

/// Values in the IN of a cached statement, at most: there is one text for each number of values.
pub(super) const MAX_CACHED_IN: usize = 8;

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

impl<Q> QueryId for CachedStatement<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for CachedStatement<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> RunQueryDsl<C> for CachedStatement<Q> {}
