//! What can be done with users.

use std::collections::HashMap;

use super::{
    Error, Rejection, Result, Viewer, messages,
    news::{News, announce},
};
use crate::{
    app::App,
    model::{
        feed::Kind,
        ids::UserId,
        pages::{Page, Span},
        texts::{Email, Name},
        timestamps::Timestamp,
        users::User,
    },
    store::{self, Conn, Constraint, users::NewUser},
};

/// How often a change is tried again because somebody new wrote to the user, or heard from them.
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
    let at = app.now();
    beside_peers(app, id, move |conn, user, peers| {
        if name.is_none() && email.is_none() {
            return Ok(user);
        }
        let changed = store::users::update(conn, id, name.as_ref(), email.as_ref()).map_err(taken)?;
        let changed = changed.ok_or(Rejection::NoUser(id))?;
        if (&changed.name, &changed.email) != (&user.name, &user.email) {
            tell(conn, id, peers.iter().copied().chain([id]), at)?;
        }
        Ok(changed)
    })
    .await
}

/// Erases an account: name and address are gone, the id is never given again. What the user wrote stays without an
/// author, or is deleted too.
pub async fn delete(app: &App, _viewer: &Viewer, id: UserId, erase_messages: bool) -> Result<()> {
    let at = app.now();
    beside_peers(app, id, move |conn, _, peers| {
        if erase_messages {
            messages::delete_all_sent_by(conn, id, at)?;
        }
        store::users::erase(conn, id, at)?;
        tell(conn, id, peers.iter().copied(), at)
    })
    .await?;
    app.signals.end(id);
    Ok(())
}

/// Writes to the feeds of these users that a user changed.
fn tell(conn: &mut Conn<'_>, changed: UserId, users: impl Iterator<Item = UserId>, at: Timestamp) -> Result<()> {
    let news: Vec<News> = users.map(|user| News { user, message: None, peer: changed }).collect();
    announce(conn, Kind::UserChanged, &news, at)
}

/// Changes a user in one transaction, with all who ever exchanged messages with them at hand, and wakes them all.
async fn beside_peers<T: Send + 'static>(
    app: &App,
    id: UserId,
    work: impl Fn(&mut Conn<'_>, User, &[UserId]) -> Result<T> + Clone + Send + 'static,
) -> Result<T> {
    for _ in 0..ATTEMPTS {
        let work = work.clone();
        let done = app.store.write(move |conn| {
            let Some((user, peers)) = locked_with_peers(conn, id)? else { return Ok(None) };
            Ok::<_, Error>(Some((work(conn, user, &peers)?, peers)))
        });
        if let Some((done, peers)) = done.await? {
            app.wakeups.wake(peers.into_iter().chain([id]));
            return Ok(done);
        }
    }
    Err(Error::Busy)
}

/// Locks a user and their peers; `None` if somebody new came in between.
fn locked_with_peers(conn: &mut Conn<'_>, id: UserId) -> Result<Option<(User, Vec<UserId>)>> {
    // All at once, in the order of their ids, as everywhere: so nobody waits in a circle.
    let peers = store::members::peers_of(conn, id)?;
    let all: Vec<UserId> = peers.iter().copied().chain([id]).collect();
    let user = store::users::lock(conn, &all)?.into_iter().find(|user| user.id == id).ok_or(Rejection::NoUser(id))?;
    let same = store::members::peers_of(conn, id)?.len() == peers.len();
    Ok(same.then_some((user, peers)))
}

fn taken(error: store::Error) -> Error {
    if matches!(error, store::Error::Refused(Constraint::UniqueEmail)) {
        Rejection::EmailTaken.into()
    } else {
        error.into()
    }
}
