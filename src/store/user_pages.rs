//! Pages of users: of all, or of those that a search matches.

use diesel::{
    BoolExpressionMethods, BoxableExpression, ExpressionMethods, IntoSql, NullableExpressionMethods, QueryDsl,
    RunQueryDsl, dsl,
    sql_types::{Bool, Integer},
};

use super::{
    Conn, Error, Result,
    conn::on,
    names::{self, MAX_MATCHES, Matches},
    pages::{Slice, UnionAll, assemble, slices},
    schema::{name_words, users},
    users::{COLUMNS, by_ids, last_id},
};
use crate::model::{
    ids::UserId,
    pages::{End, Page, PageRequest},
    texts::folded,
    users::User,
};

/// Users next to where a page begins that are looked at one by one, at most: some 20 ms. Those who match may all have higher ids, as
/// after an import that was sorted by name.
const MAX_NEARBY: i64 = 20_000;

/// The addresses that a search may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Those of all users.
    All,
    /// That of one user.
    Of(UserId),
}

/// What people are searched for by.
struct Search<'a> {
    /// What an address starts with.
    prefix: &'a str,
    /// What words of a name start with. If there are none, the name as a whole starts with `prefix`.
    word_prefixes: &'a [String],
    addresses: Addresses,
}

/// A page of all users, by id. With `search` only those in whose names words start with all of its words, or whose address starts
/// with it, if the search may match it. Names are compared as [`tokens`](crate::model::words::tokens) are, addresses without case.
pub fn page(conn: &mut Conn<'_>, search: Option<(&str, Addresses)>, request: PageRequest) -> Result<Page<User>> {
    let search = search.map(|(text, addresses)| (folded(text), names::prefixes(text), addresses));
    let Some((prefix, word_prefixes, addresses)) = search.filter(|(prefix, _, _)| !prefix.is_empty()) else {
        return Ok(assemble(request, in_order(conn, None, slices(0, &request))?, key));
    };
    let search = Search { prefix: &prefix, word_prefixes: &word_prefixes, addresses };
    if let Some(page) = from_indexes(conn, &search, request)? {
        return Ok(page);
    }
    if let Some(page) = nearby(conn, &search, request)? {
        return Ok(page);
    }
    let mut ids = by_keys(conn, &search)?;
    ids.extend(names::at_most(conn, i64::MAX, search.word_prefixes)?.unwrap_or_default());
    of_ids(conn, ids, Vec::new(), request)
}

/// A page of the users who match, if the indexes tell who they are without reading more than some thousand entries.
fn from_indexes(conn: &mut Conn<'_>, search: &Search<'_>, request: PageRequest) -> Result<Option<Page<User>>> {
    let mut is_frequent =
        |key| Ok::<_, Error>(names::count(conn, "users", key, search.prefix, MAX_MATCHES)? > MAX_MATCHES);
    if (search.addresses == Addresses::All && is_frequent("email_key")?)
        || (search.word_prefixes.is_empty() && is_frequent("name_key")?)
    {
        return Ok(None);
    }
    let slices: Vec<Slice> = slices(0, &request).collect();
    let by_words = names::matches(conn, search.word_prefixes, &slices)?;
    let (mut ids, mut rows) = (by_keys(conn, search)?, Vec::new());
    match by_words {
        Matches::Few(few) => ids.extend(few),
        Matches::Ordered(ordered) => rows = ordered.read(conn, &slices)?,
        Matches::Many => return Ok(None),
    }
    of_ids(conn, ids, rows, request).map(Some)
}

/// The users whose address a search matches, or if it has no words, the start of their name. Erased users have no keys.
fn by_keys(conn: &mut Conn<'_>, search: &Search<'_>) -> Result<Vec<UserId>> {
    let (prefix, end) = (search.prefix, names::end_of(search.prefix));
    Ok(on!(conn, |c: Db| {
        let select = || users::table.select(users::id).into_boxed::<Db>();
        let emails = select().filter(users::email_key.ge(prefix)).filter(users::email_key.lt(&end));
        let emails = match search.addresses {
            Addresses::All => emails,
            Addresses::Of(user) => emails.filter(users::id.eq(user)),
        };
        let names = select().filter(users::name_key.ge(prefix)).filter(users::name_key.lt(&end));
        let names = search.word_prefixes.is_empty().then_some(names);
        UnionAll::new([Some(emails), names].into_iter().flatten().collect()).load::<UserId>(c)
    })?)
}

