//! Messages: reading, sending, editing and deleting them.

use super::{Error, Rejection, Result, Viewer, audit, policy};
use crate::{
    app::App,
    model::{
        feed::{EventKind, NewEvent},
        ids::{ConversationId, MessageId},
        messages::{Draft, List, Message},
        pages::{PageRequest, Pages},
        texts::Content,
        timestamps::Timestamp,
    },
    store::{self, Conn, TextBudget, members::Activity, messages::EarlierSend},
};

/// The messages with these ids that the viewer may see.
pub fn by_ids(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    ids: &[MessageId],
    budget: &mut TextBudget,
) -> Result<Vec<(MessageId, Message)>> {
    let is_visible = |message: &Message| policy::sees_conversation(viewer, message.conversation_id());
    let visible = store::messages::visible_by_ids(conn, ids, is_visible, budget)?;
    Ok(visible.into_iter().map(|message| (message.id, message)).collect())
}

/// A page of the visible part of each list, oldest first.
pub fn pages(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    wanted: &[(List, PageRequest)],
    budget: &mut TextBudget,
) -> Result<Pages<List, Message>> {
    policy::require_authenticated(viewer)?;
    let visible = |&(list, request): &(List, PageRequest)| {
        Some(((list, request), (policy::visible_part(viewer, list)?, request)))
    };
    let (keys, visible): (Vec<_>, Vec<_>) = wanted.iter().filter_map(visible).unzip();
    Ok(keys.into_iter().zip(store::messages::pages(conn, &visible, budget)?).collect())
}

/// The id that the sender chose, if the viewer may see it.
#[must_use]
pub fn client_id<'a>(viewer: &Viewer, message: &'a Message) -> Option<&'a str> {
    message.client_id.as_deref().filter(|_| policy::sees_client_id(viewer, message))
}

/// The outcome of a send.
pub struct Sent {
    /// The message; `None` if an earlier send created it and it was deleted since.
    pub message: Option<Message>,
    /// Whether an earlier send with the same `clientId` created it.
    pub duplicate: bool,
}

/// Sends a message; idempotent with a `clientId`. When this returns, the message is committed.
pub async fn send(app: &App, viewer: &Viewer, draft: Draft) -> Result<Sent> {
    policy::require(viewer, policy::may_act_for(viewer, draft.sender_id), Rejection::NotSender)?;
    viewer.check_write_rate(app)?;
    let at = app.now();
    let conversation = ConversationId::between(draft.sender_id, draft.receiver_id).ok_or(Rejection::ToOneself)?;
    let (notifier, unembedded) = (app.notifier.clone(), app.unembedded.clone());
    let notify = move |sent: &Sent| {
        if !sent.duplicate {
            notifier.notify(conversation.members());
            unembedded.notify_one();
        }
    };
    let viewer = viewer.clone();
    let work = move |conn: &mut Conn<'_>| {
        let sent = send_or_find(conn, &draft, conversation, at)?;
        if let Some(message) = sent.message.as_ref().filter(|_| !sent.duplicate) {
            audit::record_for_other(conn, &viewer, at, "sendMessage", (draft.sender_id, message.id))?;
        }
        Ok::<_, Error>(sent)
    };
    let sent = app.store.write_then(work, notify).await?;
    app.counters.count_send(sent.duplicate);
    Ok(sent)
}

fn send_or_find(conn: &mut Conn<'_>, draft: &Draft, conversation: ConversationId, at: Timestamp) -> Result<Sent> {
    // Locks the conversation for writers, so that its message ids are in commit order.
    let present = store::users::lock(conn, &conversation.members())?;
    if let Some(client_id) = &draft.client_id
        && let Some(mut earlier) = store::messages::earlier_send(conn, draft.sender_id, client_id)?
    {
        let mut is_repeated = repeats(draft, &earlier);
        // What it answered was removed since, as it was too old. It may have been edited before that, or after it.
        if let (Some(answered), None) = (draft.reply_to_id, earlier.reply_to_id)
            && store::expiry::is_removed(conn, conversation, answered)?
        {
            is_repeated |= repeats(&Draft { reply_to_id: None, ..draft.clone() }, &earlier);
            earlier.reply_to_id = draft.reply_to_id;
            is_repeated |= repeats(draft, &earlier);
        }
        if !is_repeated {
            return Err(Rejection::ClientIdReused.into());
        }
        let message = store::messages::by_ids(conn, &[earlier.id])?.pop();
        return Ok(Sent { message, duplicate: true });
    }
    if !present.iter().any(|user| user.id == draft.sender_id) {
        return Err(Rejection::NoSender(draft.sender_id).into());
    }
    if !present.iter().any(|user| user.id == draft.receiver_id) {
        return Err(Rejection::NoReceiver(draft.receiver_id).into());
    }
    if store::blocks::exists_between(conn, draft.sender_id, draft.receiver_id)? {
        return Err(Rejection::Blocked.into());
    }
    if let Some(reply_to) = draft.reply_to_id {
        let answered = store::messages::by_ids(conn, &[reply_to])?.pop();
        if answered.map(|message| message.conversation_id()) != Some(conversation) {
            return Err(Rejection::NoReply.into());
        }
    }
    let message = store::messages::insert(conn, draft, at)?;
    store::words::insert_sent(conn, &[(message.id, conversation, &message.content)])?;
    let received = conversation.members().map(|member| i64::from(member == draft.receiver_id));
    store::members::advance(conn, &[Activity { conversation, last: message.id, received }])?;
    Ok(Sent { message: Some(message), duplicate: false })
}

