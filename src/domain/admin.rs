//! Commands of the operator: admins, service tokens, password resets, and sessions.

use super::{
    Error, Rejection, Result, Viewer, audit,
    errors::email_taken,
    policy,
    users::{require_own_password, require_user},
};
use crate::{
    app::{App, random_epoch},
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        sessions::Session,
        texts::{Email, Name, Password},
        timestamps::Timestamp,
        users::{Account, Role, User},
    },
    secrets::NewToken,
    store::{self, Conn, users::NewUser},
};

/// Sessions or users in a list, at most.
const MAX_LISTED: i64 = 1_000;

/// Users and messages are counted up to here: to count all would take time.
const MAX_COUNTED: i64 = 100_000;

/// What is in a database, in words, such as `2 users, 1 message`.
pub async fn count_contents(app: &App, viewer: &Viewer) -> Result<String> {
    policy::require_operator(viewer)?;
    let (users, messages) = app.store.read(|conn| store::server::count_contents(conn, MAX_COUNTED + 1)).await?;
    let counted = |count: i64, noun: &str| match count {
        1 => format!("1 {noun}"),
        ..=MAX_COUNTED => format!("{count} {noun}s"),
        _ => format!("more than {MAX_COUNTED} {noun}s"),
    };
    Ok(format!("{}, {}", counted(users, "user"), counted(messages, "message")))
}

/// Creates an admin. An address that is taken is refused: [`grant`] makes an account that is there an admin.
pub async fn create(app: &App, viewer: &Viewer, name: Name, email: Email, password: Password) -> Result<User> {
    policy::require_operator(viewer)?;
    let hash = app.passwords.hash(password).await?;
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            let (name, email, role) = (&name, Some(&email), Role::Admin);
            let user = NewUser { id: None, name, email, created_at: at, password_hash: Some(&hash), role };
            let user = store::users::insert(conn, &user).map_err(email_taken)?;
            audit::record(conn, &viewer, at, "admin create", (Some(user.id), None))?;
            Ok(user)
        })
        .await
}

/// Makes an account an admin, who keeps the password, and ends its sessions; one that was made for a user of an issuer cannot be an admin.
pub async fn grant(app: &App, viewer: &Viewer, id: UserId) -> Result<User> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            let user = existing(conn, id)?;
            require_own_password(conn, id)?;
            if store::users::set_role(conn, id, Role::Admin)? {
                store::sessions::end_all(conn, id, None, at)?;
                audit::record(conn, &viewer, at, "admin grant", (Some(id), None))?;
            }
            Ok::<_, Error>(user)
        })
        .await
}

/// Whether there is an admin who can sign in.
pub async fn has_admins(app: &App, viewer: &Viewer) -> Result<bool> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(|conn| store::users::any_with_role(conn, Role::Admin)).await?)
}

/// Makes an admin a user again, and ends their sessions. False if it is no admin.
pub async fn revoke(app: &App, viewer: &Viewer, id: UserId) -> Result<bool> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            existing(conn, id)?;
            let has_changed = store::users::set_role(conn, id, Role::User)?;
            if has_changed {
                store::sessions::end_all(conn, id, None, at)?;
                audit::record(conn, &viewer, at, "admin revoke", (Some(id), None))?;
            }
            Ok::<_, Error>(has_changed)
        })
        .await
}

/// Suspends an account and ends its sessions, or ends its suspension. While it is suspended nobody can sign in to it, nor act for it with
/// the token of an issuer; its messages stay, and others can write to it. False if it was so already.
pub async fn set_suspended(app: &App, viewer: &Viewer, id: UserId, is_suspended: bool) -> Result<bool> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            existing(conn, id)?;
            let has_changed = store::users::set_suspended(conn, id, is_suspended.then_some(at))?;
            // Also those that a server of an earlier release has begun since.
            if is_suspended {
                store::sessions::end_all(conn, id, None, at)?;
            }
            if has_changed {
                let action = if is_suspended { "admin suspend" } else { "admin unsuspend" };
                audit::record(conn, &viewer, at, action, (Some(id), None))?;
            }
            Ok::<_, Error>(has_changed)
        })
        .await
}

/// The accounts with a higher id than this one, by id, at most 1,000.
pub async fn accounts_after(app: &App, viewer: &Viewer, after: Option<UserId>) -> Result<Vec<Account>> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(move |conn| store::users::accounts_after(conn, after, MAX_LISTED)).await?)
}

