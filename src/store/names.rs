//! The table `name_words`: the words of users' names, by which people are found.

use std::collections::BTreeSet;

use diesel::{
    ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl,
    dsl::{auto_type, exists, sql},
    select,
    sql_types::{BigInt, Integer, Text},
};

use super::{
    Conn, Result,
    cached::CachedStatement,
    conn::on,
    pages::{Slice, UnionAll},
    schema::{name_words, users},
};
use crate::model::{ids::UserId, pages::End, texts::MAX_NAME, users::User, words::tokens};

/// Users whose names are indexed in one statement.
const BATCH: i64 = 1_000;
/// Up to this many entries of the index are read at once, regardless of their words.
const FEW: i64 = 100;
/// With more matches, users are looked at one by one instead of the index.
pub(super) const MAX_MATCHES: i64 = 4_000;
/// Of several prefixes the rarest is looked for; more than this are not counted.
const MAX_COUNTED: i64 = 100_000;
/// Words whose lists are read together, in the order of users.
const MAX_WORDS: u8 = 16;
/// If all prefixes are frequent, the one is looked for whose first matches, this many, are spread over the most users.
const SAMPLE: u8 = 64;

diesel::alias!(name_words as other_words: OtherWords);

/// The prefixes of words that a name must have to be found, each once. Empty if there are no letters or digits in the search, or if
/// it is the start of an address.
pub(super) fn prefixes(search: &str) -> Vec<String> {
    if search.contains('@') {
        return Vec::new();
    }
    let words: BTreeSet<String> = tokens(search).into_iter().map(|token| token.word).collect();
    let mut prefixes: Vec<String> = Vec::new();
    for word in words {
        // Whoever has a word that starts with the one before it is found by this one alone.
        prefixes.pop_if(|before| word.starts_with(before.as_str()));
        prefixes.push(word);
    }
    prefixes
}

