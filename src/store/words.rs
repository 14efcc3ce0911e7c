//! The table `message_words`: the words of messages, as `model::words` splits texts. On SQLite it is an FTS5 table
//! (<https://www.sqlite.org/fts5.html>), on PostgreSQL one with a `tsvector`. Neither database splits texts itself, and of what
//! is looked for only words reach them, in quotes: no text can be a query of theirs.
//!
//! The ids of a message's members are words, too, so that a user's messages are found in the index.

use std::{cmp::Reverse, collections::HashMap, fmt::Write};

use diesel::{
    QueryResult, RunQueryDsl,
    connection::{DefaultLoadingMode, SimpleConnection},
    dsl::sql,
    sql_query,
    sql_types::{Array, BigInt, Integer, Text},
};

use super::{
    Conn, Result,
    cached::run_cached,
    conn::on,
    indexing,
    visibility::{IS_READABLE, SQL_COLUMNS, SqlColumns},
};
use crate::model::{
    ids::{ConversationId, MessageId, UserId},
    messages::Message,
    phrases::{Phrase, Phrases},
    searches::{Filter, Scope},
    words::joined,
};

/// What is indexed of a message.
pub struct MessageWords {
    id: MessageId,
    conversation: ConversationId,
    words: String,
}

impl MessageWords {
    /// Of the text of a message in a conversation.
    #[must_use]
    pub fn of(id: MessageId, conversation: ConversationId, text: &str) -> Self {
        Self { id, conversation, words: joined(text) }
    }
}

/// Messages whose words PostgreSQL gets in one statement: those of the longest texts have some megabytes.
const MESSAGES_PER_INSERT: usize = 64;

/// Indexes the words of messages that were sent in this transaction; on SQLite that is left to the background job, as a transaction
/// that changes the index at all costs there as much as ten sends.
pub fn insert_sent(conn: &mut Conn<'_>, sent: &[(MessageId, ConversationId, &str)]) -> Result<()> {
    match conn {
        Conn::Sqlite(_) => Ok(()),
        Conn::Postgres(_) => sent.chunks(MESSAGES_PER_INSERT).try_for_each(|sent| {
            let words: Vec<_> = sent.iter().map(|(id, its, text)| MessageWords::of(*id, *its, text)).collect();
            add(conn, &words)
        }),
    }
}

/// Indexes the words of a message that was edited in this transaction, in place of those that it has; on SQLite that is left to the
/// background job, and until then searches read the text.
pub fn replace_edited(conn: &mut Conn<'_>, id: MessageId, conversation: ConversationId, text: &str) -> Result<()> {
    match conn {
        Conn::Sqlite(_) => Ok(()),
        Conn::Postgres(_) => {
            insert(conn, &[MessageWords::of(id, conversation, text)], "DO UPDATE SET words = excluded.words")
        }
    }
}

/// Indexes the words of messages. Those that have some keep them on PostgreSQL, where an edit may have replaced them since the text was
/// read. SQLite has one writer, who knows the texts as they are: there the words are always replaced.
pub fn add(conn: &mut Conn<'_>, messages: &[MessageWords]) -> Result<()> {
    insert(conn, messages, "DO NOTHING")
}

fn insert(conn: &mut Conn<'_>, messages: &[MessageWords], on_conflict: &str) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => messages.iter().try_for_each(|message| {
            // Raw, because the rowid of a virtual table is no column to diesel.
            let replace = sql::<Integer>("REPLACE INTO message_words (rowid, member_ids, words) VALUES (")
                .bind::<BigInt, _>(message.id)
                .sql(", ")
                .bind::<Text, _>(member_ids(message.conversation))
                .sql(", ")
                .bind::<Text, _>(&message.words)
                .sql(")");
            run_cached(c, replace)
        }),
        Conn::Postgres(c) => {
            // Raw, because diesel knows no tsvector.
            let insert = sql_query(format!(
                "INSERT INTO message_words (message_id, words) SELECT id, words::tsvector FROM unnest($1, $2) AS new (id, words) \
                 ON CONFLICT (message_id) {on_conflict}"
            ));
            let (ids, vectors): (Vec<_>, Vec<_>) = messages.iter().map(|its| (its.id, tsvector(its))).unzip();
            insert.bind::<Array<BigInt>, _>(ids).bind::<Array<Text>, _>(vectors).execute(*c)?;
            Ok(())
        }
    }
}

