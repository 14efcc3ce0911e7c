//! The table `message_words`: the words of messages, as `model::words` splits texts. On SQLite it is an FTS5 table
//! (<https://www.sqlite.org/fts5.html>), on PostgreSQL one with a `tsvector`. Neither database splits texts itself, and of what
//! is looked for only words reach them, in quotes: no text can be a query of theirs.
//!
//! The ids of a message's members are words, too, so that a user's messages are found in the index.

use std::fmt::Write;

use diesel::{
    QueryResult, RunQueryDsl,
    connection::{DefaultLoadingMode, SimpleConnection},
    dsl::sql,
    sql_query,
    sql_types::{Array, BigInt, Integer, Nullable, Text},
};

use super::{
    Conn, Result,
    cached::{CachedStatement, run_cached},
    conn::on,
};
use crate::model::{
    ids::{ConversationId, MessageId, UserId},
    messages::{List, Message},
    phrases::{Phrase, Phrases},
    searches::Filter,
    timestamps::Timestamp,
    words::joined,
};

/// The text of a message as it is indexed.
pub struct MessageWords(String);

impl MessageWords {
    /// Of a text of a message in a conversation.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(joined(text))
    }
}

/// Indexes the words of a message; it has none yet.
pub fn insert(conn: &mut Conn<'_>, id: MessageId, conversation: ConversationId, words: &MessageWords) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => {
            // Raw, because the rowid of a virtual table is no column to diesel.
            let insert = sql::<Integer>("INSERT INTO message_words (rowid, member_ids, words) VALUES (")
                .bind::<BigInt, _>(id)
                .sql(", ")
                .bind::<Text, _>(member_ids(conversation))
                .sql(", ")
                .bind::<Text, _>(&words.0)
                .sql(")");
            run_cached(c, insert)
        }
        Conn::Postgres(c) => {
            // Raw, because diesel knows no tsvector.
            let insert = sql_query("INSERT INTO message_words (message_id, words) VALUES ($1, $2::tsvector)");
            insert.bind::<BigInt, _>(id).bind::<Text, _>(tsvector(conversation, words)).execute(*c)?;
            Ok(())
        }
    }
}

/// The same for a message that was sent in this transaction, unless it was edited or deleted in it since.
pub fn insert_first(
    conn: &mut Conn<'_>,
    id: MessageId,
    conversation: ConversationId,
    words: &MessageWords,
) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => {
            // Raw, as above.
            let insert = sql::<Integer>("INSERT OR REPLACE INTO message_words (rowid, member_ids, words) SELECT id, ")
                .bind::<Text, _>(member_ids(conversation))
                .sql(", ")
                .bind::<Text, _>(&words.0)
                .sql(" FROM messages WHERE version = 1 AND deleted_at IS NULL AND id = ")
                .bind::<BigInt, _>(id);
            run_cached(c, insert)
        }
        // Each transaction has one send alone.
        Conn::Postgres(_) => insert(conn, id, conversation, words),
    }
}

/// Replaces the words of a message, if it has any.
pub fn replace(conn: &mut Conn<'_>, id: MessageId, conversation: ConversationId, words: &MessageWords) -> Result<()> {
    delete(conn, &[id])?;
    insert(conn, id, conversation, words)
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
        Conn::Postgres(c) => Ok(c.batch_execute("TRUNCATE message_words")?),
    }
}

/// The columns of a message, as in `messages`.
type Columns = (BigInt, BigInt, BigInt, Text, Nullable<BigInt>, Nullable<Text>, Integer, BigInt, Nullable<BigInt>);
const COLUMNS: &str =
    "messages.id, sender_id, receiver_id, content, reply_to_id, client_id, version, created_at, edited_at";

/// The messages that have all of the phrases, newest first: at most `limit`, and no more once their texts have `max_bytes`. There
/// must be a phrase.
pub fn find(
    conn: &mut Conn<'_>,
    phrases: &Phrases,
    filter: &Filter,
    limit: i64,
    max_bytes: usize,
) -> Result<Vec<Message>> {
    // The members are looked for in the index, and are compared once more: who sees what is not left to how texts are split.
    let members = match filter.list {
        List::Of(user) => vec![user],
        List::Conversation(conversation) => conversation.members().into(),
        List::All | List::SentBy(_) | List::ReceivedBy(_) | List::Between(..) => Vec::new(),
    };
    // Raw, because diesel knows neither MATCH nor a tsquery. The hits are the outer loop of the join, in the order that is wanted;
    // on PostgreSQL `OFFSET 0` keeps the planner, which does not know how often words and members come together, from reading all
    // messages backwards instead.
    let (from, wanted, and, newest) = match conn {
        Conn::Sqlite(_) => (
            "message_words CROSS JOIN messages ON messages.id = message_words.rowid WHERE message_words MATCH ",
            fts5(phrases, &members),
            " AND message_words.rowid <= ",
            "message_words.rowid",
        ),
        Conn::Postgres(_) => (
            "(SELECT message_id FROM message_words WHERE words @@ CAST(",
            tsquery(phrases, &members),
            " AS tsquery) ORDER BY message_id DESC OFFSET 0) AS hits JOIN messages ON messages.id = message_id WHERE message_id <= ",
            "message_id",
        ),
    };
    let query = sql::<Columns>(&format!("SELECT {COLUMNS} FROM {from}"))
        .bind::<Text, _>(wanted)
        .sql(and)
        .bind::<BigInt, _>(filter.through.unwrap_or(MessageId::MAX))
        .sql(" AND deleted_at IS NULL AND sender_id NOT IN (SELECT user_id FROM erasures) AND coalesce(")
        .bind::<Nullable<BigInt>, _>(members.first().copied())
        .sql(", low_id) IN (low_id, high_id) AND coalesce(")
        .bind::<Nullable<BigInt>, _>(members.last().copied())
        .sql(", low_id) IN (low_id, high_id) AND sender_id = coalesce(")
        .bind::<Nullable<BigInt>, _>(filter.sender)
        .sql(", sender_id) AND created_at >= ")
        .bind::<BigInt, _>(filter.since.unwrap_or(Timestamp::MIN))
        .sql(" AND created_at < ")
        .bind::<BigInt, _>(filter.until.unwrap_or(Timestamp::MAX))
        .sql(&format!(" ORDER BY {newest} DESC LIMIT "))
        .bind::<BigInt, _>(limit);
    let mut bytes = 0;
    let is_within = |found: &QueryResult<Message>| {
        let is_within = bytes < max_bytes;
        bytes += found.as_ref().map_or(0, |message| message.content.len());
        is_within
    };
    on!(conn, |c| {
        let found = CachedStatement(query).load_iter::<Message, DefaultLoadingMode>(c)?;
        Ok(found.take_while(is_within).collect::<QueryResult<_>>()?)
    })
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
        let words: Vec<String> = phrase.words().iter().map(|word| format!("'{word}'")).collect();
        format!("({}{})", words.join(" <-> "), if phrase.is_prefix() { ":*" } else { "" })
    };
    members.chain(phrases.iter().map(phrase)).collect::<Vec<_>>().join(" & ")
}

/// The words of a text with their places, and its members, as PostgreSQL has them.
fn tsvector(conversation: ConversationId, words: &MessageWords) -> String {
    let [low, high] = conversation.members();
    let mut vector = format!("'@{}' '@{}'", low.key(), high.key());
    for (place, word) in (1..).zip(words.0.split(' ').filter(|word| !word.is_empty())) {
        // Writing to a text does not fail.
        let _ = write!(vector, " '{word}':{place}");
    }
    vector
}
