//! What can be done with users.

use std::collections::HashMap;

use super::{Error, Rejection, Result, Viewer, messages};
use crate::{
    app::App,
    model::{
        ids::UserId,
        pages::{Page, Span},
        texts::{Email, Name},
        timestamps::Timestamp,
        users::User,
    },
    store::{self, Conn, Constraint, users::NewUser},
};

/// How often an erasure is tried again because somebody new wrote to the user, or heard from them.
const ATTEMPTS: u32 = 10;

/// The users with these ids whom the viewer may see.
pub async fn by_ids(app: &App, _viewer: &Viewer, ids: Vec<UserId>) -> Result<HashMap<UserId, User>> {
    let users = app.store.read(move |conn| store::users::by_ids(conn, &ids)).await?;
    Ok(users.into_iter().map(|user| (user.id, user)).collect())
}

/// A page of the users whom the viewer may see, in the order of their creation. With `search` only those whose name, or
/// an email that the viewer may see, starts with it.
pub async fn page(app: &App, _viewer: &Viewer, search: Option<String>, span: Span) -> Result<Page<User>> {
    // No text has a NUL in it, and PostgreSQL cannot be asked for one.
    if search.as_ref().is_some_and(|search| search.contains('\0')) {
        return Ok(Page::empty());
    }
    Ok(app.store.read(move |conn| store::users::page(conn, search.as_deref(), span)).await?)
}

/// Makes an account.
pub async fn create(app: &App, _viewer: &Viewer, name: Name, email: Email) -> Result<User> {
    let created_at = app.now();
    app.store
        .write(move |conn| {
            let user = NewUser { id: None, name: &name, email: &email, created_at };
            store::users::insert(conn, &user).map_err(taken)
        })
        .await
}

/// Changes what is given.
pub async fn update(app: &App, _viewer: &Viewer, id: UserId, name: Option<Name>, email: Option<Email>) -> Result<User> {
    app.store
        .write(move |conn| {
            let user = if name.is_none() && email.is_none() {
                store::users::by_ids(conn, &[id])?.pop()
            } else {
                store::users::update(conn, id, name.as_ref(), email.as_ref()).map_err(taken)?
            };
            user.ok_or_else(|| Rejection::NoUser(id).into())
        })
        .await
}

/// Erases an account: name and address are gone, the id is never given again. What the user wrote stays without an
/// author, or is deleted too.
pub async fn delete(app: &App, _viewer: &Viewer, id: UserId, erase_messages: bool) -> Result<()> {
    let at = app.now();
    for _ in 0..ATTEMPTS {
        let erased = app.store.write(move |conn| erase(conn, id, erase_messages, at)).await?;
        if let Some(concerned) = erased {
            app.events.wake(concerned);
            return Ok(());
        }
    }
    Err(Error::Busy)
}

/// Gives all whom it concerns; `None`, and nothing was changed, if somebody new came in between.
fn erase(conn: &mut Conn<'_>, id: UserId, erase_messages: bool, at: Timestamp) -> Result<Option<Vec<UserId>>> {
    // All at once, in the order of their ids, as everywhere: so nobody waits in a circle.
    let mut concerned = store::members::peers_of(conn, id)?;
    let peers = concerned.len();
    concerned.push(id);
    if !store::users::lock(conn, &concerned)?.iter().any(|user| user.id == id) {
        return Err(Rejection::NoUser(id).into());
    }
    if store::members::peers_of(conn, id)?.len() > peers {
        return Ok(None);
    }
    if erase_messages {
        messages::delete_all_sent_by(conn, id, at)?;
    }
    store::users::erase(conn, id, at)?;
    Ok(Some(concerned))
}

fn taken(error: store::Error) -> Error {
    if matches!(error, store::Error::Refused(Constraint::UniqueEmail)) {
        Rejection::EmailTaken.into()
    } else {
        error.into()
    }
}
