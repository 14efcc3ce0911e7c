//! The table `messages`. The row of a deleted message stays, without its text, so that its `clientId` is never reused.

use diesel::{
    ExpressionMethods, IntoSql, OptionalExtension, QueryDsl, RunQueryDsl,
    connection::DefaultLoadingMode,
    dsl::{count_star, sql},
    sql_types::{BigInt, Bool, Integer, Nullable, Text},
};

use super::{
    Conn, Error, Result, TextBudget,
    cached::{CachedStatement, MAX_CACHED_KEYS, padded, run_cached},
    conn::on,
    feed::next_sqlite_id,
    pages::{PAGES_PER_STATEMENT, UnionAll, assemble_each, slices},
    schema::messages,
    visibility::{COLUMNS, is_kept, is_readable},
};
use crate::model::{
    ids::{ConversationId, MessageId, UserId},
    messages::{Draft, List, Message},
    pages::{End, Page, PageRequest},
    texts::{ClientId, Content},
    timestamps::Timestamp,
};

/// A page of each list, by id: one statement for up to 75 of them. It reads no further than the budget goes.
pub fn pages(
    conn: &mut Conn<'_>,
    wanted: &[(List, PageRequest)],
    budget: &mut TextBudget,
) -> Result<Vec<Page<Message>>> {
    let is_sqlite = matches!(conn, Conn::Sqlite(_));
    let mut pages = Vec::with_capacity(wanted.len());
    // A list of two parts takes twice as many selects.
    for wanted in wanted.chunks(PAGES_PER_STATEMENT / 2) {
        let rows: Vec<(i32, Message)> = on!(conn, |c: Db| {
            let selects = wanted.iter().enumerate().flat_map(|(index, (list, request))| {
                let parts = slices(index, request).flat_map(|slice| lists(*list).map(move |list| (list, slice)));
                parts.map(|(list, slice)| {
                    let select = messages::table
                        .select((slice.tag.into_sql::<Integer>(), COLUMNS))
                        .filter(is_readable())
                        .filter(messages::id.gt(slice.after))
                        .filter(messages::id.lt(slice.before))
                        .limit(slice.limit)
                        .into_boxed::<Db>();
                    let select = match list {
                        List::All => select,
                        List::SentBy(user) => select.filter(messages::sender_id.eq(user)),
                        List::ReceivedBy(user) | List::Of(user) => select.filter(messages::receiver_id.eq(user)),
                        List::Between(sender, receiver) => {
                            let between = select
                                .filter(messages::low_id.eq(sender.min(receiver)))
                                .filter(messages::high_id.eq(sender.max(receiver)));
                            if is_sqlite {
                                // Raw, for the plus: without it SQLite would rather go through all that the sender has sent to anybody.
                                between.filter(sql::<Bool>("+messages.sender_id = ").bind::<BigInt, _>(sender))
                            } else {
                                between.filter(messages::sender_id.eq(sender))
                            }
                        }
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
    let query = messages::table.select(COLUMNS).filter(messages::id.eq_any(&ids)).filter(is_readable());
    Ok(on!(conn, |c| if ids.len() <= MAX_CACHED_KEYS { CachedStatement(query).load(c) } else { query.load(c) })?)
}

/// The visible ones of any number of ids, as far as the budget goes: one statement for up to 128 of them. What is not visible takes
/// nothing of the budget: its length is not to be found out.
pub fn visible_by_ids(
    conn: &mut Conn<'_>,
    ids: &[MessageId],
    is_visible: impl Fn(&Message) -> bool,
    budget: &mut TextBudget,
) -> Result<Vec<Message>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_CACHED_KEYS) {
        let mut messages = by_ids(conn, ids)?;
        messages.retain(&is_visible);
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
        // By the index of the conversation, which has no receiver.
        .filter(messages::sender_id.ne(reader))
        .filter(is_kept());
    Ok(on!(conn, |c| query.first(c))?)
}

/// An earlier send of the same sender with the same `clientId`.
pub struct EarlierSend {
    /// The message that it created.
    pub id: MessageId,
    /// To whom.
    pub receiver_id: UserId,
    /// What it answers.
    pub reply_to_id: Option<MessageId>,
    /// The text of the message as it is now; `None` once deleted.
    pub content: Option<String>,
    /// [`Draft::digest`] of the send, if the message was edited since, and not deleted.
    pub digest: Option<Vec<u8>>,
}

/// Finds a send, whether its message was deleted or not.
pub fn earlier_send(conn: &mut Conn<'_>, sender: UserId, client_id: &ClientId) -> Result<Option<EarlierSend>> {
    type Row = (MessageId, UserId, Option<MessageId>, String, Option<Vec<u8>>, bool);
    let query = messages::table
        .select((
            messages::id,
            messages::receiver_id,
            messages::reply_to_id,
            messages::content,
            messages::client_digest,
            messages::deleted_at.is_not_null(),
        ))
        .filter(messages::sender_id.eq(sender))
        .filter(messages::client_id.eq(client_id.as_str()));
    let row: Option<Row> = on!(conn, |c| query.first(c).optional())?;
    Ok(row.map(|(id, receiver_id, reply_to_id, content, digest, is_deleted)| {
        let content = (!is_deleted).then_some(content);
        EarlierSend { id, receiver_id, reply_to_id, content, digest }
    }))
}

/// Inserts a message. The caller must have locked the sender and checked that the `clientId` was not used before.
pub fn insert(conn: &mut Conn<'_>, draft: &Draft, at: Timestamp) -> Result<Message> {
    let content = draft.content.as_str();
    let client_id = draft.client_id.as_ref().map(ClientId::as_str);
    let id = match conn {
        Conn::Sqlite(c) => {
            let id = next_sqlite_id(c)?;
            let insert = sql::<Integer>(
                "INSERT INTO messages (id, sender_id, receiver_id, content, reply_to_id, client_id, created_at) VALUES (",
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

/// Changes the text; `None` if there is no such message, or it has another version. `first` is the [`Draft::digest`] of the
/// first text, when it is that which is replaced.
pub fn update(
    conn: &mut Conn<'_>,
    id: MessageId,
    version: i32,
    (content, first): (&Content, Option<Vec<u8>>),
    at: Timestamp,
) -> Result<Option<Message>> {
    let query = diesel::update(messages::table.find(id))
        .filter(messages::deleted_at.is_null())
        .filter(messages::version.eq(version))
        .set((
            messages::content.eq(content.as_str()),
            messages::version.eq(messages::version + 1),
            messages::edited_at.eq(at),
            first.map(|digest| messages::client_digest.eq(digest)),
        ))
        .returning(COLUMNS);
    Ok(on!(conn, |c| query.get_result(c).optional())?)
}

/// Deletes a message: removes its text, and what the text could be guessed by.
pub fn delete(conn: &mut Conn<'_>, id: MessageId, at: Timestamp) -> Result<()> {
    let query = diesel::update(messages::table.find(id)).set((
        messages::content.eq(""),
        messages::client_digest.eq(None::<Vec<u8>>),
        messages::deleted_at.eq(at),
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// The oldest messages of a sender that are not deleted, hidden or not, with their receivers.
pub fn oldest_sent_by(conn: &mut Conn<'_>, sender: UserId, limit: i64) -> Result<Vec<(MessageId, UserId)>> {
    let query = messages::table
        .select((messages::id, messages::receiver_id))
        .filter(messages::sender_id.eq(sender))
        .filter(messages::deleted_at.is_null())
        .order(messages::id)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Deletes messages with their `clientId`s; at most 1,000, because the number of parameters is limited.
pub fn erase(conn: &mut Conn<'_>, ids: &[MessageId], at: Timestamp) -> Result<()> {
    let query = diesel::update(messages::table.filter(messages::id.eq_any(ids))).set((
        messages::content.eq(""),
        messages::client_id.eq(None::<&str>),
        messages::client_digest.eq(None::<Vec<u8>>),
        messages::deleted_at.eq(at),
    ));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}

/// Messages of a sender that have a `clientId`, deleted or not: the same ones until they have none. PostgreSQL begins a scan of a table
/// anywhere, so that without an order it would find others each time.
pub fn with_client_id(conn: &mut Conn<'_>, sender: UserId, limit: i64) -> Result<Vec<MessageId>> {
    let query = messages::table
        .select(messages::id)
        .filter(messages::sender_id.eq(sender))
        .filter(messages::client_id.is_not_null())
        .order(messages::client_id)
        .limit(limit);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Removes the `clientId`s of messages; at most 1,000, because the number of parameters is limited.
pub fn remove_client_ids(conn: &mut Conn<'_>, ids: &[MessageId]) -> Result<()> {
    let query = diesel::update(messages::table.filter(messages::id.eq_any(ids)))
        .set((messages::client_id.eq(None::<&str>), messages::client_digest.eq(None::<Vec<u8>>)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
