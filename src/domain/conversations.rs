//! What can be done with conversations.

use std::collections::HashMap;

use super::{
    Rejection, Result, Viewer,
    news::{News, announce},
    policy,
};
use crate::{
    app::App,
    model::{
        conversations::{Mark, Member, Reach},
        feed::Kind,
        ids::{ConversationId, MessageId, UserId},
        pages::{Page, Span},
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// Whether the viewer may see what two users say to each other.
#[must_use]
pub fn sees(viewer: &Viewer, id: ConversationId) -> bool {
    policy::sees_conversation(viewer, id)
}

/// Which of these conversations had messages, be their members erased or not.
pub fn begun(conn: &mut Conn<'_>, viewer: &Viewer, ids: &[ConversationId]) -> Result<HashMap<ConversationId, ()>> {
    let keys: Vec<_> = ids.iter().filter(|id| sees(viewer, **id)).map(|id| id.members().into()).collect();
    let places = store::members::by_keys(conn, &keys)?;
    Ok(places.into_iter().map(|member| (member.conversation_id(), ())).collect())
}

/// A page of each user's conversations that had messages, the most recently active first; empty for those for whom the
/// viewer may not act.
pub fn pages(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    wanted: &[(UserId, Span)],
) -> Result<HashMap<(UserId, Span), Page<Member>>> {
    let seen = |(user, _): &&(UserId, Span)| policy::may_act_for(viewer, *user);
    let keys: Vec<_> = wanted.iter().copied().filter(|key| seen(&key)).collect();
    // The list goes from the most recent activity to the least, against its keys.
    let reversed: Vec<_> = keys.iter().map(|(user, span)| (*user, span.reversed())).collect();
    let pages = store::members::pages(conn, &reversed)?;
    Ok(keys.into_iter().zip(pages.into_iter().map(Page::reversed)).collect())
}

/// The places of these users with these peers, as far as there are any.
pub fn members(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    keys: &[(UserId, UserId)],
) -> Result<HashMap<(UserId, UserId), Member>> {
    let seen =
        |(user, peer): &(UserId, UserId)| ConversationId::between(*user, *peer).is_some_and(|id| sees(viewer, id));
    let keys: Vec<_> = keys.iter().copied().filter(seen).collect();
    let members = store::members::by_keys(conn, &keys)?;
    Ok(members.into_iter().map(|member| ((member.user_id, member.peer_id), member)).collect())
}

/// How many messages these users have not read, over all conversations.
pub fn unread(conn: &mut Conn<'_>, viewer: &Viewer, users: &[UserId]) -> Result<HashMap<UserId, i64>> {
    let seen: Vec<_> = users.iter().copied().filter(|user| policy::may_act_for(viewer, *user)).collect();
    Ok(store::members::unread_of(conn, &seen)?)
}

/// Notes that everything up to a message has reached a member of its conversation; what was read has arrived, too. A mark
/// that is further already stays.
pub async fn mark(
    app: &App,
    viewer: &Viewer,
    reader: UserId,
    message: MessageId,
    reach: Reach,
) -> Result<ConversationId> {
    policy::require(viewer, policy::may_act_for(viewer, reader), Rejection::NotUser)?;
    viewer.count_change(app)?;
    let at = app.now();
    let id = app.store.write(move |conn| mark_reached(conn, reader, message, reach, at)).await?;
    app.wakeups.wake(id.members());
    Ok(id)
}

fn mark_reached(
    conn: &mut Conn<'_>,
    reader: UserId,
    message: MessageId,
    reach: Reach,
    at: Timestamp,
) -> Result<ConversationId> {
    let found = store::messages::by_ids(conn, &[message])?.pop().ok_or(Rejection::NoMarkedMessage)?;
    let id = found.conversation_id();
    let peer = id.peer_of(reader).ok_or(Rejection::NoMarkedMessage)?;
    store::users::lock(conn, &id.members())?;
    let place = store::members::by_keys(conn, &[(reader, peer)])?.pop().ok_or(Rejection::NoMarkedMessage)?;
    let mut moved = false;
    for step in [Reach::Delivered, Reach::Read].into_iter().filter(|step| *step <= reach) {
        if place.mark(step).is_none_or(|mark| mark.message_id < message) {
            let unread = if step == Reach::Read { unread_after(conn, &place, message)? } else { place.unread };
            store::members::set_mark(conn, (reader, peer), step, Mark { message_id: message, at }, unread)?;
            moved = true;
        }
    }
    if moved {
        let message = Some(message);
        announce(conn, Kind::OwnMark, &[News { user: reader, message, peer }], at)?;
        if !store::blocks::stands_between(conn, reader, peer)? {
            announce(conn, Kind::PeerMark, &[News { user: peer, message, peer: reader }], at)?;
        }
    }
    Ok(id)
}

/// How many messages are left to read once a message was: each is counted past once.
fn unread_after(conn: &mut Conn<'_>, place: &Member, read: MessageId) -> Result<i64> {
    if read >= place.last_message_id {
        return Ok(0);
    }
    let before = place.mark(Reach::Read).map_or(0, |mark| mark.message_id.key());
    let newly_read = store::messages::count_received(conn, place.conversation_id(), place.user_id, (before, read))?;
    Ok(place.unread - newly_read)
}
