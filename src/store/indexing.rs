//! The tables `indexing` and `index_changes`: how far the words of messages are indexed, and which messages were changed since they
//! were indexed.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, RunQueryDsl,
    dsl::{self, sql},
    sql_types::{BigInt, Nullable},
};

use super::{
    Conn, Result,
    conn::on,
    feed,
    schema::{index_changes, indexing, messages},
    visibility::is_recent,
};
use crate::model::{ids::MessageId, messages::IndexedMessage, searches::Scope};

/// Ids of messages without words that a search reads, at most: it takes some milliseconds.
const MAX_SCANNED_IDS: i64 = 20_000;

/// How far the words are indexed: those of all messages from one id through another.
#[derive(Clone, Copy)]
pub struct WordsIndex {
    /// The first id.
    pub from: i64,
    /// The last id; on PostgreSQL the highest there can be, as each send indexes its own words there.
    pub through: i64,
    /// How texts were split into words.
    pub version: i32,
}

/// How far the words are indexed.
pub fn words(conn: &mut Conn<'_>) -> Result<WordsIndex> {
    let query = indexing::table.select((indexing::words_from, indexing::words_through, indexing::words_version));
    let (from, through, version) = on!(conn, |c| query.first(c))?;
    Ok(WordsIndex { from, through, version })
}

/// The messages with higher ids are searched whether they are indexed or not: those that were sent last, at most
/// `MAX_SCANNED_IDS`.
pub fn scanned_after(conn: &mut Conn<'_>, index: &WordsIndex) -> Result<i64> {
    Ok(index.through.max(feed::last_id(conn)? - MAX_SCANNED_IDS))
}

/// Lets only one transaction at a time change what is indexed in the background, until its end.
pub fn lock(conn: &mut Conn<'_>) -> Result<()> {
    // SQLite has one writer.
    if let Conn::Postgres(c) = conn {
        let _: i32 = indexing::table.select(indexing::id).for_update().first(*c)?;
    }
    Ok(())
}