/// The bytes of the words that messages have on SQLite, where it takes long to remove many; none on PostgreSQL. At most 1,000 messages.
pub fn sizes(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<HashMap<MessageId, usize>> {
    let Conn::Sqlite(c) = conn else { return Ok(HashMap::new()) };
    let ids: Vec<_> = ids.iter().map(|id| id.key().to_string()).collect();
    // Raw, because it is a virtual table. There are numbers in it, and no texts.
    let query = sql::<(BigInt, BigInt)>(&format!(
        "SELECT rowid, octet_length(words) FROM message_words WHERE rowid IN ({})",
        ids.join(", ")
    ));
    let sizes: Vec<(MessageId, i64)> = query.load(*c)?;
    Ok(sizes.into_iter().map(|(id, bytes)| (id, usize::try_from(bytes).unwrap_or_default())).collect())
}

/// Removes the words of messages, if they have any; at most 1,000, because the number of parameters is limited.
pub fn delete(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => ids.iter().try_for_each(|id| {
            let delete = sql::<Integer>("DELETE FROM message_words WHERE rowid = ").bind::<BigInt, _>(id);
            run_cached(c, delete)
        }),
        Conn::Postgres(c) => {
            let delete = sql_query("DELETE FROM message_words WHERE message_id = ANY ($1)");
            delete.bind::<Array<BigInt>, _>(ids).execute(*c)?;
            Ok(())
        }
    }
}

/// Removes the words of all messages.
pub fn clear(conn: &mut Conn<'_>) -> Result<()> {
    match conn {
        // Row by row it would take long: the virtual table is created anew, as the migration does.
        Conn::Sqlite(c) => Ok(c.batch_execute(
            "DROP TABLE message_words;
             CREATE VIRTUAL TABLE message_words USING fts5 (member_ids, words, tokenize = 'ascii', columnsize = 0);
             INSERT INTO message_words (message_words, rank) VALUES ('secure-delete', 1);",
        )?),
        // It waits for those who read the table, and sends wait for it.
        Conn::Postgres(c) => Ok(c.batch_execute("SET LOCAL lock_timeout = '300ms'; TRUNCATE message_words")?),
    }
}

/// Of so many messages at most, words that begin with a prefix are looked for in the texts: the indexes of both databases list such
/// words in the messages of everybody.
const MAX_READ_FOR_PREFIXES: i64 = 2_000;
/// Bytes of these texts at most.
const MAX_BYTES_READ_FOR_PREFIXES: i64 = 1 << 20;

