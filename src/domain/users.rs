//! Users: reading, creating, changing and erasing them.

use super::{Error, Rejection, Result, Viewer, audit, changes, errors::email_taken, policy};
use crate::{
    app::App,
    model::{
        feed::{EventKind, NewEvent},
        ids::{SessionId, UserId},
        pages::{Page, PageRequest},
        sessions::Credential,
        texts::{Email, Name, Password},
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

/// A page of the users that the viewer may see, in the order of creation. With `search` only those in whose name words start with
/// those of it, or whose visible email starts with it.
pub fn page(conn: &mut Conn<'_>, viewer: &Viewer, search: Option<&str>, request: PageRequest) -> Result<Page<User>> {
    policy::require_authenticated(viewer)?;
    // No stored text has a NUL, and PostgreSQL does not accept one as a parameter.
    let matches_nothing = search.is_some_and(|search| search.contains('\0'));
    let Some(addresses) = policy::searchable_addresses(viewer).filter(|_| !matches_nothing) else {
        return Ok(Page::empty());
    };
    Ok(store::user_pages::page(conn, search.map(|search| (search, addresses)), request)?)
}

/// Creates an account for another user; without a password it cannot sign in with one.
pub async fn create(app: &App, viewer: &Viewer, name: Name, email: Email, password: Option<Password>) -> Result<User> {
    let otherwise = Error::Forbidden("Only an admin or a service token may make accounts for others. Sign up instead.");
    policy::require(viewer, viewer.is_privileged(), otherwise)?;
    let hash = hashed(app, password).await?;
    let (viewer, created_at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            viewer.require_active(conn, created_at)?;
            let (name, email, role) = (&name, Some(&email), Role::User);
            let user = NewUser { id: None, name, email, created_at, password_hash: hash.as_deref(), role };
            let user = store::users::insert(conn, &user).map_err(email_taken)?;
            audit::record(conn, &viewer, created_at, "createUser", (Some(user.id), None))?;
            Ok(user)
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
    if email.is_some() || password.is_some() {
        policy::require(viewer, policy::may_change_credentials(viewer), Rejection::NotSignedIn)?;
    }
    if name.is_some() || email.is_some() || password.is_some() {
        viewer.check_credential_rate(app).await?;
    }
    check_change_rate(app, viewer, name.is_some() || email.is_some()).await?;
    let hash = hashed(app, password).await?;
    let (at, viewer) = (app.now(), viewer.clone());
    let revocations = app.revocations.clone();
    let change = move |conn: &mut Conn<'_>, user: User, peers: &[UserId]| {
        viewer.require_active(conn, at)?;
        let mut after = user.clone();
        if name.is_some() || email.is_some() {
            let updated = store::users::update(conn, id, name.as_ref(), email.as_ref()).map_err(email_taken)?;
            after = updated.ok_or(Rejection::NoUser(id))?;
        }
        if (&after.name, &after.email) != (&user.name, &user.email) {
            changes::begin(conn, id, peers, at)?;
            store::feed::insert(conn, EventKind::UserChanged, &[NewEvent { user: id, message: None, peer: id }], at)?;
        }
        let is_new =
            [("name", after.name != user.name), ("email", after.email != user.email), ("password", hash.is_some())];
        let fields: Vec<&str> = is_new.iter().filter(|(_, is_new)| *is_new).map(|(field, _)| *field).collect();
        // What users change of themselves is only recorded if they sign in with it.
        if !fields.is_empty() && (viewer.user() != Some(id) || fields != ["name"]) {
            audit::record(conn, &viewer, at, "updateUser", (Some(id), Some(fields.join(","))))?;
        }
        let Some(hash) = &hash else { return Ok((after, Vec::new())) };
        require_own_password(conn, id)?;
        store::users::set_password(conn, id, hash)?;
        Ok((after, store::sessions::end_all(conn, id, viewer.session(), at)?))
    };
    let publish = move |(_, revoked): &(User, Vec<SessionId>)| {
        revocations.publish(revoked.iter().copied().map(Credential::Session));
    };
    let (user, _) = with_locked_peers(app, id, change, publish).await?;
    Ok(user)
}

/// Refuses a user who is not there.
pub(super) fn require_user(conn: &mut Conn<'_>, id: UserId) -> Result<()> {
    if store::users::exists(conn, id)? { Ok(()) } else { Err(Rejection::NoUser(id).into()) }
}

/// Refuses the account of a user of an issuer, which has no password.
pub(super) fn require_own_password(conn: &mut Conn<'_>, id: UserId) -> Result<()> {
    if store::identities::has_any(conn, id)? { Err(Rejection::IssuersAccount.into()) } else { Ok(()) }
}

/// Counts a change of a user against the viewer's rate limit; one that peers are notified of as much as so many changes.
async fn check_change_rate(app: &App, viewer: &Viewer, notifies_peers: bool) -> Result<()> {
    let Some(user) = viewer.user().filter(|_| notifies_peers && !viewer.is_privileged()) else {
        return viewer.check_write_rate(app);
    };
    let peers = app.store.read(move |conn| store::members::count_peers(conn, user)).await?;
    Ok(app.rates.check_writes(user, u32::try_from(peers).unwrap_or(u32::MAX).saturating_add(1))?)
}

async fn hashed(app: &App, password: Option<Password>) -> Result<Option<String>> {
    match password {
        Some(password) => Ok(Some(app.passwords.hash(password).await?)),
        None => Ok(None),
    }
}

/// Erases an account: its personal data is removed, and its id is never reused. Its messages stay without an author, or
/// are deleted too: nobody sees them any more when this returns, and they are gone some time later.
pub async fn delete(app: &App, viewer: &Viewer, id: UserId, erase_messages: bool) -> Result<()> {
    policy::require(viewer, policy::may_act_for(viewer, id), Rejection::NotYours)?;
    let at = app.now();
    let (viewer, signals, revocations) = (viewer.clone(), app.signals.clone(), app.revocations.clone());
    let notifier = app.notifier.clone();
    let erase = move |conn: &mut Conn<'_>, _: User, peers: &[UserId]| {
        viewer.require_active(conn, at)?;
        let revoked = store::sessions::end_all(conn, id, None, at)?;
        store::users::erase(conn, id, at)?;
        store::sessions::forget_devices(conn, id)?;
        changes::begin_erasure(conn, id, peers, erase_messages, at)?;
        let object = erase_messages.then(|| "messages".to_owned());
        audit::record(conn, &viewer, at, "deleteUser", (Some(id), object))?;
        // What was read of the feeds of all of them is stale.
        let stale = if erase_messages { store::members::peers_of(conn, id)? } else { Vec::new() };
        Ok((revoked, stale))
    };
    let publish = move |(revoked, stale): &(Vec<SessionId>, Vec<UserId>)| {
        notifier.invalidate(stale.iter().copied());
        signals.end(id);
        revocations.publish(revoked.iter().copied().map(Credential::Session).chain([Credential::Account(id)]));
    };
    with_locked_peers(app, id, erase, publish).await?;
    Ok(())
}

/// Changes a user in one transaction in which the user and their first peers are locked, as many as the first step of a change
/// concerns. After the commit all their feeds are invalidated, `on_commit` runs, and the job does the other steps.
async fn with_locked_peers<T: Send + 'static>(
    app: &App,
    id: UserId,
    work: impl Fn(&mut Conn<'_>, User, &[UserId]) -> Result<T> + Clone + Send + 'static,
    on_commit: impl FnOnce(&T) + Clone + Send + 'static,
) -> Result<T> {
    for _ in 0..MAX_ATTEMPTS {
        let (work, on_commit, notifier) = (work.clone(), on_commit.clone(), app.notifier.clone());
        let (unfinished_changes, unindexed) = (app.unfinished_changes.clone(), app.unindexed.clone());
        let change = move |conn: &mut Conn<'_>| {
            let Some((user, peers)) = lock_with_peers(conn, id)? else { return Ok(None) };
            Ok::<_, Error>(Some((work(conn, user, &peers)?, peers)))
        };
        let publish = move |changed: &Option<(T, Vec<UserId>)>| {
            if let Some((done, peers)) = changed {
                notifier.invalidate(peers.iter().copied().chain([id]));
                on_commit(done);
                unfinished_changes.notify_one();
                unindexed.notify_one();
            }
        };
        if let Some((done, _)) = app.store.write_then(change, publish).await? {
            return Ok(done);
        }
    }
    Err(Error::Busy)
}

/// Locks a user and their first peers; `None` if there was a new peer among them by then.
fn lock_with_peers(conn: &mut Conn<'_>, id: UserId) -> Result<Option<(User, Vec<UserId>)>> {
    // All in one call, which locks in the order of ids as everywhere: this prevents deadlocks.
    let peers = store::members::peers_after(conn, id, 0, changes::STEP_SIZE.into())?;
    let all: Vec<UserId> = peers.iter().copied().chain([id]).collect();
    let user = store::users::lock(conn, &all)?.into_iter().find(|user| user.id == id).ok_or(Rejection::NoUser(id))?;
    let unchanged = store::members::peers_after(conn, id, 0, changes::STEP_SIZE.into())? == peers;
    Ok(unchanged.then_some((user, peers)))
}
