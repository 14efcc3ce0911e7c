//! What can be done with users.

use std::collections::HashMap;

use super::{Error, Rejection, Result, Viewer, messages};
use crate::{
    app::App,
    model::{
        ids::UserId,
        pages::{Page, Span},
        texts::{Email, Name},
        users::User,
    },
    store::{self, Constraint, users::NewUser},
};

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
    let concerned = app
        .store
        .write(move |conn| {
            // All at once, in the order of their ids, as everywhere: two transactions never wait for each other.
            let mut concerned = store::members::peers_of(conn, id)?;
            concerned.push(id);
            if !store::users::lock(conn, &concerned)?.iter().any(|user| user.id == id) {
                return Err(Error::from(Rejection::NoUser(id)));
            }
            if erase_messages {
                messages::delete_all_sent_by(conn, id, at)?;
            }
            store::users::erase(conn, id, at)?;
            Ok(concerned)
        })
        .await?;
    app.events.wake(concerned);
    Ok(())
}

fn taken(error: store::Error) -> Error {
    if matches!(error, store::Error::Refused(Constraint::UniqueEmail)) {
        Rejection::EmailTaken.into()
    } else {
        error.into()
    }
}