/// Notes how far the words are indexed.
pub fn set_words(conn: &mut Conn<'_>, WordsIndex { from, through, version }: WordsIndex) -> Result<()> {
    let query = diesel::update(indexing::table).set((
        indexing::words_from.eq(from),
        indexing::words_through.eq(through),
        indexing::words_version.eq(version),
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

#[dsl::auto_type(no_type_alias)]
fn columns() -> _ {
    (
        messages::id,
        messages::sender_id,
        messages::receiver_id,
        messages::content,
        messages::version,
        messages::created_at,
        // What is hidden is not indexed either, and no embedding model gets it.
        dsl::not(messages::deleted_at.is_null().and(is_recent())),
    )
}

/// The messages before an id, newest first, deleted ones too.
pub fn messages_before(conn: &mut Conn<'_>, id: i64, limit: i64) -> Result<Vec<IndexedMessage>> {
    let query = messages::table.select(columns()).filter(messages::id.lt(id)).order(messages::id.desc()).limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// The messages after an id, oldest first, deleted ones too.
pub fn messages_after(conn: &mut Conn<'_>, id: i64, limit: i64) -> Result<Vec<IndexedMessage>> {
    let query = messages::table.select(columns()).filter(messages::id.gt(id)).order(messages::id.asc()).limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Some messages, deleted ones too; at most 1,000, because the number of parameters is limited.
pub fn messages_by_ids(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<Vec<IndexedMessage>> {
    let query = messages::table.select(columns()).filter(messages::id.eq_any(ids));
    Ok(on!(conn, |c| query.load(c))?)
}

/// How many messages of a scope have an id after one and before another; `limit` if there are more.
pub fn count_between(conn: &mut Conn<'_>, scope: Scope, (after, before): (i64, i64), limit: i64) -> Result<i64> {
    let mut count = 0;
    for which in conditions(scope) {
        let limit = limit - count;
        // Raw, because diesel cannot count the rows of a subquery. There are numbers in it, and no texts.
        let query = sql::<BigInt>(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM messages WHERE deleted_at IS NULL AND {which} AND id > {after} AND \
             id < {before} LIMIT {limit}) AS counted"
        ));
        count += on!(conn, |c| query.get_result::<i64>(c))?;
    }
    Ok(count)
}

/// How many messages a scope has, at most `limit`, and the bytes of their texts.
pub fn size(conn: &mut Conn<'_>, scope: Scope, limit: i64) -> Result<(i64, i64)> {
    let (mut count, mut bytes) = (0, 0);
    for which in conditions(scope) {
        // Raw as above. The length of a text is found without reading it.
        let query = sql::<(BigInt, BigInt)>(&format!(
            "SELECT count(*), coalesce(sum(octet_length(content)), 0) FROM (SELECT content FROM messages \
             WHERE deleted_at IS NULL AND {which} LIMIT {}) AS counted",
            limit - count
        ));
        let (more, longer) = on!(conn, |c| query.get_result::<(i64, i64)>(c))?;
        (count, bytes) = (count + more, bytes + longer);
    }
    Ok((count, bytes))
}

/// How many messages have an id before one or after another; `limit` if there are more.
pub fn count_outside(conn: &mut Conn<'_>, (from, through): (i64, i64), limit: i64) -> Result<i64> {
    let newer = count_between(conn, Scope::All, (through, i64::MAX), limit)?;
    Ok(newer + count_between(conn, Scope::All, (i64::MIN, from), limit - newer)?)
}

/// The highest id of the messages of a scope; 0 if there is none.
pub fn newest(conn: &mut Conn<'_>, scope: Scope) -> Result<i64> {
    let mut newest = 0;
    for which in conditions(scope) {
        // Raw for the condition. There are numbers in it, and no texts.
        let query =
            sql::<Nullable<BigInt>>(&format!("SELECT max(id) FROM messages WHERE deleted_at IS NULL AND {which}"));
        newest = newest.max(on!(conn, |c| query.get_result::<Option<i64>>(c))?.unwrap_or_default());
    }
    Ok(newest)
}

/// How many messages of a scope were changed since they were indexed, of the first `limit` changed ones.
pub fn count_changed(conn: &mut Conn<'_>, scope: Scope, limit: i64) -> Result<i64> {
    count_of_changes(conn, scope, &format!("ORDER BY message_id LIMIT {limit}"))
}

/// Those that were changed last, and whose former words are still there on SQLite: a search reads the texts of so many.
pub(super) fn read_changes() -> String {
    format!("{FORMER_WORDS} LIMIT {MAX_SCANNED_IDS}")
}

/// How many messages of a scope were changed and are not among those that a search reads, of the next `limit` ones.
pub fn count_unread_changes(conn: &mut Conn<'_>, scope: Scope, limit: i64) -> Result<i64> {
    match conn {
        Conn::Sqlite(_) => {
            count_of_changes(conn, scope, &format!("{FORMER_WORDS} LIMIT {limit} OFFSET {MAX_SCANNED_IDS}"))
        }
        // An edit has replaced its words.
        Conn::Postgres(_) => Ok(0),
    }
}

const FORMER_WORDS: &str = "WHERE is_removed = FALSE ORDER BY message_id DESC";

fn count_of_changes(conn: &mut Conn<'_>, scope: Scope, which: &str) -> Result<i64> {
    let mut count = 0;
    for of_scope in conditions(scope) {
        // Raw for the condition. There are numbers in it, and no texts.
        let query = sql::<BigInt>(&format!(
            "SELECT count(*) FROM (SELECT message_id FROM index_changes {which}) AS changed \
             JOIN messages ON id = message_id WHERE deleted_at IS NULL AND {of_scope}"
        ));
        count += on!(conn, |c| query.get_result::<i64>(c))?;
    }
    Ok(count)
}

/// What the messages of a scope have in common, in SQL: each message has one of these conditions, for each of which there is an index.
pub(super) fn conditions(scope: Scope) -> Vec<String> {
    match scope {
        Scope::All => vec!["TRUE".to_owned()],
        Scope::Of(user) => vec![format!("sender_id = {}", user.key()), format!("receiver_id = {}", user.key())],
        Scope::Conversation(conversation) => {
            let [low, high] = conversation.members();
            vec![format!("low_id = {} AND high_id = {}", low.key(), high.key())]
        }
    }
}

/// Notes that messages were edited or deleted: their index is not up to date. At most 1,000, because the number of parameters is
/// limited.
pub fn note_changes(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    let row = |id: &MessageId| (index_changes::message_id.eq(*id), index_changes::is_removed.eq(false));
    let insert = |ids: &[MessageId]| {
        let rows: Vec<_> = ids.iter().map(row).collect();
        diesel::insert_into(index_changes::table).values(rows).on_conflict(index_changes::message_id).do_update()
    };
    on!(conn, |c| insert(ids).set(index_changes::is_removed.eq(false)).execute(c))?;
    Ok(())
}

/// Messages that were changed, at most `limit`: those whose former vectors are still there, or those whose are removed.
pub fn changes(conn: &mut Conn<'_>, is_removed: bool, limit: i64) -> Result<Vec<MessageId>> {
    let query = index_changes::table
        .select(index_changes::message_id)
        .filter(index_changes::is_removed.eq(is_removed))
        .order(index_changes::message_id)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Keeps others from noting changes of these messages until the end of the transaction, which then reads them as they are; at most 1,000,
/// because the number of parameters is limited.
pub fn lock_changes(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    // SQLite has one writer.
    if let Conn::Postgres(c) = conn {
        let query = index_changes::table.filter(index_changes::message_id.eq_any(ids)).order(index_changes::message_id);
        let _: Vec<MessageId> = query.select(index_changes::message_id).for_update().load(*c)?;
    }
    Ok(())
}

/// Notes that the former vectors of changed messages are removed; at most 1,000, because the number of parameters is limited.
pub fn set_removed(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    let query = diesel::update(index_changes::table.filter(index_changes::message_id.eq_any(ids)))
        .set(index_changes::is_removed.eq(true));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The index of these messages is up to date; at most 1,000, because the number of parameters is limited.
pub fn finish_changes(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    let query = diesel::delete(index_changes::table.filter(index_changes::message_id.eq_any(ids)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The index of those of these messages whose former vectors are removed is up to date: of others, such as those that were deleted
/// since, more is to be removed.
pub fn finish_removed(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    let removed = index_changes::table.filter(index_changes::message_id.eq_any(ids)).filter(index_changes::is_removed);
    let query = diesel::delete(removed);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
