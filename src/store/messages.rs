//! The table `messages`. The row of a deleted message stays, without its text, so that its `clientId` is never reused.

use diesel::{
    ExpressionMethods, IntoSql, OptionalExtension, QueryDsl, RunQueryDsl,
    connection::DefaultLoadingMode,
    dsl::{count_star, sql},
    sql_types::{BigInt, Binary, Integer, Nullable, Text},
};

use super::{
    Conn, Error, Result, TextBudget,
    cached::{CachedStatement, MAX_CACHED_KEYS, padded, run_cached},
    conn::on,
    feed::next_sqlite_id,
    pages::{PAGES_PER_STATEMENT, UnionAll, assemble_each, slices},
    schema::messages,
};
use crate::model::{
    ids::{ConversationId, MessageId, UserId},
    messages::{Draft, List, Message},
    pages::{End, Page, PageRequest},
    texts::{ClientId, Content},
    timestamps::Timestamp,
};

type Columns = (
    messages::id,
    messages::sender_id,
    messages::receiver_id,
    messages::content,
    messages::reply_to_id,
    messages::client_id,
    messages::version,
    messages::created_at,
    messages::edited_at,
);
const COLUMNS: Columns = (
    messages::id,
    messages::sender_id,
    messages::receiver_id,
    messages::content,
    messages::reply_to_id,
    messages::client_id,
    messages::version,
    messages::created_at,
    messages::edited_at,
);

/// A page of each list, by id: one statement for up to 75 of them. It reads no further than the budget goes.
pub fn pages(
    conn: &mut Conn<'_>,
    wanted: &[(List, PageRequest)],
    budget: &mut TextBudget,
) -> Result<Vec<Page<Message>>> {
    let mut pages = Vec::with_capacity(wanted.len());
    // A list of two parts takes twice as many selects.
    for wanted in wanted.chunks(PAGES_PER_STATEMENT / 2) {
        let rows: Vec<(i32, Message)> = on!(conn, |c: Db| {
            let selects = wanted.iter().enumerate().flat_map(|(index, (list, request))| {
                let parts = slices(index, request).flat_map(|slice| lists(*list).map(move |list| (list, slice)));
                parts.map(|(list, slice)| {
                    let select = messages::table
                        .select((slice.tag.into_sql::<Integer>(), COLUMNS))
                        .filter(messages::deleted_at.is_null())
                        .filter(messages::id.gt(slice.after))
                        .filter(messages::id.lt(slice.before))
                        .limit(slice.limit)
                        .into_boxed::<Db>();
                    let select = match list {
                        List::All => select,
                        List::SentBy(user) => select.filter(messages::sender_id.eq(user)),
                        List::ReceivedBy(user) | List::Of(user) => select.filter(messages::receiver_id.eq(user)),
                        List::Between(sender, receiver) => select
                            .filter(messages::low_id.eq(sender.min(receiver)))
                            .filter(messages::high_id.eq(sender.max(receiver)))
                            .filter(messages::sender_id.eq(sender)),
                        List::Conversation(conversation) => {
                            let [low, high] = conversation.members();
                            select.filter(messages::low_id.eq(low)).filter(messages::high_id.eq(high))
                        }
                    };
                    match slice.end {
                        End::First => select.order(messages::id.asc()),
                        End::Last => select.order(messages::id.desc()),
                    }
                })
            });
            let rows = UnionAll::new(selects.collect()).load_iter::<(i32, Message), DefaultLoadingMode>(c)?;
            rows.map(|row| {
                let (tag, message) = row?;
                budget.spend(&message.content)?;
                Ok((tag, message))
            })
            .collect::<Result<_>>()
        })?;
        pages.extend(assemble_each(wanted.iter().map(|(_, request)| *request), rows, |message| message.id.key()));
    }
    Ok(pages)
}

/// The lists, each with an index, whose union is this list.
fn lists(list: List) -> impl Iterator<Item = List> {
    let (one, other) = match list {
        List::Of(user) => (List::SentBy(user), Some(List::ReceivedBy(user))),
        List::All | List::Conversation(_) | List::SentBy(_) | List::ReceivedBy(_) | List::Between(..) => (list, None),
    };
    [Some(one), other].into_iter().flatten()
}

/// The messages with these ids, in any order.
pub fn by_ids(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<Vec<Message>> {
    let ids = padded(ids);
    let query =
        messages::table.select(COLUMNS).filter(messages::id.eq_any(&ids)).filter(messages::deleted_at.is_null());
    Ok(on!(conn, |c| if ids.len() <= MAX_CACHED_KEYS { CachedStatement(query).load(c) } else { query.load(c) })?)
}

/// The same for any number of ids, as far as the budget goes: one statement for up to 128 of them.
pub fn by_ids_within(conn: &mut Conn<'_>, ids: &[MessageId], budget: &mut TextBudget) -> Result<Vec<Message>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_CACHED_KEYS) {
        let messages = by_ids(conn, ids)?;
        messages.iter().try_for_each(|message| budget.spend(&message.content))?;
        found.extend(messages);
    }
    Ok(found)
}

