//! The table `name_words`: the words of users' names, by which people are found.

use std::collections::BTreeSet;

use diesel::{
    ExpressionMethods, QueryDsl, RunQueryDsl,
    dsl::{exists, sql},
    select,
    sql_types::{BigInt, Text},
};

use super::{
    Conn, Result,
    cached::CachedStatement,
    conn::on,
    schema::{name_words, users},
};
use crate::model::{ids::UserId, texts::MAX_NAME, users::User, words::tokens};

/// Users whose names are indexed in one statement.
const BATCH: i64 = 1_000;
/// A word that more names have is frequent: a page of users in their order is likely to be found sooner than all of these are read.
pub(super) const MAX_MATCHES: i64 = 4_000;
/// Of several words the rarest is looked for, as far as this tells them apart.
const MAX_COUNTED: i64 = 100_000;

diesel::alias!(name_words as other_words: OtherWords);

/// The beginnings of words that a name must have to be found, each once. Empty if there are no letters or digits in the search, or if
/// it is the start of an address.
pub(super) fn beginnings(search: &str) -> Vec<String> {
    if search.contains('@') {
        return Vec::new();
    }
    let words: BTreeSet<String> = tokens(search).map(|token| token.word).collect();
    // Those that others begin with need not be looked for.
    let is_implied = |word: &&String| words.iter().any(|other| other != *word && other.starts_with(*word));
    words.iter().filter(|word| !is_implied(word)).cloned().collect()
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
        let (user, words) = (*user, tokens(name).map(|token| token.word).collect::<BTreeSet<_>>());
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
        let first = named.iter().find(|(_, name)| tokens(name).next().is_some());
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

/// The users with a word for each of these beginnings in their name; `None` if there may be more than `limit`.
pub(super) fn matches(conn: &mut Conn<'_>, beginnings: &[String], limit: i64) -> Result<Option<Vec<UserId>>> {
    if beginnings.len() > MAX_NAME {
        return Ok(Some(Vec::new()));
    }
    let (mut rarest, mut fewest) = (None, i64::MAX);
    for beginning in beginnings {
        let limit = if beginnings.len() == 1 { MAX_MATCHES } else { MAX_COUNTED.min(fewest) };
        let count = count(conn, "name_words", "word", beginning, limit)?;
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        if count < fewest {
            (rarest, fewest) = (Some(beginning), count);
        }
    }
    let Some(rarest) = rarest.filter(|_| fewest <= limit) else { return Ok(None) };
    let query = name_words::table
        .select(name_words::user_id)
        .distinct()
        .filter(name_words::word.ge(rarest))
        .filter(name_words::word.lt(end_of(rarest)));
    Ok(Some(on!(conn, |c: Db| {
        let mut query = query.into_boxed::<Db>();
        for other in beginnings.iter().filter(|other| *other != rarest) {
            let (word, user) = (other_words.field(name_words::word), other_words.field(name_words::user_id));
            let its = other_words.filter(user.eq(name_words::user_id));
            query = query.filter(exists(its.filter(word.ge(other)).filter(word.lt(end_of(other)))));
        }
        query.load(c)
    })?))
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
        .bind::<BigInt, _>(limit + 1)
        .sql(") AS matches");
    Ok(on!(conn, |c| CachedStatement(count).get_result(c))?)
}