/// A page of the users with these ids, and of those in these rows of its slices.
fn of_ids(
    conn: &mut Conn<'_>,
    mut ids: Vec<UserId>,
    mut rows: Vec<(i32, UserId)>,
    request: PageRequest,
) -> Result<Page<User>> {
    ids.sort_unstable();
    for slice in slices(0, &request) {
        let begin = ids.partition_point(|id| id.key() <= slice.after);
        let end = ids.partition_point(|id| id.key() < slice.before).max(begin);
        rows.extend(ids.get(begin..end).unwrap_or_default().iter().map(|id| (slice.tag, *id)));
    }
    rows.sort_unstable();
    rows.dedup();
    let page = assemble(request, rows, |id| id.key());
    let mut items = if page.items.is_empty() { Vec::new() } else { by_ids(conn, &page.items)? };
    items.sort_unstable_by_key(key);
    Ok(Page { items, has_previous: page.has_previous, has_next: page.has_next })
}

/// A page of the users who match, if they are found among those next to where it begins: users are read in their order until enough of
/// them match.
fn nearby(conn: &mut Conn<'_>, search: &Search<'_>, request: PageRequest) -> Result<Option<Page<User>>> {
    let last = last_id(conn)?;
    let mut is_all = true;
    let slices: Vec<Slice> = slices(0, &request)
        .map(|mut slice| {
            let (after, before) = (slice.after.max(0), slice.before.min(last.saturating_add(1)));
            (slice.after, slice.before) = match slice.end {
                End::First => (after, before.min(after.saturating_add(MAX_NEARBY))),
                End::Last => (after.max(before.saturating_sub(MAX_NEARBY)), before),
            };
            is_all &= (slice.after, slice.before) == (after, before);
            slice
        })
        .collect();
    let page = assemble(request, in_order(conn, Some(search), slices)?, key);
    let is_settled = match request.end {
        End::First => page.has_next && (request.after.is_none() || page.has_previous),
        End::Last => page.has_previous && (request.before.is_none() || page.has_next),
    };
    let is_full = page.items.len() == usize::from(request.limit);
    Ok(Some(page).filter(|_| is_all || (is_full && is_settled)))
}

fn key(user: &User) -> i64 {
    user.id.key()
}

/// The users who match, in these slices.
fn in_order(
    conn: &mut Conn<'_>,
    search: Option<&Search<'_>>,
    slices: impl IntoIterator<Item = Slice>,
) -> Result<Vec<(i32, User)>> {
    Ok(on!(conn, |c: Db| {
        let selects = slices.into_iter().map(|slice| {
            let select = users::table
                .select((slice.tag.into_sql::<Integer>(), COLUMNS))
                .filter(users::erased_at.is_null())
                .filter(users::id.gt(slice.after))
                .filter(users::id.lt(slice.before))
                .limit(slice.limit)
                .into_boxed::<Db>();
            let select = match search {
                None => select,
                Some(Search { prefix, word_prefixes, addresses }) => {
                    type Condition<'a> = Box<dyn BoxableExpression<users::table, Db, SqlType = Bool> + 'a>;
                    let end = names::end_of(prefix);
                    let whole: Condition<'_> =
                        Box::new(users::name_key.ge(*prefix).and(users::name_key.lt(end.clone())));
                    let words = word_prefixes.iter().map(|word| -> Condition<'_> {
                        let its = name_words::table.filter(name_words::user_id.eq(users::id));
                        let its = its.filter(name_words::word.ge(word));
                        Box::new(dsl::exists(its.filter(name_words::word.lt(names::end_of(word)))))
                    });
                    let name = words.reduce(|all, one| Box::new(all.and(one))).unwrap_or(whole);
                    let email = users::email_key.ge(*prefix).and(users::email_key.lt(end));
                    match *addresses {
                        Addresses::All => select.filter(name.nullable().or(email)),
                        Addresses::Of(user) => {
                            select.filter(name.nullable().or(users::id.eq(user).nullable().and(email)))
                        }
                    }
                }
            };
            match slice.end {
                End::First => select.order(users::id.asc()),
                End::Last => select.order(users::id.desc()),
            }
        });
        let has_few_words = search.is_none_or(|search| search.word_prefixes.len() < 2);
        UnionAll::new(selects.collect()).cached_if(has_few_words).load(c)
    })?)
}