/// The upper bound of the keys that start with `prefix`, except those that continue with the noncharacter U+10FFFF.
pub(super) fn end_of(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// Adds the words of a new user's name.
pub(super) fn insert(conn: &mut Conn<'_>, user: UserId, name: &str) -> Result<()> {
    insert_all(conn, &[(user, name.to_owned())])
}

/// Removes the words of a user's name.
pub(super) fn remove(conn: &mut Conn<'_>, user: UserId) -> Result<()> {
    let query = diesel::delete(name_words::table.filter(name_words::user_id.eq(user)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

fn insert_all(conn: &mut Conn<'_>, named: &[(UserId, String)]) -> Result<()> {
    let words_of = |(user, name): &(UserId, String)| {
        let (user, words) = (*user, tokens(name).into_iter().map(|token| token.word).collect::<BTreeSet<_>>());
        words.into_iter().map(move |word| (name_words::word.eq(word), name_words::user_id.eq(user)))
    };
    let rows: Vec<_> = named.iter().flat_map(words_of).collect();
    // PostgreSQL has 65,535 parameters in a statement.
    for rows in rows.chunks(10_000) {
        match conn {
            Conn::Sqlite(c) => diesel::insert_or_ignore_into(name_words::table).values(rows).execute(*c)?,
            Conn::Postgres(c) => {
                diesel::insert_into(name_words::table).values(rows).on_conflict_do_nothing().execute(*c)?
            }
        };
    }
    Ok(())
}

/// Indexes the names of all users, unless that was done: neither the migration that makes the table nor a move fills it. Users who
/// were created meanwhile are indexed already, so that the first one says whether it was done.
pub(super) fn insert_missing(conn: &mut Conn<'_>) -> Result<()> {
    let mut last = 0;
    let mut is_checked = false;
    loop {
        let named = named_after(conn, last)?;
        let Some((user, _)) = named.last() else { return Ok(()) };
        last = user.key();
        let first = named.iter().find(|(_, name)| !tokens(name).is_empty());
        if let Some((first, _)) = first.filter(|_| !is_checked) {
            is_checked = true;
            let words = name_words::table.filter(name_words::user_id.eq(first)).select(name_words::user_id);
            if on!(conn, |c| select(exists(words)).get_result(c))? {
                return Ok(());
            }
        }
        insert_all(conn, &named)?;
    }
}

/// Indexes anew the names of users who are locked, and removes those of the others of these ids, who are erased. At most 1,000 ids, because
/// the number of parameters is limited.
pub(super) fn replace(conn: &mut Conn<'_>, ids: &[UserId], users: &[User]) -> Result<()> {
    let query = diesel::delete(name_words::table.filter(name_words::user_id.eq_any(ids)));
    on!(conn, |c| query.execute(c))?;
    let named: Vec<_> = users.iter().map(|user| (user.id, user.name.clone())).collect();
    insert_all(conn, &named)
}

fn named_after(conn: &mut Conn<'_>, id: i64) -> Result<Vec<(UserId, String)>> {
    let query = users::table
        .select((users::id, users::name))
        .filter(users::id.gt(id))
        .filter(users::erased_at.is_null())
        .order(users::id)
        .limit(BATCH);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The users with a word for each of some prefixes in their names.
pub(super) enum Matches<'a> {
    /// All of them, in no order.
    Few(Vec<UserId>),
    /// They can be read in their order.
    Ordered(Ordered<'a>),
    /// The words that their names may have are too many for that.
    Many,
}

/// Users with one of these words in their names, and with a word for each of the other prefixes: the index has those of a word in the
/// order of their ids.
pub(super) struct Ordered<'a> {
    words: Vec<String>,
    others: Vec<&'a str>,
}

/// How those are found who have a word for each of these prefixes in their names, on a page of these slices.
pub(super) fn matches<'a>(conn: &mut Conn<'_>, prefixes: &'a [String], slices: &[Slice]) -> Result<Matches<'a>> {
    let is_one = prefixes.len() == 1;
    // Among several a rare one is worth the counting: all users who have another one may have to be looked at instead.
    if let Some(ids) = at_most(conn, if is_one { FEW } else { MAX_MATCHES }, prefixes)? {
        return Ok(Matches::Few(ids));
    }
    let mut sparsest = None;
    for prefix in prefixes {
        let words = words(conn, prefix)?;
        if words.len() > usize::from(MAX_WORDS) {
            continue;
        }
        let mut ordered = Ordered { words, others: Vec::new() };
        let distance = if is_one { 0 } else { ordered.distance(conn, slices)? };
        if sparsest.as_ref().is_none_or(|(farthest, _)| distance > *farthest) {
            ordered.others = without(prefixes, prefix);
            sparsest = Some((distance, ordered));
        }
    }
    Ok(match sparsest {
        Some((_, ordered)) => Matches::Ordered(ordered),
        None if is_one => at_most(conn, MAX_MATCHES, prefixes)?.map_or(Matches::Many, Matches::Few),
        None => Matches::Many,
    })
}

/// The users with a word for each of these prefixes in their names, in no order and some of them twice; `None` if more than `limit`
/// entries of the index start with the rarest prefix.
pub(super) fn at_most(conn: &mut Conn<'_>, limit: i64, prefixes: &[String]) -> Result<Option<Vec<UserId>>> {
    if prefixes.is_empty() || prefixes.len() > MAX_NAME {
        return Ok(Some(Vec::new()));
    }
    let (mut rarest, mut fewest) = (None, i64::MAX);
    for prefix in prefixes {
        let count = count(conn, "name_words", "word", prefix, limit.min(fewest).min(MAX_COUNTED))?;
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        if count < fewest {
            (rarest, fewest) = (Some(prefix), count);
        }
    }
    let Some(rarest) = rarest.filter(|_| fewest <= limit) else { return Ok(None) };
    let query = name_words::table
        .select(name_words::user_id)
        .filter(name_words::word.ge(rarest))
        .filter(name_words::word.lt(end_of(rarest)));
    let others = without(prefixes, rarest);
    Ok(Some(on!(conn, |c: Db| {
        let query = query.into_boxed::<Db>();
        let query = others.iter().fold(query, |query, other| query.filter(has_word((*other).to_owned())));
        UnionAll::new(vec![query]).cached_if(others.is_empty()).load(c)
    })?))
}

fn without<'a>(prefixes: &'a [String], one: &str) -> Vec<&'a str> {
    prefixes.iter().map(String::as_str).filter(|prefix| *prefix != one).collect()
}

/// Whether a user whose words are read has one that starts with `prefix` as well.
#[auto_type]
fn has_word(prefix: String) -> _ {
    let user = other_words.field(name_words::user_id);
    let word = other_words.field(name_words::word);
    let end: String = end_of(&prefix);
    exists(other_words.filter(user.eq(name_words::user_id)).filter(word.ge(prefix)).filter(word.lt(end)))
}

/// The words that start with `prefix`, up to one more than [`MAX_WORDS`].
fn words(conn: &mut Conn<'_>, prefix: &str) -> Result<Vec<String>> {
    // Raw, because diesel has no recursive queries: each step is one look into the index, however many users have a word.
    let next = |comparison| format!("SELECT min(word) FROM name_words WHERE word {comparison} ");
    let query = sql::<Text>("WITH RECURSIVE found (word) AS (")
        .sql(&next(">="))
        .bind::<Text, _>(prefix)
        .sql(" AND word < ")
        .bind::<Text, _>(end_of(prefix))
        .sql(" UNION ALL SELECT (")
        .sql(&next("> found.word AND word <"))
        .bind::<Text, _>(end_of(prefix))
        .sql(") FROM found WHERE word IS NOT NULL) SELECT word FROM found WHERE word IS NOT NULL LIMIT ")
        .bind::<BigInt, _>(i64::from(MAX_WORDS) + 1);
    Ok(on!(conn, |c| CachedStatement(query).load(c))?)
}

impl Ordered<'_> {
    /// Those of them in these slices, with the slices' tags. Who has two of the words may be there twice.
    pub(super) fn read(&self, conn: &mut Conn<'_>, slices: &[Slice]) -> Result<Vec<(i32, UserId)>> {
        Ok(on!(conn, |c: Db| {
            let pairs = slices.iter().flat_map(|slice| self.words.iter().map(move |word| (slice, word)));
            let selects = pairs.map(|(slice, word)| {
                let select = name_words::table
                    .select((slice.tag.into_sql::<Integer>(), name_words::user_id))
                    .filter(name_words::word.eq(word))
                    .filter(name_words::user_id.gt(slice.after))
                    .filter(name_words::user_id.lt(slice.before))
                    .limit(slice.limit)
                    .into_boxed::<Db>();
                let select =
                    self.others.iter().fold(select, |select, other| select.filter(has_word((*other).to_owned())));
                match slice.end {
                    End::First => select.order(name_words::user_id.asc()),
                    End::Last => select.order(name_words::user_id.desc()),
                }
            });
            UnionAll::new(selects.collect()).cached_if(self.others.is_empty()).load(c)
        })?)
    }

    /// Over how many ids the first of them on a page of these slices are spread: the more, the fewer they are there.
    fn distance(&self, conn: &mut Conn<'_>, slices: &[Slice]) -> Result<i64> {
        let Some(items) = slices.first() else { return Ok(0) };
        let sample = Slice { limit: SAMPLE.into(), ..*items };
        let mut ids: Vec<_> = self.read(conn, &[sample])?.into_iter().map(|(_, id)| id.key()).collect();
        ids.sort_unstable();
        let last = usize::from(SAMPLE) - 1;
        let distance = match items.end {
            End::First => ids.get(last).map(|last| last.saturating_sub(items.after.max(0))),
            End::Last => ids.iter().rev().nth(last).map(|last| items.before.saturating_sub(*last)),
        };
        Ok(distance.unwrap_or(i64::MAX))
    }
}

/// How many keys of an index start with `prefix`, up to one more than `limit`.
pub(super) fn count(conn: &mut Conn<'_>, table: &str, key: &str, prefix: &str, limit: i64) -> Result<i64> {
    // Raw, because diesel cannot count a limited select. Entries of an index are counted in a fraction of the time that it takes to
    // read them.
    let count = sql::<BigInt>(&format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {key} >= "))
        .bind::<Text, _>(prefix)
        .sql(&format!(" AND {key} < "))
        .bind::<Text, _>(end_of(prefix))
        .sql(" LIMIT ")
        .bind::<BigInt, _>(limit.saturating_add(1))
        .sql(") AS matches");
    Ok(on!(conn, |c| CachedStatement(count).get_result(c))?)
}
