//! Commands of the operator: admins, service tokens, password resets, and sessions.

use super::{Error, Rejection, Result, Viewer, errors::email_taken, policy};
use crate::{
    app::App,
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        sessions::{Credential, Session},
        texts::{Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    secrets::NewToken,
    store::{self, Conn, users::NewUser},
};

/// Sessions in a list, at most.
const MAX_ACCOUNT_SESSIONS: i64 = 1_000;

/// The error for any other viewer.
const OPERATOR_ONLY: Error = Error::Forbidden("Only the operator of the server may do this.");

/// Creates an admin; or makes the account with this address an admin, with a new password, and ends its sessions.
pub async fn make_admin(app: &App, viewer: &Viewer, name: Name, email: Email, password: Password) -> Result<User> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let hash = app.passwords.hash(password).await?;
    let at = app.now();
    app.store
        .write(move |conn| {
            if let Some((user, _)) = store::users::by_email(conn, &email)? {
                store::users::set_role(conn, user.id, Role::Admin)?;
                store::users::set_password(conn, user.id, &hash)?;
                store::sessions::end_all(conn, user.id, None, at)?;
                return Ok(user);
            }
            let (name, email, role) = (&name, Some(&email), Role::Admin);
            let user = NewUser { id: None, name, email, created_at: at, password_hash: Some(&hash), role };
            store::users::insert(conn, &user).map_err(email_taken)
        })
        .await
}

/// Issues a service token. Only its hash is stored, so it cannot be shown again.
pub async fn issue_token(app: &App, viewer: &Viewer, name: Name) -> Result<(ServiceTokenId, String)> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let NewToken { text, hash } = NewToken::service();
    let at = app.now();
    let issue = move |conn: &mut Conn<'_>| store::service_tokens::insert(conn, name.as_str(), &hash, at);
    Ok((app.store.write(issue).await?, text))
}

/// Revokes a service token; false if there is no active one.
pub async fn revoke_token(app: &App, viewer: &Viewer, id: ServiceTokenId) -> Result<bool> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let at = app.now();
    let revoked = app.store.write(move |conn| store::service_tokens::revoke(conn, id, at)).await?;
    app.revocations.publish([Credential::Service(id)]);
    Ok(revoked)
}

/// The active service tokens, with their names and when they were issued.
pub async fn tokens(app: &App, viewer: &Viewer) -> Result<Vec<(ServiceTokenId, String, Timestamp)>> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    Ok(app.store.read(store::service_tokens::all).await?)
}

/// Sets the password of the account with this address, and ends its sessions. `None` if there is no such account.
pub async fn reset_password(app: &App, viewer: &Viewer, email: Email, password: Password) -> Result<Option<User>> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let hash = app.passwords.hash(password).await?;
    let at = app.now();
    app.store
        .write(move |conn| {
            let Some((user, _)) = store::users::by_email(conn, &email)? else { return Ok(None) };
            store::users::set_password(conn, user.id, &hash)?;
            store::sessions::end_all(conn, user.id, None, at)?;
            Ok::<_, Error>(Some(user))
        })
        .await
}

/// The sessions of the account with this address, the newest first. `None` if there is no such account.
pub async fn sessions(app: &App, viewer: &Viewer, email: Email) -> Result<Option<Vec<Session>>> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let at = app.now();
    app.store
        .read(move |conn| {
            let Some((user, _)) = store::users::by_email(conn, &email)? else { return Ok(None) };
            Ok::<_, Error>(Some(store::sessions::of_user(conn, user.id, at, MAX_ACCOUNT_SESSIONS)?))
        })
        .await
}

/// Ends a session; gives its user.
pub async fn end_session(app: &App, viewer: &Viewer, id: SessionId) -> Result<UserId> {
    policy::require(viewer, viewer.is_unrestricted(), OPERATOR_ONLY)?;
    let at = app.now();
    let user = app.store.write(move |conn| store::sessions::end(conn, id, at)).await?;
    user.ok_or_else(|| Rejection::NoSession.into())
}
