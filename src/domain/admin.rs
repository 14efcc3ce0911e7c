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

/// Creates an admin; or makes the account with this address an admin, with a new password, and ends its sessions. One that
/// was made for a user of an issuer cannot be an admin.
pub async fn make_admin(app: &App, viewer: &Viewer, name: Name, email: Email, password: Password) -> Result<User> {
    policy::require_operator(viewer)?;
    let hash = app.passwords.hash(password).await?;
    let at = app.now();
    app.store
        .write(move |conn| {
            if let Some((user, _)) = store::users::by_email(conn, &email)? {
                replace_password(conn, user.id, &hash, at)?;
                store::users::set_role(conn, user.id, Role::Admin)?;
                return Ok(user);
            }
            let (name, email, role) = (&name, Some(&email), Role::Admin);
            let user = NewUser { id: None, name, email, created_at: at, password_hash: Some(&hash), role };
            store::users::insert(conn, &user).map_err(email_taken)
        })
        .await
}

/// An admin who was made a user again.
pub struct Demoted {
    /// The user.
    pub user: User,
    /// Whether there are other admins.
    pub has_admins: bool,
}

/// Makes an admin a user again, and ends their sessions. `None` if no admin has this address.
pub async fn demote(app: &App, viewer: &Viewer, email: Email) -> Result<Option<Demoted>> {
    policy::require_operator(viewer)?;
    let at = app.now();
    app.store
        .write(move |conn| {
            let Some((user, _)) = store::users::by_email(conn, &email)? else { return Ok(None) };
            if !store::users::set_role(conn, user.id, Role::User)? {
                return Ok(None);
            }
            store::sessions::end_all(conn, user.id, None, at)?;
            Ok::<_, Error>(Some(Demoted { user, has_admins: store::users::any_with_role(conn, Role::Admin)? }))
        })
        .await
}

/// Issues a service token. Only its hash is stored, so it cannot be shown again.
pub async fn issue_token(app: &App, viewer: &Viewer, name: Name) -> Result<(ServiceTokenId, String)> {
    policy::require_operator(viewer)?;
    let NewToken { text, hash } = NewToken::service();
    let at = app.now();
    let issue = move |conn: &mut Conn<'_>| store::service_tokens::insert(conn, name.as_str(), &hash, at);
    Ok((app.store.write(issue).await?, text))
}

/// Revokes a service token; false if there is no active one.
pub async fn revoke_token(app: &App, viewer: &Viewer, id: ServiceTokenId) -> Result<bool> {
    policy::require_operator(viewer)?;
    let at = app.now();
    let revoked = app.store.write(move |conn| store::service_tokens::revoke(conn, id, at)).await?;
    app.revocations.publish([Credential::Service(id)]);
    Ok(revoked)
}

/// The active service tokens, with their names and when they were issued.
pub async fn tokens(app: &App, viewer: &Viewer) -> Result<Vec<(ServiceTokenId, String, Timestamp)>> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(store::service_tokens::all).await?)
}

/// Sets the password of the account with this address, and ends its sessions. `None` if there is no such account; one that was
/// made for a user of an issuer has no password.
pub async fn reset_password(app: &App, viewer: &Viewer, email: Email, password: Password) -> Result<Option<User>> {
    policy::require_operator(viewer)?;
    let hash = app.passwords.hash(password).await?;
    let at = app.now();
    app.store
        .write(move |conn| {
            let Some((user, _)) = store::users::by_email(conn, &email)? else { return Ok(None) };
            replace_password(conn, user.id, &hash, at)?;
            Ok::<_, Error>(Some(user))
        })
        .await
}

/// The sessions of the account with this address, the newest first. `None` if there is no such account.
pub async fn sessions(app: &App, viewer: &Viewer, email: Email) -> Result<Option<Vec<Session>>> {
    policy::require_operator(viewer)?;
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
    policy::require_operator(viewer)?;
    let at = app.now();
    let user = app.store.write(move |conn| store::sessions::end(conn, id, at)).await?;
    user.ok_or_else(|| Rejection::NoSession.into())
}

/// Sets the password of an account, and ends its sessions.
fn replace_password(conn: &mut Conn<'_>, user: UserId, hash: &str, at: Timestamp) -> Result<()> {
    if store::identities::has_any(conn, user)? {
        return Err(Rejection::IssuersAccount.into());
    }
    store::users::set_password(conn, user, hash)?;
    store::sessions::end_all(conn, user, None, at)?;
    Ok(())
}
