//! Users: reading, creating, changing and erasing them.

use super::{Error, Rejection, Result, Viewer, errors::email_taken, messages, policy};
use crate::{
    app::App,
    model::{
        feed::{Kind, NewEvent},
        ids::{SessionId, UserId},
        pages::{Page, PageRequest},
        sessions::Credential,
        texts::{Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    store::{self, Conn, users::NewUser},
};

/// Attempts at a change, which is retried when the user has got a new peer before the locks were taken.
const MAX_ATTEMPTS: u32 = 10;

/// The users with these ids that the viewer may see.
pub fn by_ids(conn: &mut Conn<'_>, viewer: &Viewer, ids: &[UserId]) -> Result<Vec<(UserId, User)>> {
    if !policy::sees_users(viewer) {
        return Ok(Vec::new());
    }
    let users = store::users::by_ids(conn, ids)?;
    Ok(users.into_iter().map(|user| (user.id, user)).collect())
}

/// The address of a user, if the viewer may see it.
#[must_use]
pub fn email<'a>(viewer: &Viewer, user: &'a User) -> Option<&'a str> {
    user.email.as_deref().filter(|_| policy::sees_email(viewer, user.id))
}

/// A page of the users that the viewer may see, in the order of creation. With `search` only those whose name, or whose
/// visible email, starts with it.
pub fn page(conn: &mut Conn<'_>, viewer: &Viewer, search: Option<&str>, request: PageRequest) -> Result<Page<User>> {
    // No stored text has a NUL, and PostgreSQL does not accept one as a parameter.
    let matches_nothing = search.is_some_and(|search| search.contains('\0'));
    let Some(addresses) = policy::searchable_addresses(viewer).filter(|_| !matches_nothing) else {
        return Ok(Page::empty());
    };
    Ok(store::users::page(conn, search.map(|search| (search, addresses)), request)?)
}