/// How many messages a reader received in a conversation after one id and up to another.
pub fn count_received(
    conn: &mut Conn<'_>,
    conversation: ConversationId,
    reader: UserId,
    (after, through): (i64, MessageId),
) -> Result<i64> {
    let [low, high] = conversation.members();
    let query = messages::table
        .select(count_star())
        .filter(messages::low_id.eq(low))
        .filter(messages::high_id.eq(high))
        .filter(messages::id.gt(after))
        .filter(messages::id.le(through))
        .filter(messages::receiver_id.eq(reader))
        .filter(messages::deleted_at.is_null());
    Ok(on!(conn, |c| query.first(c))?)
}

/// An earlier send of the same sender with the same `clientId`.
pub struct EarlierSend {
    /// The message that it created.
    pub id: MessageId,
    /// [`Draft::digest`] of the send.
    pub digest: Option<Vec<u8>>,
}

/// Finds a send, whether its message was deleted or not.
pub fn earlier_send(conn: &mut Conn<'_>, sender: UserId, client_id: &ClientId) -> Result<Option<EarlierSend>> {
    let query = messages::table
        .select((messages::id, messages::client_digest))
        .filter(messages::sender_id.eq(sender))
        .filter(messages::client_id.eq(client_id.as_str()));
    let row: Option<(MessageId, Option<Vec<u8>>)> = on!(conn, |c| query.first(c).optional())?;
    Ok(row.map(|(id, digest)| EarlierSend { id, digest }))
}

/// Inserts a message. The caller must have locked the sender and checked that the `clientId` was not used before.
pub fn insert(conn: &mut Conn<'_>, draft: &Draft, at: Timestamp) -> Result<Message> {
    let content = draft.content.as_str();
    let client_id = draft.client_id.as_ref().map(ClientId::as_str);
    let id = match conn {
        Conn::Sqlite(c) => {
            let id = next_sqlite_id(c)?;
            let insert = sql::<Integer>(
                "INSERT INTO messages (id, sender_id, receiver_id, content, reply_to_id, client_id, client_digest, created_at) \
                 VALUES (",
            )
            .bind::<BigInt, _>(id)
            .sql(", ")
            .bind::<BigInt, _>(draft.sender_id)
            .sql(", ")
            .bind::<BigInt, _>(draft.receiver_id)
            .sql(", ")
            .bind::<Text, _>(content)
            .sql(", ")
            .bind::<Nullable<BigInt>, _>(draft.reply_to_id)
            .sql(", ")
            .bind::<Nullable<Text>, _>(client_id)
            .sql(", ")
            .bind::<Nullable<Binary>, _>(draft.digest())
            .sql(", ")
            .bind::<BigInt, _>(at)
            .sql(")");
            run_cached(c, insert)?;
            MessageId::new(id).ok_or_else(|| Error::Failed("there are no ids left".into()))?
        }
        Conn::Postgres(c) => diesel::insert_into(messages::table)
            .values((
                messages::sender_id.eq(draft.sender_id),
                messages::receiver_id.eq(draft.receiver_id),
                messages::content.eq(content),
                messages::reply_to_id.eq(draft.reply_to_id),
                messages::client_id.eq(client_id),
                messages::client_digest.eq(draft.digest()),
                messages::created_at.eq(at),
            ))
            .returning(messages::id)
            .get_result(*c)?,
    };
    Ok(Message {
        id,
        sender_id: draft.sender_id,
        receiver_id: draft.receiver_id,
        content: content.into(),
        reply_to_id: draft.reply_to_id,
        client_id: client_id.map(Into::into),
        version: 1,
        created_at: at,
        edited_at: None,
    })
}

/// An imported message, with its own id and time.
pub struct ImportedMessage {
    /// Not yet in use.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Whom it is for.
    pub receiver_id: UserId,
    /// The text.
    pub content: Content,
    /// When it was written.
    pub created_at: Timestamp,
}

/// Inserts messages, if any, with explicit ids; at most 1,000, because the number of parameters is limited.
pub fn insert_all(conn: &mut Conn<'_>, imported: &[ImportedMessage]) -> Result<()> {
    if imported.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = imported
        .iter()
        .map(|message| {
            (
                messages::id.eq(message.id),
                messages::sender_id.eq(message.sender_id),
                messages::receiver_id.eq(message.receiver_id),
                messages::content.eq(message.content.as_str()),
                messages::created_at.eq(message.created_at),
            )
        })
        .collect();
    let query = diesel::insert_into(messages::table).values(rows);
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Changes the text; `None` if there is no such message, or it has another version.
pub fn update(
    conn: &mut Conn<'_>,
    id: MessageId,
    version: i32,
    content: &Content,
    at: Timestamp,
) -> Result<Option<Message>> {
    let query = diesel::update(messages::table.find(id))
        .filter(messages::deleted_at.is_null())
        .filter(messages::version.eq(version))
        .set((
            messages::content.eq(content.as_str()),
            messages::version.eq(messages::version + 1),
            messages::edited_at.eq(at),
        ))
        .returning(COLUMNS);
    Ok(on!(conn, |c| query.get_result(c).optional())?)
}

/// Removes the texts of those that are not deleted yet; gives their number. At most 1,000, because the number of
/// parameters is limited.
pub fn delete(conn: &mut Conn<'_>, ids: &[MessageId], at: Timestamp) -> Result<usize> {
    let query = diesel::update(messages::table.filter(messages::id.eq_any(ids)))
        .filter(messages::deleted_at.is_null())
        .set((messages::content.eq(""), messages::deleted_at.eq(at)));
    Ok(on!(conn, |c| query.execute(c))?)
}
