//! What can be done with conversations.

use super::{Result, Viewer};
use crate::{
    app::App,
    model::{
        conversations::Member,
        ids::{ConversationId, UserId},
        pages::{Page, Span},
        users::User,
    },
    store,
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
pub async fn find(app: &App, _viewer: &Viewer, id: ConversationId) -> Result<Option<Conversation>> {
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

/// A page of each user's conversations that had messages, the least recently active first.
pub async fn pages(app: &App, _viewer: &Viewer, wanted: Vec<(UserId, Span)>) -> Result<Vec<Page<Member>>> {
    Ok(app.store.read(move |conn| store::members::pages(conn, &wanted)).await?)
}

/// How many messages of each conversation its reader has not read; 0 for somebody who is not a member.
pub async fn unread(app: &App, _viewer: &Viewer, readers: Vec<(ConversationId, UserId)>) -> Result<Vec<i64>> {
    Ok(app.store.read(move |conn| store::messages::count_received(conn, &readers)).await?)
}
