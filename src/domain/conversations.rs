//! What can be done with conversations.

use std::collections::HashMap;

use super::{
    Rejection, Result, Viewer,
    news::{News, announce},
    policy::{self, Sieve},
};
use crate::{
    app::App,
    model::{
        conversations::{Mark, Member, Reach},
        feed::Kind,
        ids::{ConversationId, MessageId, UserId},
        pages::{Page, Span},
        timestamps::Timestamp,
        users::User,
    },
    store::{self, Conn},
};

/// A conversation with both its members, in the order of their ids; one whose account was erased is `None`.
#[derive(Clone)]
pub struct Conversation {
    /// Which one.
    pub id: ConversationId,
    /// Both members.
    pub members: [Option<User>; 2],
}

/// The conversation, if the viewer may see it: there is one between any two users, and one whose members were erased is
/// there if it ever had messages.
pub async fn find(app: &App, viewer: &Viewer, id: ConversationId) -> Result<Option<Conversation>> {
    if !policy::sees_conversation(viewer, id) {
        return Ok(None);
    }
    let found = app
        .store
        .read(move |conn| {
            let users = store::users::by_ids(conn, &id.members())?;
            let there = users.len() == 2 || store::members::exists(conn, id)?;
            Ok::<_, store::Error>(there.then_some(users))
        })
        .await?;
    Ok(found.map(|users| {
        let member = |id: UserId| users.iter().find(|user| user.id == id).cloned();
        Conversation { id, members: id.members().map(member) }
    }))
}

/// A page of each user's conversations that had messages, the least recently active first; empty for those for whom the
/// viewer may not act.
pub async fn pages(app: &App, viewer: &Viewer, wanted: Vec<(UserId, Span)>) -> Result<Vec<Page<Member>>> {
    let seen = |wanted: (UserId, Span)| policy::may_act_for(viewer, wanted.0).then_some(wanted);
    let (sieve, seen) = Sieve::sift(wanted.into_iter().map(seen));
    let found = app.store.read(move |conn| store::members::pages(conn, &seen)).await?;
    Ok(sieve.fill(found, Page::empty))
}

/// The places of these users with these peers, as far as there are any.
pub async fn members(
    app: &App,
    viewer: &Viewer,
    mut keys: Vec<(UserId, UserId)>,
) -> Result<HashMap<(UserId, UserId), Member>> {
    keys.retain(|(user, peer)| {
        ConversationId::between(*user, *peer).is_some_and(|id| policy::sees_conversation(viewer, id))
    });
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let members = app.store.read(move |conn| store::members::by_keys(conn, &keys)).await?;
    Ok(members.into_iter().map(|member| ((member.user_id, member.peer_id), member)).collect())
}

/// How many messages of each conversation its reader has not read; 0 for somebody who is not a member.
pub async fn unread(app: &App, viewer: &Viewer, readers: Vec<(ConversationId, UserId)>) -> Result<Vec<i64>> {
    let seen = |reader: (ConversationId, UserId)| policy::sees_conversation(viewer, reader.0).then_some(reader);
    let (sieve, readers) = Sieve::sift(readers.into_iter().map(seen));
    let counts = app.store.read(move |conn| {
        let keys: Vec<_> = readers.iter().filter_map(|(id, reader)| Some((*reader, id.peer_of(*reader)?))).collect();
        let members = store::members::by_keys(conn, &keys)?;
        let read_through = |id: ConversationId, reader: UserId| {
            let member = members.iter().find(|member| member.user_id == reader && member.conversation_id() == id);
            member.and_then(|member| member.mark(Reach::Read)).map_or(0, |mark| mark.message_id.key())
        };
        let readers: Vec<_> = readers.iter().map(|(id, reader)| (*id, *reader, read_through(*id, *reader))).collect();
        store::messages::count_unread(conn, &readers)
    });
    Ok(sieve.fill(counts.await?, || 0))
}

/// How many messages a user has not read, over all conversations.
pub async fn unread_by(app: &App, viewer: &Viewer, user: UserId) -> Result<i64> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    let counts = app.store.read(move |conn| {
        let behind = store::members::behind(conn, user)?;
        let read_through = |member: &Member| member.mark(Reach::Read).map_or(0, |mark| mark.message_id.key());
        let readers: Vec<_> =
            behind.iter().map(|member| (member.conversation_id(), user, read_through(member))).collect();
        store::messages::count_unread(conn, &readers)
    });
    Ok(counts.await?.iter().sum())
}

/// Notes that everything up to a message has reached a member of its conversation; what was read has arrived, too. A mark
/// that is further already stays.
pub async fn mark(
    app: &App,
    viewer: &Viewer,
    reader: UserId,
    message: MessageId,
    reach: Reach,
) -> Result<Conversation> {
    policy::require(viewer, policy::may_act_for(viewer, reader), Rejection::NotUser)?;
    viewer.count_change(app)?;
    let at = app.now();
    let id = app.store.write(move |conn| mark_reached(conn, reader, message, reach, at)).await?;
    app.wakeups.wake(id.members());
    find(app, viewer, id).await?.ok_or_else(|| Rejection::NoMarkedMessage.into())
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
            store::members::set_mark(conn, (reader, peer), step, Mark { message_id: message, at })?;
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
