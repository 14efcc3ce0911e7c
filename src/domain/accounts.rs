//! Signing up, in and out: accounts that people make for themselves, and the sessions of their devices.

use std::{
    net::IpAddr,
    str::FromStr,
    time::{Duration, Instant},
};

use super::{Error, Rejection, Result, Viewer, policy, users::taken};
use crate::{
    app::App,
    model::{
        ids::{AnyId, SessionId, UserId},
        sessions::{Credential, Session},
        texts::{Device, Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    secrets::{Access, Issuer, Keys, Statement, digest},
    store::{self, Conn, users::NewUser},
};

/// Sessions that are listed, at most.
const LISTED: i64 = 100;
/// How often it is looked which sessions another process has ended.
const LOOK: Duration = Duration::from_secs(2);
/// How often sessions are cleared away that ended …
const PURGE: Duration = Duration::from_mins(10);
/// … more than these milliseconds ago: a day.
const KEPT: i64 = 86_400_000;
/// Milliseconds that a look goes back, for those whose end was being written meanwhile.
const OVERLAP: i64 = 10_000;

/// Somebody who has just signed in.
pub struct SignedIn {
    /// As whom they go on.
    pub viewer: Viewer,
    /// Proves it, for some minutes.
    pub access_token: String,
    /// When that ends.
    pub access_token_expires_at: Timestamp,
    /// Is traded for a new pair, once.
    pub refresh_token: String,
}

/// Makes an account for oneself, and signs in.
pub async fn sign_up(
    app: &App,
    name: Name,
    email: Email,
    password: Password,
    device: Option<Device>,
    from: Option<IpAddr>,
) -> Result<SignedIn> {
    let keys = keys(app)?;
    if let Some(from) = from {
        app.rates.sign_up(from)?;
    }
    let hash = app.passwords.hash(password).await?;
    let (at, until) = (app.now(), app.refresh_until());
    let signing = keys.clone();
    let begun = app
        .store
        .write(move |conn| {
            let (name, email, role) = (&name, Some(&email), Role::User);
            let user = NewUser { id: None, name, email, created_at: at, password_hash: Some(&hash), role };
            let user = store::users::insert(conn, &user).map_err(taken)?;
            begin(conn, &signing, &user, device.as_ref(), [at, until])
        })
        .await?;
    signed_in(app, &keys, begun).await
}

/// Signs in. Whether there is no such account, or another password: it is the same answer after the same time.
pub async fn sign_in(
    app: &App,
    email: Option<Email>,
    password: String,
    device: Option<Device>,
    from: Option<IpAddr>,
) -> Result<SignedIn> {
    let keys = keys(app)?;
    let account = email.as_ref().map(Email::key).unwrap_or_default();
    let attempt = from.map(|from| app.rates.sign_in(account, from)).transpose()?;
    let found = match email {
        Some(email) => app.store.read(move |conn| store::users::by_email(conn, &email)).await?,
        None => None,
    };
    let (user, hash) = found.unzip();
    let hash = hash.flatten();
    let verified = app.passwords.verify(password, hash.clone()).await;
    // Who was not even tried has not failed.
    let right = match (verified, attempt) {
        (Ok(true), Some(attempt)) => {
            attempt.succeeded();
            true
        }
        (Ok(right), _) => right,
        (Err(overloaded), attempt) => {
            if let Some(attempt) = attempt {
                attempt.withdraw();
            }
            return Err(overloaded.into());
        }
    };
    let user = user.filter(|_| right).ok_or(Rejection::BadCredentials)?;
    let (at, until) = (app.now(), app.refresh_until());
    let signing = keys.clone();
    let begun = app
        .store
        .write(move |conn| {
            // It may have been changed, or the account erased, since it was read.
            store::users::lock(conn, &[user.id])?;
            if store::users::password_hash(conn, user.id)? != hash {
                return Err(Rejection::BadCredentials.into());
            }
            begin(conn, &signing, &user, device.as_ref(), [at, until])
        })
        .await?;
    signed_in(app, &keys, begun).await
}

/// The user whom an issuer means: the one that has this id, such as usr_7; or, if the operator wants that, whoever it meant
/// by this subject before, or a new one.
pub(super) async fn stated(app: &App, issuer: &Issuer, statement: Statement) -> Result<UserId> {
    let (name, subject) = (issuer.name().to_owned(), statement.subject.clone());
    // Those who get an account at first sight may choose their names: they are not to choose somebody else's id.
    let looked_for = if issuer.makes_users() { None } else { AnyId::from_str(&subject).ok() };
    let look = move |conn: &mut Conn<'_>| match looked_for {
        Some(AnyId::User(id)) => Ok::<_, store::Error>(store::users::by_ids(conn, &[id])?.pop().map(|user| user.id)),
        _ => store::identities::user(conn, &name, &subject),
    };
    let found = app.store.read(look).await?;
    match found {
        Some(found) => Ok(found),
        None if issuer.makes_users() => {
            let (name, subject) = (issuer.name().to_owned(), statement.subject.clone());
            match meet(app, issuer, statement).await {
                // Somebody else of the same name was faster.
                Err(Error::Busy) => {
                    let found = app.store.read(move |conn| store::identities::user(conn, &name, &subject)).await?;
                    found.ok_or(Error::Busy)
                }
                met => met,
            }
        }
        None => Err(Error::Unauthenticated),
    }
}

/// Makes an account for somebody whom an issuer means for the first time. One that was erased does not come back.
async fn meet(app: &App, issuer: &Issuer, Statement { subject, name, .. }: Statement) -> Result<UserId> {
    let (issuer, at) = (issuer.name().to_owned(), app.now());
    let called = [name, Some(subject.clone()), Some("?".to_owned())].into_iter().flatten();
    let name = called.map(Name::parse).find_map(Result::ok).ok_or(Error::Unauthenticated)?;
    app.store
        .write(move |conn| {
            if store::identities::exists(conn, &issuer, &subject)? {
                let found = store::identities::user(conn, &issuer, &subject)?;
                return found.ok_or(Error::Unauthenticated);
            }
            let (name, role) = (&name, Role::User);
            let user = NewUser { id: None, name, email: None, created_at: at, password_hash: None, role };
            let user = store::users::insert(conn, &user)?;
            // If somebody was faster, this account was never made.
            let first = store::identities::insert(conn, &issuer, &subject, user.id)?;
            if first { Ok(user.id) } else { Err(Error::Busy) }
        })
        .await
}

/// Trades a refresh token for a new pair. Each works once: one that is shown again ends its session, because somebody has
/// it who should not.
pub async fn refresh(app: &App, token: &str) -> Result<SignedIn> {
    let keys = keys(app)?;
    let id = keys.refreshes(token).ok_or(Rejection::TokenExpired)?;
    let old = digest(token);
    let fresh = keys.refresh_token(id).ok_or(Error::Unauthenticated)?;
    let (at, until) = (app.now(), app.refresh_until());
    let renewed = app
        .store
        .write(move |conn| {
            let session = store::sessions::renew(conn, id, [&old, &fresh.hash], at, until)?;
            if session.is_none() {
                store::sessions::end(conn, id, at)?;
            }
            Ok::<_, Error>(session.map(|session| (session, fresh.text)))
        })
        .await?;
    let Some((session, text)) = renewed else {
        app.endings.tell([Credential::Session(id)]);
        return Err(Rejection::TokenExpired.into());
    };
    match signed_in(app, &keys, (session, text)).await {
        // Somebody used the old token again, before this was answered.
        Err(Error::Unauthenticated) => Err(Rejection::TokenExpired.into()),
        signed_in => signed_in,
    }
}

/// Ends a session of the viewer's own: the one that asks, or another. Gives which one.
pub async fn sign_out(app: &App, viewer: &Viewer, id: Option<SessionId>) -> Result<SessionId> {
    let user = viewer.user().ok_or(Error::Unauthenticated)?;
    let id = id.or(viewer.session()).ok_or(Rejection::NoSession)?;
    let at = app.now();
    app.store
        .write(move |conn| {
            let ended = store::sessions::end(conn, id, at)?;
            // What is somebody else's is undone: it goes on.
            if ended == Some(user) { Ok(()) } else { Err(Error::from(Rejection::NoSession)) }
        })
        .await?;
    app.endings.tell([Credential::Session(id)]);
    Ok(id)
}

/// Whom an access token lets a connection go on as: the same user.
pub async fn renewed(app: &App, viewer: &Viewer, token: &str) -> Result<Viewer> {
    let user = viewer.user().ok_or(Error::Unauthenticated)?;
    let now = app.now();
    let access = keys(app)?.access(token, now).filter(|access| access.user == user).ok_or(Rejection::BadToken)?;
    match Viewer::signed_in(app, access, now).await {
        Err(Error::Unauthenticated) => Err(Rejection::BadToken.into()),
        renewed => renewed,
    }
}

/// A user's sessions, the newest first.
pub fn sessions(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, user: UserId) -> Result<Vec<Session>> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    Ok(store::sessions::of_user(conn, user, app.now(), LISTED)?)
}

