//! What the operator does at the command line: admins, service tokens, lost passwords, and sessions that must end.

use super::{Error, Rejection, Result, Viewer, policy, users::taken};
use crate::{
    app::App,
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        sessions::{Credential, Session},
        texts::{Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    secrets::Fresh,
    store::{self, Conn, users::NewUser},
};

/// Sessions that are listed, at most.
const LISTED: i64 = 1_000;

/// Why somebody else may not.
const WHY: Error = Error::Forbidden("Only the operator of the server may do this.");

/// Makes an account that may act for everyone; or makes the one that has this address such an account, with a new
/// password, whose sessions end.
pub async fn make_admin(app: &App, viewer: &Viewer, name: Name, email: Email, password: Password) -> Result<User> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
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
            store::users::insert(conn, &user).map_err(taken)
        })
        .await
}

/// Makes a token for a program that may act for everyone. It is shown this once.
pub async fn issue_token(app: &App, viewer: &Viewer, name: Name) -> Result<(ServiceTokenId, String)> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
    let Fresh { text, hash } = Fresh::for_service();
    let at = app.now();
    let issue = move |conn: &mut Conn<'_>| store::service_tokens::insert(conn, name.as_str(), &hash, at);
    Ok((app.store.write(issue).await?, text))
}

/// Takes a service token back; false if there is none that holds.
pub async fn revoke_token(app: &App, viewer: &Viewer, id: ServiceTokenId) -> Result<bool> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
    let at = app.now();
    let revoked = app.store.write(move |conn| store::service_tokens::revoke(conn, id, at)).await?;
    app.endings.tell([Credential::Service(id)]);
    Ok(revoked)
}

/// The service tokens that hold, with their names and when they were made.
pub async fn tokens(app: &App, viewer: &Viewer) -> Result<Vec<(ServiceTokenId, String, Timestamp)>> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
    Ok(app.store.read(store::service_tokens::all).await?)
}

/// Gives the account with this address another password; its sessions end. `None` if there is no such account.
pub async fn reset_password(app: &App, viewer: &Viewer, email: Email, password: Password) -> Result<Option<User>> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
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
    policy::require(viewer, viewer.is_everyone(), WHY)?;
    let at = app.now();
    app.store
        .read(move |conn| {
            let Some((user, _)) = store::users::by_email(conn, &email)? else { return Ok(None) };
            Ok::<_, Error>(Some(store::sessions::of_user(conn, user.id, at, LISTED)?))
        })
        .await
}

/// Ends a session; gives whose it was.
pub async fn end_session(app: &App, viewer: &Viewer, id: SessionId) -> Result<UserId> {
    policy::require(viewer, viewer.is_everyone(), WHY)?;
    let at = app.now();
    let user = app.store.write(move |conn| store::sessions::end(conn, id, at)).await?;
    user.ok_or_else(|| Rejection::NoSession.into())
}