/// Whether it is the earlier send again. Nothing is left of the text of a deleted message: then any text is.
fn repeats(draft: &Draft, earlier: &EarlierSend) -> bool {
    let is_same_text = match (&earlier.digest, &earlier.content) {
        (Some(first), _) => draft.digest().as_ref() == Some(first),
        (None, Some(content)) => draft.content.as_str() == content,
        (None, None) => true,
    };
    is_same_text && (draft.receiver_id, draft.reply_to_id) == (earlier.receiver_id, earlier.reply_to_id)
}

/// Changes the text. With `expected_version` only if the message still has that version.
pub async fn update(
    app: &App,
    viewer: &Viewer,
    id: MessageId,
    content: Content,
    expected_version: Option<i32>,
) -> Result<Message> {
    viewer.check_write_rate(app)?;
    let at = app.now();
    let (viewer, notifier, unindexed) = (viewer.clone(), app.notifier.clone(), app.unindexed.clone());
    let update = move |conn: &mut Conn<'_>| {
        let (before, conversation) = locked(conn, &viewer, id)?;
        let [one, other] = conversation.members();
        if store::blocks::exists_between(conn, one, other)? {
            return Err(Rejection::BlockedEdit.into());
        }
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Err(Rejection::VersionConflict(before.version).into());
        }
        // A retry of the send is told from another send by its text, which is gone now.
        let first = if before.edited_at.is_none() { before.digest() } else { None };
        let message = store::messages::update(conn, id, before.version, (&content, first), at)?;
        store::words::replace_edited(conn, id, conversation, content.as_str())?;
        store::indexing::note_changes(conn, &[id])?;
        store::feed::insert(conn, EventKind::Updated, &NewEvent::for_both_members(id, conversation), at)?;
        audit::record_for_other(conn, &viewer, at, "updateMessage", (before.sender_id, id))?;
        Ok(message.ok_or(Rejection::NoMessage)?)
    };
    let invalidate = move |message: &Message| {
        notifier.invalidate(message.conversation_id().members());
        unindexed.notify_one();
    };
    app.store.write_then(update, invalidate).await
}

/// Deletes a message for both sides.
pub async fn delete(app: &App, viewer: &Viewer, id: MessageId) -> Result<()> {
    viewer.check_write_rate(app)?;
    let at = app.now();
    let (viewer, notifier, unindexed) = (viewer.clone(), app.notifier.clone(), app.unindexed.clone());
    let delete = move |conn: &mut Conn<'_>| {
        let (message, conversation) = locked(conn, &viewer, id)?;
        store::messages::delete(conn, id, at)?;
        store::indexing::note_changes(conn, &[id])?;
        store::members::decrement_unread(conn, &[id])?;
        store::members::follow_last_message(conn, &[id], message.sender_id, &[message.receiver_id])?;
        store::feed::insert(conn, EventKind::Deleted, &NewEvent::for_both_members(id, conversation), at)?;
        audit::record_for_other(conn, &viewer, at, "deleteMessage", (message.sender_id, id))?;
        Ok::<_, Error>(conversation)
    };
    let invalidate = move |conversation: &ConversationId| {
        notifier.invalidate(conversation.members());
        unindexed.notify_one();
    };
    app.store.write_then(delete, invalidate).await?;
    Ok(())
}

/// The message, if the viewer may change it, locked until the end of the transaction by locking the members of its
/// conversation, in the order of their ids as everywhere.
fn locked(conn: &mut Conn<'_>, viewer: &Viewer, id: MessageId) -> Result<(Message, ConversationId)> {
    policy::require(viewer, !viewer.is_anonymous(), Error::Unauthenticated)?;
    let find = |conn: &mut Conn<'_>| store::messages::by_ids(conn, &[id]).map(|mut messages| messages.pop());
    let message = find(conn)?.ok_or(Rejection::NoMessage)?;
    let conversation = message.conversation_id();
    policy::require(viewer, policy::sees_conversation(viewer, conversation), Rejection::NoMessage)?;
    policy::require(viewer, policy::may_act_for(viewer, message.sender_id), Rejection::NotYours)?;
    store::users::lock(conn, &conversation.members())?;
    let message = find(conn)?.ok_or(Rejection::NoMessage)?;
    Ok((message, conversation))
}