/// Ends connections whose session another process has ended, and forgets who did what how often, now and then, for ever.
pub async fn keep_watch(app: App) {
    let mut begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        app.rates.forget();
        look_for_ends(&app).await;
        if begun.elapsed() > PURGE {
            begun = Instant::now();
            let old = app.now().milliseconds().saturating_sub(KEPT);
            let purge = move |conn: &mut Conn<'_>| store::sessions::purge(conn, Timestamp::from_milliseconds(old));
            if let Err(error) = app.store.write(purge).await {
                tracing::warn!(%error, "old sessions could not be cleared away");
            }
        }
    }
}

/// Ends connections whose session, or service token, another process has ended a moment ago.
pub async fn look_for_ends(app: &App) {
    // By the machine's clock: other processes have it, too.
    let since = Timestamp::from_milliseconds(Timestamp::now().milliseconds() - OVERLAP);
    let look = move |conn: &mut Conn<'_>| {
        let sessions = store::sessions::ended_since(conn, since)?;
        Ok::<_, store::Error>((sessions, store::service_tokens::revoked_since(conn, since)?))
    };
    match app.store.read(look).await {
        Ok((sessions, services)) => {
            app.endings.tell(sessions.into_iter().map(Credential::Session));
            app.endings.tell(services.into_iter().map(Credential::Service));
        }
        Err(error) => tracing::warn!(%error, "it is not known which sessions have ended"),
    }
}