/// The messages that have all of the phrases, newest first: at most `limit`, and no more once their texts have `max_bytes`. There
/// must be a phrase.
pub fn find(
    conn: &mut Conn<'_>,
    phrases: &Phrases,
    filter: &Filter,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<Message>> {
    let mut found = Found { messages: Vec::new(), limit, bytes_left: max_bytes };
    let index = indexing::words(conn)?;
    let through = filter.through.map_or(i64::MAX, MessageId::key);
    let conditions = conditions(filter);
    if index.through < through {
        let after = indexing::scanned_after(conn, &index)?;
        // Raw for the conditions.
        let query = sql::<SqlColumns>(&format!(
            "SELECT {SQL_COLUMNS} FROM messages WHERE id > {after} AND id <= {through} AND {conditions} ORDER BY id DESC"
        ));
        on!(conn, |c| found.add(query.load_iter::<_, DefaultLoadingMode>(c)?, Some(phrases)))?;
    }
    let through = through.min(index.through);
    let (mut edited, mut indexed) = (found.rest(), found.rest());
    if let Conn::Sqlite(c) = conn {
        // Raw for the conditions. The index has former words of these, which are left out below.
        let query = sql::<SqlColumns>(&format!(
            "SELECT {SQL_COLUMNS} FROM (SELECT message_id FROM index_changes {}) AS changed CROSS JOIN messages ON id = message_id \
             WHERE message_id <= {through} AND {conditions} ORDER BY message_id DESC",
            indexing::read_changes()
        ));
        edited.add(query.load_iter::<_, DefaultLoadingMode>(*c)?, Some(phrases))?;
    }
    find_indexed(conn, phrases, filter, &conditions, through, &mut indexed)?;
    let mut both = edited.messages;
    both.append(&mut indexed.messages);
    both.sort_unstable_by_key(|message| Reverse(message.id));
    found.add(both.into_iter().map(Ok), None)?;
    Ok(found.messages)
}

/// Adds messages through an id that are found in the index.
fn find_indexed(
    conn: &mut Conn<'_>,
    phrases: &Phrases,
    filter: &Filter,
    conditions: &str,
    through: i64,
    found: &mut Found,
) -> Result<()> {
    let members = members(filter.scope);
    let indexed = phrases.without_prefixes();
    let reads_texts = indexed != *phrases && !members.is_empty() && {
        let (count, bytes) = indexing::size(conn, filter.scope, MAX_READ_FOR_PREFIXES + 1)?;
        count <= MAX_READ_FOR_PREFIXES && bytes <= MAX_BYTES_READ_FOR_PREFIXES
    };
    let (indexed, in_texts) = if reads_texts { (&indexed, Some(phrases)) } else { (phrases, None) };
    // Raw, because diesel knows neither MATCH nor a tsquery. The hits are the outer loop of the join, in the order that is wanted;
    // on PostgreSQL `OFFSET 0` keeps the planner, which does not know how often words and members come together, from reading all
    // messages backwards instead.
    let (hits, wanted, and_then, id) = match conn {
        Conn::Sqlite(_) => (
            "message_words CROSS JOIN messages ON messages.id = message_words.rowid WHERE message_words MATCH ",
            fts5(indexed, &members),
            " AND NOT EXISTS (SELECT 1 FROM index_changes WHERE message_id = messages.id AND is_removed = FALSE)",
            "message_words.rowid",
        ),
        Conn::Postgres(_) => (
            "(SELECT message_id FROM message_words WHERE words @@ CAST(",
            tsquery(indexed, &members),
            " AS tsquery) ORDER BY message_id DESC OFFSET 0) AS hits JOIN messages ON messages.id = message_id WHERE TRUE",
            "message_id",
        ),
    };
    let limit = if reads_texts { String::new() } else { format!("LIMIT {}", found.limit) };
    let query = sql::<SqlColumns>(&format!("SELECT {SQL_COLUMNS} FROM {hits}"))
        .bind::<Text, _>(wanted)
        .sql(&format!("{and_then} AND {id} <= {through} AND {conditions} ORDER BY {id} DESC {limit}"));
    on!(conn, |c| found.add(query.load_iter::<_, DefaultLoadingMode>(c)?, in_texts))
}

/// Messages that were found.
struct Found {
    messages: Vec<Message>,
    limit: usize,
    bytes_left: usize,
}

impl Found {
    /// None yet, and as much room as there is left here.
    fn rest(&self) -> Self {
        let Self { messages, limit, bytes_left } = self;
        Self { messages: Vec::new(), limit: limit - messages.len(), bytes_left: *bytes_left }
    }

    /// Adds messages of a query, as long as there is room; only those with all phrases in their text, if there are phrases.
    fn add(&mut self, hits: impl Iterator<Item = QueryResult<Message>>, in_texts: Option<&Phrases>) -> Result<()> {
        let is_hit = |hit: &QueryResult<Message>| {
            hit.as_ref().map_or(true, |message| in_texts.is_none_or(|phrases| phrases.are_in(&message.content)))
        };
        let mut hits = hits.filter(is_hit);
        while self.messages.len() < self.limit
            && self.bytes_left > 0
            && let Some(hit) = hits.next().transpose()?
        {
            self.bytes_left = self.bytes_left.saturating_sub(hit.content.len());
            self.messages.push(hit);
        }
        Ok(())
    }
}

/// The users who must be members of the conversation.
fn members(scope: Scope) -> Vec<UserId> {
    match scope {
        Scope::All => Vec::new(),
        Scope::Of(user) => vec![user],
        Scope::Conversation(conversation) => conversation.members().into(),
    }
}

/// What the messages have in common besides their words, in SQL. The members are looked for in the index as well: who sees what is
/// not left to how texts are split. There are numbers in it, and no texts.
fn conditions(filter: &Filter) -> String {
    let mut all = IS_READABLE.to_owned();
    let members = members(filter.scope).into_iter().map(|user| format!("{} IN (low_id, high_id)", user.key()));
    let sender = filter.sender.map(|sender| format!("sender_id = {}", sender.key()));
    let since = filter.since.map(|since| format!("created_at >= {}", since.milliseconds()));
    let until = filter.until.map(|until| format!("created_at < {}", until.milliseconds()));
    for condition in members.chain(sender).chain(since).chain(until) {
        all = all + " AND " + &condition;
    }
    all
}

/// The members of a conversation as words of SQLite's index.
fn member_ids(conversation: ConversationId) -> String {
    let [low, high] = conversation.members();
    format!("{} {}", low.key(), high.key())
}

/// What is looked for, as FTS5 has it.
fn fts5(phrases: &Phrases, members: &[UserId]) -> String {
    let members = members.iter().map(|user| format!("member_ids : \"{}\"", user.key()));
    let phrase = |phrase: &Phrase| {
        let words = phrase.words().join(" ");
        format!("words : \"{words}\"{}", if phrase.is_prefix() { " *" } else { "" })
    };
    members.chain(phrases.iter().map(phrase)).collect::<Vec<_>>().join(" AND ")
}

/// The same, as PostgreSQL has it.
fn tsquery(phrases: &Phrases, members: &[UserId]) -> String {
    let members = members.iter().map(|user| format!("'@{}'", user.key()));
    let phrase = |phrase: &Phrase| {
        let count = phrase.words().len();
        let words = phrase.words().iter().zip(1..).map(|(word, at)| match (phrase.is_prefix() && at == count, count) {
            (true, _) => format!("'{word}':*"),
            (false, 1) => format!("'{word}'"),
            // At any of its places.
            (false, _) => format!("('{word}' | '{word}@':*)"),
        });
        format!("({})", words.collect::<Vec<_>>().join(" <-> "))
    };
    members.chain(phrases.iter().map(phrase)).collect::<Vec<_>>().join(" & ")
}

/// So many places of a word PostgreSQL keeps (<https://www.postgresql.org/docs/current/textsearch-limitations.html>). Those after them are
/// places of `word@1`, `word@2` and so on, which no text has.
const PLACES_PER_WORD: usize = 256;

/// The words of a text with their places, and its members, as PostgreSQL has them.
fn tsvector(message: &MessageWords) -> String {
    let [low, high] = message.conversation.members();
    let mut vector = format!("'@{}' '@{}'", low.key(), high.key());
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (place, word) in (1..).zip(message.words.split(' ').filter(|word| !word.is_empty())) {
        let count = counts.entry(word).or_default();
        // Writing to a text does not fail.
        let _ = match *count / PLACES_PER_WORD {
            0 => write!(vector, " '{word}':{place}"),
            full => write!(vector, " '{word}@{full}':{place}"),
        };
        *count += 1;
    }
    vector
}
