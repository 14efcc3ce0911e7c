//! What can be done with users.

use std::collections::HashMap;

use super::{
    Error, Rejection, Result, Viewer, messages,
    news::{News, announce},
    policy,
};
use crate::{
    app::App,
    model::{
        feed::Kind,
        ids::UserId,
        pages::{Page, Span},
        sessions::Credential,
        texts::{Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    store::{self, Conn, Constraint, users::NewUser},
};

/// How often a change is tried again because somebody new wrote to the user, or heard from them.
const ATTEMPTS: u32 = 10;

/// The users with these ids whom the viewer may see.
pub fn by_ids(conn: &mut Conn<'_>, viewer: &Viewer, ids: &[UserId]) -> Result<HashMap<UserId, User>> {
    if !policy::sees_users(viewer) {
        return Ok(HashMap::new());
    }
    let users = store::users::by_ids(conn, ids)?;
    Ok(users.into_iter().map(|user| (user.id, user)).collect())
}

/// The address of a user, for those who may see it.
#[must_use]
pub fn email<'a>(viewer: &Viewer, user: &'a User) -> Option<&'a str> {
    user.email.as_deref().filter(|_| policy::sees_email(viewer, user.id))
}

/// A page of the users whom the viewer may see, in the order of their creation. With `search` only those whose name, or
/// an email that the viewer may see, starts with it.
pub fn page(conn: &mut Conn<'_>, viewer: &Viewer, search: Option<&str>, span: Span) -> Result<Page<User>> {
    // No text has a NUL in it, and PostgreSQL cannot be asked for one.
    let impossible = search.is_some_and(|search| search.contains('\0'));
    let Some(addresses) = policy::findable(viewer).filter(|_| !impossible) else { return Ok(Page::empty()) };
    Ok(store::users::page(conn, search.map(|search| (search, addresses)), span)?)
}

/// Makes an account for somebody else; without a password it is one that cannot sign in with one.
pub async fn create(app: &App, viewer: &Viewer, name: Name, email: Email, password: Option<Password>) -> Result<User> {
    let why = Error::Forbidden("Only an admin or a service token may make accounts for others. Sign up instead.");
    policy::require(viewer, viewer.acts_for_everyone(), why)?;
    let hash = hashed(app, password).await?;
    let created_at = app.now();
    app.store
        .write(move |conn| {
            let (name, email, role) = (&name, Some(&email), Role::User);
            let user = NewUser { id: None, name, email, created_at, password_hash: hash.as_deref(), role };
            store::users::insert(conn, &user).map_err(taken)
        })
        .await
}

/// What to change of a user.
#[derive(Default, Clone)]
pub struct Changes {
    /// The name.
    pub name: Option<Name>,
    /// The address.
    pub email: Option<Email>,
    /// The password. All other sessions of the user end.
    pub password: Option<Password>,
}

/// Changes what is given.
pub async fn update(app: &App, viewer: &Viewer, id: UserId, changes: Changes) -> Result<User> {
    policy::require(viewer, policy::may_act_for(viewer, id), Rejection::NotYours)?;
    let Changes { name, email, password } = changes;
    viewer.count_change(app)?;
    if email.is_some() || password.is_some() {
        viewer.count_change_of_credentials(app)?;
    }
    let hash = hashed(app, password).await?;
    let (at, viewer) = (app.now(), viewer.clone());
    let (user, ended) = beside_peers(app, id, move |conn, user, peers| {
        viewer.is_still_signed_in(conn, at)?;
        let mut after = user.clone();
        if name.is_some() || email.is_some() {
            let updated = store::users::update(conn, id, name.as_ref(), email.as_ref()).map_err(taken)?;
            after = updated.ok_or(Rejection::NoUser(id))?;
        }
        if (&after.name, &after.email) != (&user.name, &user.email) {
            let blocked = store::blocks::of(conn, id)?;
            let peers = peers.iter().copied().filter(|peer| !blocked.contains(peer));
            tell(conn, id, peers.chain([id]), at)?;
        }
        let Some(hash) = &hash else { return Ok((after, Vec::new())) };
        store::users::set_password(conn, id, hash)?;
        Ok((after, store::sessions::end_all(conn, id, viewer.session(), at)?))
    })
    .await?;
    app.endings.tell(ended.into_iter().map(Credential::Session));
    Ok(user)
}

async fn hashed(app: &App, password: Option<Password>) -> Result<Option<String>> {
    match password {
        Some(password) => Ok(Some(app.passwords.hash(password).await?)),
        None => Ok(None),
    }
}

/// Erases an account: name and address are gone, the id is never given again. What the user wrote stays without an
/// author, or is deleted too.
pub async fn delete(app: &App, viewer: &Viewer, id: UserId, erase_messages: bool) -> Result<()> {
    policy::require(viewer, policy::may_act_for(viewer, id), Rejection::NotYours)?;
    let at = app.now();
    let viewer = viewer.clone();
    let ended = beside_peers(app, id, move |conn, _, peers| {
        viewer.is_still_signed_in(conn, at)?;
        if erase_messages {
            messages::delete_all_sent_by(conn, id, peers, at)?;
        }
        store::users::erase(conn, id, at)?;
        tell(conn, id, peers.iter().copied(), at)?;
        Ok(store::sessions::end_all(conn, id, None, at)?)
    })
    .await?;
    app.signals.end(id);
    app.endings.tell(ended.into_iter().map(Credential::Session).chain([Credential::Account(id)]));
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
            app.wakeups.revise(peers.into_iter().chain([id]));
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

pub(super) fn taken(error: store::Error) -> Error {
    if matches!(error, store::Error::Refused(Constraint::UniqueEmail)) {
        Rejection::EmailTaken.into()
    } else {
        error.into()
    }
}