/// What signs tokens; on an open server there is nothing.
fn keys(app: &App) -> Result<std::sync::Arc<Keys>> {
    let open = Error::Forbidden("This server is open: nobody signs in, and everybody may act for everyone.");
    app.keys.clone().ok_or(open)
}

/// Begins a session; gives its first refresh token.
fn begin(
    conn: &mut Conn<'_>,
    keys: &Keys,
    user: &User,
    device: Option<&Device>,
    [at, until]: [Timestamp; 2],
) -> Result<(Session, String)> {
    let session = store::sessions::insert(conn, user.id, device, at, until)?;
    let fresh = keys.refresh_token(session.id).ok_or(Error::Unauthenticated)?;
    store::sessions::set_refresh_hash(conn, session.id, &fresh.hash)?;
    Ok((session, fresh.text))
}

async fn signed_in(app: &App, keys: &Keys, (session, refresh_token): (Session, String)) -> Result<SignedIn> {
    let now = app.now();
    let access = Access { user: session.user_id, session: session.id, expires_at: app.access_until() };
    let viewer = Viewer::signed_in(app, access, now).await?;
    let access_token = keys.access_token(access, now).ok_or(Error::Unauthenticated)?;
    Ok(SignedIn { viewer, access_token, access_token_expires_at: access.expires_at, refresh_token })
}
