//! Conversations: reading them, and marking messages as delivered or read.

use std::collections::HashSet;

use super::{Error, Rejection, Result, Viewer, audit, policy};
use crate::{
    app::App,
    model::{
        conversations::{Mark, Member, Reach},
        feed::{EventKind, NewEvent},
        ids::{ConversationId, MessageId, UserId},
        pages::{Page, PageRequest, Pages},
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// Whether the viewer may see a conversation.
#[must_use]
pub fn sees(viewer: &Viewer, id: ConversationId) -> bool {
    policy::sees_conversation(viewer, id)
}

/// Which of these conversations have had messages, whether their members are erased or not.
pub fn begun(conn: &mut Conn<'_>, viewer: &Viewer, ids: &[ConversationId]) -> Result<HashSet<ConversationId>> {
    let keys: Vec<_> = ids.iter().filter(|id| sees(viewer, **id)).map(|id| id.members().into()).collect();
    let members = store::members::by_keys(conn, &keys)?;
    Ok(members.iter().map(Member::conversation_id).collect())
}

/// A page of each user's conversations that have had messages, the most recently active first; nothing for users for
/// whom the viewer may not act.
pub fn pages(conn: &mut Conn<'_>, viewer: &Viewer, wanted: &[(UserId, PageRequest)]) -> Result<Pages<UserId, Member>> {
    let is_visible = |(user, _): &&(UserId, PageRequest)| policy::may_act_for(viewer, *user);
    let keys: Vec<_> = wanted.iter().copied().filter(|key| is_visible(&key)).collect();
    // The list is in descending order of its keys.
    let reversed: Vec<_> = keys.iter().map(|(user, request)| (*user, request.reversed())).collect();
    let pages = store::members::pages(conn, &reversed)?;
    Ok(keys.into_iter().zip(pages.into_iter().map(Page::reversed)).collect())
}

/// The member rows of these users with these peers, as far as there are any.
pub fn members(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    keys: &[(UserId, UserId)],
) -> Result<Vec<((UserId, UserId), Member)>> {
    let is_visible =
        |(user, peer): &(UserId, UserId)| ConversationId::between(*user, *peer).is_some_and(|id| sees(viewer, id));
    let keys: Vec<_> = keys.iter().copied().filter(is_visible).collect();
    let members = store::members::by_keys(conn, &keys)?;
    Ok(members.into_iter().map(|member| ((member.user_id, member.peer_id), member)).collect())
}

/// The number of unread messages of these users, over all conversations.
pub fn unread(conn: &mut Conn<'_>, viewer: &Viewer, users: &[UserId]) -> Result<Vec<(UserId, i64)>> {
    let visible: Vec<_> = users.iter().copied().filter(|user| policy::may_act_for(viewer, *user)).collect();
    Ok(store::members::unread_of(conn, &visible)?)
}

/// Marks everything up to a message as delivered or read by a member of its conversation; read implies delivered. A mark
/// never moves back.
pub async fn mark(
    app: &App,
    viewer: &Viewer,
    reader: UserId,
    message: MessageId,
    reach: Reach,
) -> Result<ConversationId> {
    policy::require(viewer, policy::may_act_for(viewer, reader), Rejection::NotUser)?;
    viewer.check_write_rate(app)?;
    let at = app.now();
    let notifier = app.notifier.clone();
    let (viewer, action) = (viewer.clone(), if reach == Reach::Read { "markRead" } else { "markDelivered" });
    let mark = move |conn: &mut Conn<'_>| {
        let (id, has_moved) = mark_reached(conn, reader, message, reach, at)?;
        if has_moved {
            audit::record_for_other(conn, &viewer, at, action, (reader, message))?;
        }
        Ok::<_, Error>(id)
    };
    app.store.write_then(mark, move |id| notifier.notify(id.members())).await
}

/// Gives the conversation, and whether a mark has moved.
fn mark_reached(
    conn: &mut Conn<'_>,
    reader: UserId,
    message: MessageId,
    reach: Reach,
    at: Timestamp,
) -> Result<(ConversationId, bool)> {
    let found = store::messages::by_ids(conn, &[message])?.pop().ok_or(Rejection::NoMarkedMessage)?;
    let id = found.conversation_id();
    let peer = id.peer_of(reader).ok_or(Rejection::NoMarkedMessage)?;
    let present = store::users::lock(conn, &id.members())?;
    if !present.iter().any(|user| user.id == reader) {
        return Err(Rejection::NoMarkedMessage.into());
    }
    let member = store::members::by_keys(conn, &[(reader, peer)])?.pop().ok_or(Rejection::NoMarkedMessage)?;
    let mut has_moved = false;
    for step in [Reach::Delivered, Reach::Read].into_iter().filter(|step| *step <= reach) {
        if member.mark(step).is_none_or(|mark| mark.message_id < message) {
            let mark = Mark { message_id: message, at };
            match step {
                Reach::Delivered => store::members::set_delivered(conn, (reader, peer), mark)?,
                Reach::Read => {
                    let unread = unread_after(conn, &member, message)?;
                    store::members::set_read(conn, (reader, peer), mark, unread)?;
                }
            }
            has_moved = true;
        }
    }
    if has_moved {
        let message = Some(message);
        store::feed::insert(conn, EventKind::OwnMark, &[NewEvent { user: reader, message, peer }], at)?;
        if !store::blocks::exists_between(conn, reader, peer)? {
            store::feed::insert(conn, EventKind::PeerMark, &[NewEvent { user: peer, message, peer: reader }], at)?;
        }
    }
    Ok((id, has_moved))
}

/// The unread messages that are left after reading up to a message. Over time each message is counted once.
fn unread_after(conn: &mut Conn<'_>, member: &Member, read: MessageId) -> Result<i64> {
    if read >= member.last_message_id {
        return Ok(0);
    }
    let before = member.mark(Reach::Read).map_or(0, |mark| mark.message_id.key());
    let newly_read = store::messages::count_received(conn, member.conversation_id(), member.user_id, (before, read))?;
    Ok(member.unread - newly_read)
}
