//! Pages in SQL: one statement reads any number of pages, each with whether there are items before and after it.
//!
//! Each [`PageRequest`] becomes up to three selects that scan an index in order: its items and one more, and for each
//! cursor one row from the other side of it. All are joined by `UNION ALL` and tagged.

use std::{collections::HashMap, marker::PhantomData};

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

use crate::model::pages::{End, Page, PageRequest};

/// SQLite allows 500 selects in one compound select; a page has at most three.
pub(super) const PAGES_PER_STATEMENT: usize = 150;

/// One select of a statement: up to `limit` rows whose keys are strictly between `after` and `before`.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    /// Which page and which part of it: the page's index times three, plus the [`SlicePart`].
    pub(super) tag: i32,
    pub(super) after: i64,
    pub(super) before: i64,
    pub(super) limit: i64,
    pub(super) end: End,
}

/// The part of a page that a slice is for.
#[derive(Clone, Copy)]
enum SlicePart {
    Items = 0,
    Earlier = 1,
    Later = 2,
}

/// The slices of a page.
pub(super) fn slices(index: usize, request: &PageRequest) -> impl Iterator<Item = Slice> + use<> {
    let slice = |part: SlicePart, after: Option<i64>, before: Option<i64>, limit: i64, end: End| Slice {
        tag: i32::try_from(index).unwrap_or(i32::MAX / 3) * 3 + part as i32,
        after: after.unwrap_or(i64::MIN),
        before: before.unwrap_or(i64::MAX),
        limit,
        end,
    };
    let items = slice(SlicePart::Items, request.after, request.before, i64::from(request.limit) + 1, request.end);
    let earlier = request.after.map(|key| slice(SlicePart::Earlier, None, Some(key.saturating_add(1)), 1, End::Last));
    let later = request.before.map(|key| slice(SlicePart::Later, Some(key.saturating_sub(1)), None, 1, End::First));
    [Some(items), earlier, later].into_iter().flatten()
}

/// The page, from the tagged rows of its slices.
pub(super) fn assemble<T>(request: PageRequest, rows: Vec<(i32, T)>, key: impl Fn(&T) -> i64) -> Page<T> {
    let mut page = Page::empty();
    for (tag, row) in rows {
        match tag % 3 {
            tag if tag == SlicePart::Earlier as i32 => page.has_previous = true,
            tag if tag == SlicePart::Later as i32 => page.has_next = true,
            _ => page.items.push(row),
        }
    }
    page.items.sort_by_key(key);
    let limit = usize::from(request.limit);
    let surplus = page.items.len().saturating_sub(limit);
    if surplus > 0 {
        match request.end {
            End::First => {
                page.items.truncate(limit);
                page.has_next = true;
            }
            End::Last => {
                page.items.drain(..surplus);
                page.has_previous = true;
            }
        }
    }
    page
}

/// The pages of one statement, in the order of their requests.
pub(super) fn assemble_each<T>(
    requests: impl Iterator<Item = PageRequest>,
    rows: Vec<(i32, T)>,
    key: impl Fn(&T) -> i64,
) -> Vec<Page<T>> {
    let mut rows_of: HashMap<i32, Vec<(i32, T)>> = HashMap::new();
    for (tag, row) in rows {
        rows_of.entry(tag / 3).or_default().push((tag, row));
    }
    let rows_of_next = |index| rows_of.remove(&index).unwrap_or_default();
    (0..).map(rows_of_next).zip(requests).map(|(rows, request)| assemble(request, rows, &key)).collect()
}

/// `SELECT * FROM (…) AS slice UNION ALL SELECT * FROM (…) AS slice …`: diesel has no union of ordered, limited selects.
pub(super) struct UnionAll<S, ST> {
    selects: Vec<S>,
    is_cached: bool,
    row: PhantomData<ST>,
}

impl<S: Query> UnionAll<S, S::SqlType> {
    /// Statements of one page have few texts and are worth caching; those of several pages differ each time.
    pub(super) fn new(selects: Vec<S>) -> Self {
        Self { is_cached: selects.len() <= 3, selects, row: PhantomData }
    }

    /// The statement, not cached where the text depends on what somebody has written: the cache of a connection has no limit.
    pub(super) fn cached_if(self, has_few_texts: bool) -> Self {
        Self { is_cached: self.is_cached && has_few_texts, ..self }
    }
}

impl<DB: Backend, S: QueryFragment<DB>, ST> QueryFragment<DB> for UnionAll<S, ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_cached {
            out.unsafe_to_cache_prepared();
        }
        for (index, select) in self.selects.iter().enumerate() {
            out.push_sql(if index == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
            select.walk_ast(out.reborrow())?;
            out.push_sql(") AS slice");
        }
        Ok(())
    }
}

impl<S, ST> QueryId for UnionAll<S, ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S: Query, ST> Query for UnionAll<S, ST> {
    type SqlType = S::SqlType;
}

impl<S, ST, C> RunQueryDsl<C> for UnionAll<S, ST> {}
