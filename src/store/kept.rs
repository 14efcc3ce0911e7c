//! Statements that stay prepared although diesel would not keep them.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

/// Keys of a statement that is kept, at most.
pub(super) const FEW: usize = 128;

/// The same keys, the last one as often as it takes to make their number a power of two: so a statement for several keys has
/// a handful of texts.
pub(super) fn padded<K: Copy>(keys: &[K]) -> Vec<K> {
    let mut padded = keys.to_vec();
    if let Some(last) = keys.last().filter(|_| keys.len() <= FEW) {
        padded.resize(keys.len().next_power_of_two(), *last);
    }
    padded
}

/// A statement that stays prepared, by its text. diesel keeps no UPDATE, no ON CONFLICT and no IN, as the texts of those
/// may vary without end. This is for one with a handful of texts, and only where it gives rows: `execute` asks diesel.
pub(super) struct Kept<Q>(pub(super) Q);

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Kept<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> QueryId for Kept<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Kept<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> RunQueryDsl<C> for Kept<Q> {}