/// Issues a service token. Only its hash is stored, so it cannot be shown again.
pub async fn issue_token(app: &App, viewer: &Viewer, name: Name) -> Result<(ServiceTokenId, String)> {
    policy::require_operator(viewer)?;
    let NewToken { text, hash } = NewToken::service();
    let (viewer, at) = (viewer.clone(), app.now());
    let issue = move |conn: &mut Conn<'_>| {
        let id = store::service_tokens::insert(conn, name.as_str(), &hash, at)?;
        audit::record(conn, &viewer, at, "admin issue-token", (None, Some(id.to_string())))?;
        Ok::<_, store::Error>(id)
    };
    Ok((app.store.write(issue).await?, text))
}

/// Revokes a service token; false if there is no active one.
pub async fn revoke_token(app: &App, viewer: &Viewer, id: ServiceTokenId) -> Result<bool> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    let revoke = move |conn: &mut Conn<'_>| {
        let is_revoked = store::service_tokens::revoke(conn, id, at)?;
        if is_revoked {
            audit::record(conn, &viewer, at, "admin revoke-token", (None, Some(id.to_string())))?;
        }
        Ok::<_, store::Error>(is_revoked)
    };
    Ok(app.store.write(revoke).await?)
}

/// The account with this address; `None` if there is none.
pub async fn user_by_email(app: &App, viewer: &Viewer, email: Email) -> Result<Option<UserId>> {
    policy::require_operator(viewer)?;
    let found = app.store.read(move |conn| store::users::by_email(conn, &email)).await?;
    Ok(found.map(|(user, _)| user.id))
}

/// Begins a new history of the database: clients that come back with an old cursor load everything again.
pub async fn begin_new_epoch(app: &App, viewer: &Viewer) -> Result<()> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    let begin = move |conn: &mut Conn<'_>| {
        store::server::set_epoch(conn, &random_epoch())?;
        audit::record(conn, &viewer, at, "new-epoch", (None, None))
    };
    Ok(app.store.write(begin).await?)
}

/// The active service tokens, with their names and when they were issued.
pub async fn tokens(app: &App, viewer: &Viewer) -> Result<Vec<(ServiceTokenId, String, Timestamp)>> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(store::service_tokens::all).await?)
}

/// Checks that the password of an account can be set.
pub async fn check_has_password(app: &App, viewer: &Viewer, id: UserId) -> Result<()> {
    policy::require_operator(viewer)?;
    app.store
        .read(move |conn| {
            require_user(conn, id)?;
            require_own_password(conn, id)
        })
        .await
}

/// Sets the password of an account, and ends its sessions; one that was made for a user of an issuer has no password.
pub async fn reset_password(app: &App, viewer: &Viewer, id: UserId, password: Password) -> Result<()> {
    policy::require_operator(viewer)?;
    let hash = app.passwords.hash(password).await?;
    let (viewer, at) = (viewer.clone(), app.now());
    app.store
        .write(move |conn| {
            existing(conn, id)?;
            require_own_password(conn, id)?;
            store::users::set_password(conn, id, &hash)?;
            store::sessions::end_all(conn, id, None, at)?;
            audit::record(conn, &viewer, at, "admin reset-password", (Some(id), None))?;
            Ok::<_, Error>(())
        })
        .await
}

/// The sessions of an account, the newest first.
pub async fn sessions(app: &App, viewer: &Viewer, id: UserId) -> Result<Vec<Session>> {
    policy::require_operator(viewer)?;
    let at = app.now();
    app.store
        .read(move |conn| {
            require_user(conn, id)?;
            Ok::<_, Error>(store::sessions::of_user(conn, id, at, MAX_LISTED)?)
        })
        .await
}

/// Ends a session; gives its user, and `None` if there is no active one.
pub async fn end_session(app: &App, viewer: &Viewer, id: SessionId) -> Result<Option<UserId>> {
    policy::require_operator(viewer)?;
    let (viewer, at) = (viewer.clone(), app.now());
    let end = move |conn: &mut Conn<'_>| {
        let user = store::sessions::end(conn, id, at)?;
        if user.is_some() {
            audit::record(conn, &viewer, at, "admin end-session", (user, Some(id.to_string())))?;
        }
        Ok::<_, store::Error>(user)
    };
    Ok(app.store.write(end).await?)
}

/// The user with this id, locked.
fn existing(conn: &mut Conn<'_>, id: UserId) -> Result<User> {
    store::users::lock(conn, &[id])?.pop().ok_or_else(|| Rejection::NoUser(id).into())
}