/// Creates an account for another user; without a password it cannot sign in with one.
pub async fn create(app: &App, viewer: &Viewer, name: Name, email: Email, password: Option<Password>) -> Result<User> {
    let otherwise = Error::Forbidden("Only an admin or a service token may make accounts for others. Sign up instead.");
    policy::require(viewer, viewer.is_privileged(), otherwise)?;
    let hash = hashed(app, password).await?;
    let created_at = app.now();
    app.store
        .write(move |conn| {
            let (name, email, role) = (&name, Some(&email), Role::User);
            let user = NewUser { id: None, name, email, created_at, password_hash: hash.as_deref(), role };
            store::users::insert(conn, &user).map_err(email_taken)
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

/// Changes the fields that are given.
pub async fn update(app: &App, viewer: &Viewer, id: UserId, changes: Changes) -> Result<User> {
    policy::require(viewer, policy::may_act_for(viewer, id), Rejection::NotYours)?;
    let Changes { name, email, password } = changes;
    viewer.check_write_rate(app)?;
    if email.is_some() || password.is_some() {
        policy::require(viewer, policy::may_change_credentials(viewer), Rejection::NotSignedIn)?;
        viewer.check_credential_rate(app)?;
    }
    let hash = hashed(app, password).await?;
    let (at, viewer) = (app.now(), viewer.clone());
    let revocations = app.revocations.clone();
    let change = move |conn: &mut Conn<'_>, user: User, peers: &[UserId]| {
        viewer.check_session(conn, at)?;
        let mut after = user.clone();
        if name.is_some() || email.is_some() {
            let updated = store::users::update(conn, id, name.as_ref(), email.as_ref()).map_err(email_taken)?;
            after = updated.ok_or(Rejection::NoUser(id))?;
        }
        if (&after.name, &after.email) != (&user.name, &user.email) {
            let blocked = store::blocks::of(conn, id)?;
            let peers = peers.iter().copied().filter(|peer| !blocked.contains(peer));
            append_user_changed(conn, id, peers.chain([id]), at)?;
        }
        let Some(hash) = &hash else { return Ok((after, Vec::new())) };
        if store::identities::has_any(conn, id)? {
            return Err(Rejection::IssuersAccount.into());
        }
        store::users::set_password(conn, id, hash)?;
        Ok((after, store::sessions::end_all(conn, id, viewer.session(), at)?))
    };
    let publish = move |(_, revoked): &(User, Vec<SessionId>)| {
        revocations.publish(revoked.iter().copied().map(Credential::Session));
    };
    let (user, _) = with_locked_peers(app, id, change, publish).await?;
    Ok(user)
}

async fn hashed(app: &App, password: Option<Password>) -> Result<Option<String>> {
    match password {
        Some(password) => Ok(Some(app.passwords.hash(password).await?)),
        None => Ok(None),
    }
}

/// Erases an account: its personal data is removed, and its id is never reused. Its messages stay without an author, or
/// are deleted too.
pub async fn delete(app: &App, viewer: &Viewer, id: UserId, erase_messages: bool) -> Result<()> {
    policy::require(viewer, policy::may_act_for(viewer, id), Rejection::NotYours)?;
    let at = app.now();
    let (viewer, signals, revocations) = (viewer.clone(), app.signals.clone(), app.revocations.clone());
    let erase = move |conn: &mut Conn<'_>, _: User, peers: &[UserId]| {
        viewer.check_session(conn, at)?;
        if erase_messages {
            messages::delete_all_sent_by(conn, id, peers, at)?;
        }
        store::users::erase(conn, id, at)?;
        append_user_changed(conn, id, peers.iter().copied(), at)?;
        Ok(store::sessions::end_all(conn, id, None, at)?)
    };
    let publish = move |revoked: &Vec<SessionId>| {
        signals.end(id);
        revocations.publish(revoked.iter().copied().map(Credential::Session).chain([Credential::Account(id)]));
    };
    with_locked_peers(app, id, erase, publish).await?;
    Ok(())
}

/// Appends to the feeds of these users that a user changed.
fn append_user_changed(
    conn: &mut Conn<'_>,
    changed: UserId,
    users: impl Iterator<Item = UserId>,
    at: Timestamp,
) -> Result<()> {
    let new: Vec<NewEvent> = users.map(|user| NewEvent { user, message: None, peer: changed }).collect();
    Ok(store::feed::insert(conn, Kind::UserChanged, &new, at)?)
}

/// Changes a user in one transaction in which the user and all their peers are locked. After the commit all their feeds
/// are invalidated and `committed` runs.
async fn with_locked_peers<T: Send + 'static>(
    app: &App,
    id: UserId,
    work: impl Fn(&mut Conn<'_>, User, &[UserId]) -> Result<T> + Clone + Send + 'static,
    committed: impl FnOnce(&T) + Clone + Send + 'static,
) -> Result<T> {
    for _ in 0..MAX_ATTEMPTS {
        let (work, committed, notifier) = (work.clone(), committed.clone(), app.notifier.clone());
        let change = move |conn: &mut Conn<'_>| {
            let Some((user, peers)) = lock_with_peers(conn, id)? else { return Ok(None) };
            Ok::<_, Error>(Some((work(conn, user, &peers)?, peers)))
        };
        let publish = move |changed: &Option<(T, Vec<UserId>)>| {
            if let Some((done, peers)) = changed {
                notifier.invalidate(peers.iter().copied().chain([id]));
                committed(done);
            }
        };
        if let Some((done, _)) = app.store.write_then(change, publish).await? {
            return Ok(done);
        }
    }
    Err(Error::Busy)
}

/// Locks a user and their peers; `None` if there was a new peer by then.
fn lock_with_peers(conn: &mut Conn<'_>, id: UserId) -> Result<Option<(User, Vec<UserId>)>> {
    // All in one call, which locks in the order of ids as everywhere: this prevents deadlocks.
    let peers = store::members::peers_of(conn, id)?;
    let all: Vec<UserId> = peers.iter().copied().chain([id]).collect();
    let user = store::users::lock(conn, &all)?.into_iter().find(|user| user.id == id).ok_or(Rejection::NoUser(id))?;
    let unchanged = store::members::peers_of(conn, id)?.len() == peers.len();
    Ok(unchanged.then_some((user, peers)))
}
