//! The tables `embedding_models`, `embedding_chunks` and `embedding_failures`: vectors of messages, many in one row, which are
//! all read to find the nearest.

use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, Queryable, RunQueryDsl, connection::DefaultLoadingMode, dsl::sql,
    sql_types::BigInt,
};

use super::{
    Conn, Error, Result,
    conn::on,
    indexing::conditions,
    schema::{embedding_chunks, embedding_failures, embedding_models},
};
use crate::model::{
    ids::{ConversationId, MessageId, UserId},
    searches::Scope,
    timestamps::Timestamp,
    vectors::{Chunk, Entry, Vector},
};

/// What made vectors, and which messages have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct EmbeddingModel {
    id: i64,
    /// How many dimensions its vectors have.
    pub dimensions: i32,
    /// The first id of the messages that have vectors.
    pub from: i64,
    /// The last id of them; no message has a vector if it is lower than the first.
    pub through: i64,
}

impl EmbeddingModel {
    /// Whether its vectors can be compared with those of so many dimensions.
    #[must_use]
    pub fn has_dimensions(&self, dimensions: usize) -> bool {
        self.size() == dimensions
    }

    /// The model with other messages that have vectors: those from an id through another.
    #[must_use]
    pub fn with_range(self, from: i64, through: i64) -> Self {
        Self { from, through, ..self }
    }

    /// A new chunk of its vectors.
    fn chunk(&self) -> Chunk {
        Chunk::new(self.size())
    }

    fn size(&self) -> usize {
        usize::try_from(self.dimensions).unwrap_or_default()
    }
}

type ModelColumns =
    (embedding_models::id, embedding_models::dimensions, embedding_models::from_id, embedding_models::through_id);
const MODEL: ModelColumns =
    (embedding_models::id, embedding_models::dimensions, embedding_models::from_id, embedding_models::through_id);

/// The model with this identity.
pub fn model(conn: &mut Conn<'_>, identity: &str) -> Result<Option<EmbeddingModel>> {
    let query = embedding_models::table.select(MODEL).filter(embedding_models::identity.eq(identity));
    Ok(on!(conn, |c| query.first(c).optional())?)
}

/// All models.
pub fn models(conn: &mut Conn<'_>) -> Result<Vec<EmbeddingModel>> {
    let query = embedding_models::table.select(MODEL).order(embedding_models::id).limit(100);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Whether messages have vectors of other models only than the one with this identity.
pub fn has_only_others(conn: &mut Conn<'_>, identity: &str) -> Result<bool> {
    Ok(model(conn, identity)?.is_none() && !models(conn)?.is_empty())
}

/// Adds a model, unless it is there. No message has a vector of it yet; those through an id count as older ones.
pub fn add_model(conn: &mut Conn<'_>, identity: &str, dimensions: usize, through: i64) -> Result<()> {
    let query = diesel::insert_into(embedding_models::table)
        .values((
            embedding_models::identity.eq(identity),
            embedding_models::dimensions.eq(i32::try_from(dimensions).unwrap_or(i32::MAX)),
            embedding_models::from_id.eq(through + 1),
            embedding_models::through_id.eq(through),
        ))
        .on_conflict(embedding_models::identity)
        .do_nothing();
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Notes which messages have vectors.
pub fn set_range(conn: &mut Conn<'_>, model: &EmbeddingModel, (from, through): (i64, i64)) -> Result<()> {
    let query = diesel::update(embedding_models::table.find(model.id))
        .set((embedding_models::from_id.eq(from), embedding_models::through_id.eq(through)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Removes a model without chunks.
pub fn delete_model(conn: &mut Conn<'_>, model: &EmbeddingModel) -> Result<()> {
    let failures = diesel::delete(embedding_failures::table.filter(embedding_failures::model_id.eq(model.id)));
    on!(conn, |c| failures.execute(c))?;
    on!(conn, |c| diesel::delete(embedding_models::table.find(model.id)).execute(c))?;
    Ok(())
}

/// Removes some of a model's chunks; gives how many.
pub fn delete_chunks(conn: &mut Conn<'_>, model: &EmbeddingModel, limit: i64) -> Result<usize> {
    let of_model = embedding_chunks::table.filter(embedding_chunks::model_id.eq(model.id));
    let select = of_model.select(embedding_chunks::id).limit(limit);
    let ids: Vec<i64> = on!(conn, |c| select.load(c))?;
    let delete = diesel::delete(embedding_chunks::table.filter(embedding_chunks::id.eq_any(&ids)));
    Ok(on!(conn, |c| delete.execute(c))?)
}

/// Adds vectors of messages of one conversation; a message that has one keeps it. The index must be locked.
pub fn add(
    conn: &mut Conn<'_>,
    model: &EmbeddingModel,
    conversation: ConversationId,
    new: &[(Entry, Vector)],
) -> Result<()> {
    let stored = entries(conn, model, conversation)?;
    let is_new = |message: MessageId| !stored.iter().any(|(_, entries)| Chunk::has(entries, message));
    let mut new = new.iter().filter(|(entry, _)| is_new(entry.message)).peekable();
    let last = stored.last().map(|(id, _)| chunk(conn, model, *id).map(|chunk| (Some(*id), chunk))).transpose()?;
    let mut last = last.filter(|(_, chunk)| !chunk.is_full());
    while new.peek().is_some() {
        let (id, mut chunk) = last.take().unwrap_or_else(|| (None, model.chunk()));
        while !chunk.is_full()
            && let Some((entry, vector)) = new.next()
        {
            if !chunk.push(*entry, vector) {
                return Err(Error::Failed(format!("a vector of {} does not fit its chunk", entry.message)));
            }
        }
        match id {
            Some(id) => update(conn, id, &chunk)?,
            None => insert(conn, model, conversation, &chunk)?,
        }
    }
    Ok(())
}

/// Removes the vectors of messages of one conversation that have one. The index must be locked.
pub fn remove(
    conn: &mut Conn<'_>,
    model: &EmbeddingModel,
    conversation: ConversationId,
    messages: &[MessageId],
) -> Result<()> {
    for (id, entries) in entries(conn, model, conversation)? {
        let removed: Vec<_> = messages.iter().copied().filter(|message| Chunk::has(&entries, *message)).collect();
        if removed.is_empty() {
            continue;
        }
        let mut chunk = chunk(conn, model, id)?;
        for message in removed {
            chunk.remove(message);
        }
        if chunk.is_empty() {
            on!(conn, |c| diesel::delete(embedding_chunks::table.find(id)).execute(c))?;
        } else {
            update(conn, id, &chunk)?;
        }
    }
    Ok(())
}

/// The chunks of a conversation, oldest first: which messages they have.
fn entries(conn: &mut Conn<'_>, model: &EmbeddingModel, conversation: ConversationId) -> Result<Vec<(i64, Vec<u8>)>> {
    let [low, high] = conversation.members();
    let query = embedding_chunks::table
        .select((embedding_chunks::id, embedding_chunks::entries))
        .filter(embedding_chunks::model_id.eq(model.id))
        .filter(embedding_chunks::low_id.eq(low))
        .filter(embedding_chunks::high_id.eq(high))
        .order(embedding_chunks::id);
    Ok(on!(conn, |c| query.load(c))?)
}

fn chunk(conn: &mut Conn<'_>, model: &EmbeddingModel, id: i64) -> Result<Chunk> {
    let query = embedding_chunks::table.select((embedding_chunks::entries, embedding_chunks::vectors)).find(id);
    let (entries, vectors) = on!(conn, |c| query.first(c))?;
    let chunk = Chunk::from_bytes(entries, vectors, model.size());
    chunk.ok_or_else(|| Error::Failed(format!("the chunk {id} of vectors has not the length that it should have")))
}

fn insert(conn: &mut Conn<'_>, model: &EmbeddingModel, conversation: ConversationId, chunk: &Chunk) -> Result<()> {
    let [low, high] = conversation.members();
    let query = diesel::insert_into(embedding_chunks::table).values((
        embedding_chunks::model_id.eq(model.id),
        embedding_chunks::low_id.eq(low),
        embedding_chunks::high_id.eq(high),
        embedding_chunks::entries.eq(chunk.entries_bytes()),
        embedding_chunks::vectors.eq(chunk.vectors_bytes()),
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

fn update(conn: &mut Conn<'_>, id: i64, chunk: &Chunk) -> Result<()> {
    let query = diesel::update(embedding_chunks::table.find(id)).set((
        embedding_chunks::entries.eq(chunk.entries_bytes()),
        embedding_chunks::vectors.eq(chunk.vectors_bytes()),
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The members of a conversation, and entries and vectors of some of its messages, as they are stored.
pub type StoredChunk = (UserId, UserId, Vec<u8>, Vec<u8>);

/// Reads all chunks with messages of a scope. What is done with each may end it.
pub fn scan<E: From<Error>>(
    conn: &mut Conn<'_>,
    model: &EmbeddingModel,
    scope: Scope,
    mut each: impl FnMut(StoredChunk) -> Result<(), E>,
) -> Result<(), E> {
    let members: &[[Option<UserId>; 2]] = &match scope {
        Scope::All => vec![[None, None]],
        Scope::Of(user) => vec![[Some(user), None], [None, Some(user)]],
        Scope::Conversation(conversation) => vec![conversation.members().map(Some)],
    };
    for [low, high] in members {
        on!(conn, |c: Db| {
            let mut query = embedding_chunks::table
                .select((
                    embedding_chunks::low_id,
                    embedding_chunks::high_id,
                    embedding_chunks::entries,
                    embedding_chunks::vectors,
                ))
                .filter(embedding_chunks::model_id.eq(model.id))
                .into_boxed::<Db>();
            if let Some(low) = low {
                query = query.filter(embedding_chunks::low_id.eq(*low));
            }
            if let Some(high) = high {
                query = query.filter(embedding_chunks::high_id.eq(*high));
            }
            let chunks = query.load_iter::<StoredChunk, DefaultLoadingMode>(c).map_err(Error::from)?;
            for chunk in chunks {
                each(chunk.map_err(Error::from)?)?;
            }
        });
    }
    Ok(())
}

/// Notes that the text of a message was refused, and when to try again; not if that was the last of `max_attempts`.
pub fn note_failure(
    conn: &mut Conn<'_>,
    model: &EmbeddingModel,
    message: MessageId,
    retry_at: Timestamp,
    max_attempts: i32,
) -> Result<()> {
    let query = diesel::insert_into(embedding_failures::table)
        .values((
            embedding_failures::model_id.eq(model.id),
            embedding_failures::message_id.eq(message),
            embedding_failures::attempts.eq(1),
            embedding_failures::retry_at.eq(retry_at),
        ))
        .on_conflict((embedding_failures::model_id, embedding_failures::message_id))
        .do_update()
        .set((
            embedding_failures::attempts.eq(embedding_failures::attempts + 1),
            embedding_failures::retry_at.eq(retry_at),
        ));
    on!(conn, |c| query.execute(c))?;
    let last =
        embedding_failures::table.find((model.id, message)).filter(embedding_failures::attempts.ge(max_attempts));
    on!(conn, |c| diesel::delete(last).execute(c))?;
    Ok(())
}

/// Notes that of all models but this one messages have no vector any more, as they were changed; at most 2,048, because the number of
/// parameters is limited. The index must be locked.
pub fn note_missing(conn: &mut Conn<'_>, model: &EmbeddingModel, messages: &[MessageId]) -> Result<()> {
    for other in models(conn)?.into_iter().filter(|other| other.id != model.id) {
        let row = |message: &MessageId| {
            (
                embedding_failures::model_id.eq(other.id),
                embedding_failures::message_id.eq(*message),
                embedding_failures::attempts.eq(0),
                embedding_failures::retry_at.eq(Timestamp::MIN),
            )
        };
        let insert = || {
            let rows: Vec<_> = messages.iter().map(row).collect();
            let into = diesel::insert_into(embedding_failures::table).values(rows);
            into.on_conflict((embedding_failures::model_id, embedding_failures::message_id)).do_update()
        };
        let fresh = (embedding_failures::attempts.eq(0), embedding_failures::retry_at.eq(Timestamp::MIN));
        on!(conn, |c| insert().set(fresh).execute(c))?;
    }
    Ok(())
}

/// How many messages of a scope have no vector, of those that the range of the model includes, as [`note_missing`] has noted; `limit` if
/// there are more. Those that were changed again are not counted.
pub fn count_missing(conn: &mut Conn<'_>, model: &EmbeddingModel, scope: Scope, limit: i64) -> Result<i64> {
    let EmbeddingModel { id, from, through, .. } = model;
    let mut count = 0;
    for which in conditions(scope) {
        let limit = limit - count;
        // Raw for the condition. There are numbers in it, and no texts.
        let query = sql::<BigInt>(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM embedding_failures JOIN messages ON id = message_id WHERE model_id = {id} AND \
             attempts = 0 AND message_id BETWEEN {from} AND {through} AND message_id NOT IN (SELECT message_id FROM index_changes) \
             AND deleted_at IS NULL AND {which} LIMIT {limit}) AS counted"
        ));
        count += on!(conn, |c| query.get_result::<i64>(c))?;
    }
    Ok(count)
}

/// Messages that have no vector any more, and those whose texts were refused and are to be tried again now.
pub fn failures(conn: &mut Conn<'_>, model: &EmbeddingModel, now: Timestamp, limit: i64) -> Result<Vec<MessageId>> {
    let query = embedding_failures::table
        .select(embedding_failures::message_id)
        .filter(embedding_failures::model_id.eq(model.id))
        .filter(embedding_failures::retry_at.le(now))
        .order(embedding_failures::retry_at)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Forgets that the texts of messages were refused; at most 1,000, because the number of parameters is limited.
pub fn forget_failures(conn: &mut Conn<'_>, model: &EmbeddingModel, messages: &[MessageId]) -> Result<()> {
    let failures = embedding_failures::table
        .filter(embedding_failures::model_id.eq(model.id))
        .filter(embedding_failures::message_id.eq_any(messages));
    on!(conn, |c| diesel::delete(failures).execute(c))?;
    Ok(())
}
