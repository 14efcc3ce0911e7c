//! Signing up, in and out: accounts and the sessions of their devices.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Error, Rejection, Result, Viewer,
    attempts::{self, Attempt},
    errors::email_taken,
    policy,
    steps::step,
};
use crate::{
    app::App,
    model::{
        ids::{SessionId, UserId},
        sessions::{Credential, Session},
        texts::{Device, Email, Name, Password},
        timestamps::Timestamp,
        users::{Role, User},
    },
    secrets::{AccessClaims, Keys, NewToken, digest},
    store::{self, Conn, users::NewUser},
};

/// Sessions of an account: with more the oldest end, so that all of them can be ended in one transaction.
const MAX_SESSIONS: i64 = 1_000;
/// Sessions in a list, at most.
const MAX_OWN_SESSIONS: i64 = 100;
/// How often the poller looks for credentials that another process has revoked.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How soon it looks when another server has announced some.
const POLL_DELAY: Duration = Duration::from_millis(100);
/// How long ago sessions have ended that are purged.
const PURGE_AFTER: Duration = Duration::from_hours(24);
/// So long before the last successful poll the next one looks: another process may have stamped a revocation by a clock that is behind,
/// and committed it some seconds later.
const POLL_OVERLAP: Duration = Duration::from_mins(1);

/// The outcome of signing in.
pub struct SignedIn {
    /// The user who signed in.
    pub viewer: Viewer,
    /// The access token.
    pub access_token: String,
    /// When the access token expires.
    pub access_token_expires_at: Timestamp,
    /// Can be exchanged for a new pair of tokens, once; see [`refresh`].
    pub refresh_token: String,
}

/// Whether people may make accounts for themselves.
#[must_use]
pub fn is_sign_up_open(app: &App) -> bool {
    app.keys.is_some() && app.is_sign_up_open
}

/// Creates an account and signs in.
pub async fn sign_up(
    app: &App,
    name: Name,
    email: Email,
    password: Password,
    device: Option<Device>,
    from: Option<IpAddr>,
) -> Result<SignedIn> {
    let keys = keys(app)?;
    if !app.is_sign_up_open {
        return Err(Error::Disabled("Nobody can sign up on this server: ask whoever runs it for an account."));
    }
    if let Some(from) = from {
        attempts::count_sign_up(app, from).await?;
    }
    let hash = app.passwords.hash(password).await?;
    let (at, expires_at) = (app.now(), app.refresh_expiry());
    let signing = keys.clone();
    let session = app
        .store
        .write(move |conn| {
            let (name, email, role) = (&name, Some(&email), Role::User);
            let user = NewUser { id: None, name, email, created_at: at, password_hash: Some(&hash), role };
            let user = store::users::insert(conn, &user).map_err(email_taken)?;
            begin_session(conn, &signing, &user, device.as_ref(), [at, expires_at])
        })
        .await?;
    signed_in(app, &keys, session).await
}

/// Signs in. An unknown account and a wrong password give the same error after the same time.
pub async fn sign_in(
    app: &Arc<App>,
    email: Option<Email>,
    password: String,
    device: Option<Device>,
    from: Option<IpAddr>,
) -> Result<SignedIn> {
    let outcome = try_sign_in(app, email, password, device, from).await;
    match &outcome {
        Ok(_) => app.counters.count_sign_in("ok"),
        Err(Error::RateLimited(_)) => app.counters.count_sign_in("limited"),
        Err(Error::Rejected(_) | Error::Forbidden(_)) => app.counters.count_sign_in("refused"),
        Err(_) => app.counters.count_sign_in("failed"),
    }
    outcome
}

async fn try_sign_in(
    app: &Arc<App>,
    email: Option<Email>,
    password: String,
    device: Option<Device>,
    from: Option<IpAddr>,
) -> Result<SignedIn> {
    let keys = keys(app)?;
    let account = email.as_ref().map(Email::key).unwrap_or_default();
    let attempt = match from {
        Some(from) => Some(Attempt::begin(app, &account, from).await?),
        None => None,
    };
    let found = match email {
        Some(email) => app.store.read(move |conn| with_password(conn, &email)).await?,
        None => None,
    };
    let (user, hash) = found.unzip();
    let hash = hash.flatten();
    let is_valid = app.passwords.verify(password.clone(), hash.clone()).await?;
    let Some(user) = user.filter(|_| is_valid) else {
        if let Some(attempt) = attempt {
            attempt.end();
        }
        return Err(Rejection::BadCredentials.into());
    };
    let renewed = match &hash {
        Some(hash) => app.passwords.renew(password, hash).await?,
        None => None,
    };
    let failures = attempt.as_ref().map(Attempt::key);
    let (at, expires_at) = (app.now(), app.refresh_expiry());
    let signing = keys.clone();
    let session = app
        .store
        .write(move |conn| {
            // The password may have been changed, or the account erased, since it was read.
            store::users::lock(conn, &[user.id])?;
            let stored = store::users::password_hash(conn, user.id)?;
            // Another sign-in may have renewed it.
            if stored != hash && (renewed.is_none() || stored != renewed) {
                return Err(Rejection::BadCredentials.into());
            }
            if store::users::standing(conn, user.id)?.is_some_and(|(is_active, _)| !is_active) {
                return Err(Error::SUSPENDED);
            }
            if let Some(failures) = failures {
                store::attempts::forget(conn, failures)?;
            }
            if let Some(renewed) = &renewed {
                store::users::set_password(conn, user.id, renewed)?;
            }
            begin_session(conn, &signing, &user, device.as_ref(), [at, expires_at])
        })
        .await?;
    if let Some(attempt) = attempt {
        attempt.end();
    }
    signed_in(app, &keys, session).await
}

/// The user with this address, and the hash of the password that they can sign in with. An account that was made for a user
/// of an issuer has none: nobody but the issuer vouches for it.
fn with_password(conn: &mut Conn<'_>, email: &Email) -> store::Result<Option<(User, Option<String>)>> {
    let Some((user, hash)) = store::users::by_email(conn, email)? else { return Ok(None) };
    let is_issuers = store::identities::has_any(conn, user.id)?;
    Ok(Some((user, hash.filter(|_| !is_issuers))))
}

/// Exchanges a refresh token for a new pair of tokens. The same exchange within the grace period, by default ten seconds, gives the same
/// refresh token again: two tabs may ask at once, and an answer may get lost. Later reuse means that the token was stolen, and ends the
/// session.
pub async fn refresh(app: &App, token: &str, from: Option<IpAddr>) -> Result<SignedIn> {
    let keys = keys(app)?;
    let id = keys.session_of_refresh_token(token).ok_or(Rejection::TokenExpired)?;
    app.rates.check_refresh(id, from)?;
    let exchange = TokenExchange {
        session: id,
        hash: digest(token),
        next: keys.next_refresh_tokens(id, token),
        at: app.now(),
        expires_at: app.refresh_expiry(),
        grace: app.lifetimes.refresh_grace,
    };
    // Tokens of sessions that have ended hold for nothing, and must not cost a transaction.
    let find = move |conn: &mut Conn<'_>| store::sessions::with_refresh_hash(conn, id, exchange.at);
    let (session, current) = app.store.read(find).await?.ok_or(Rejection::TokenExpired)?;
    let exchanged = match exchange.repeated(session, &current) {
        Some(repeated) => repeated,
        None => exchange.run(app).await?.ok_or(Rejection::TokenExpired)?,
    };
    match signed_in(app, &keys, exchanged).await {
        // A concurrent reuse of the old token has ended the session.
        Err(Error::Unauthenticated) => Err(Rejection::TokenExpired.into()),
        signed_in => signed_in,
    }
}

/// An exchange of a refresh token.
struct TokenExchange {
    session: SessionId,
    hash: Vec<u8>,
    /// What may follow the token: first what is issued now.
    next: Vec<NewToken>,
    at: Timestamp,
    expires_at: Timestamp,
    /// For so long it can be repeated.
    grace: Duration,
}

impl TokenExchange {
    /// The session and its current refresh token, if that was issued for the same token a moment ago.
    fn repeated(&self, session: Session, current: &[u8]) -> Option<(Session, String)> {
        // Both ways: the clock of another process may be behind.
        let elapsed = self.at.milliseconds().abs_diff(session.last_used_at.milliseconds());
        let next = self.next.iter().find(|next| next.hash == current)?;
        (Duration::from_millis(elapsed) <= self.grace).then(|| (session, next.text.clone()))
    }

    /// Exchanges the token, in a transaction. `None` if it was reused, which ends the session.
    async fn run(self, app: &App) -> Result<Option<(Session, String)>> {
        let (session, revocations) = (self.session, app.revocations.clone());
        let publish = move |exchanged: &Option<(Session, String)>| {
            if exchanged.is_none() {
                revocations.publish([Credential::Session(session)]);
            }
        };
        app.store.write_then(move |conn| self.renew(conn), publish).await
    }

    fn renew(&self, conn: &mut Conn<'_>) -> Result<Option<(Session, String)>> {
        let Self { session: id, hash, next, at, expires_at, .. } = self;
        let new = next.first().ok_or(Error::Unauthenticated)?;
        if let Some(session) = store::sessions::renew(conn, *id, [hash, &new.hash], *at, *expires_at)? {
            return Ok(Some((session, new.text.clone())));
        }
        // A concurrent exchange of the same token may have been faster.
        let found = store::sessions::with_refresh_hash(conn, *id, *at)?;
        if let Some(repeated) = found.and_then(|(session, current)| self.repeated(session, &current)) {
            return Ok(Some(repeated));
        }
        store::sessions::end(conn, *id, *at)?;
        Ok(None)
    }
}

/// Ends one of the viewer's sessions, by default the current one; gives its id.
pub async fn sign_out(app: &App, viewer: &Viewer, id: Option<SessionId>, from: Option<IpAddr>) -> Result<SessionId> {
    let user = viewer.user().ok_or(Error::Unauthenticated)?;
    let id = id.or(viewer.session()).ok_or(Rejection::NoSession)?;
    if let Some((credential, _)) = viewer.credential() {
        app.rates.check_sign_out(credential, from)?;
    }
    let (at, revocations) = (app.now(), app.revocations.clone());
    let end = move |conn: &mut Conn<'_>| {
        let ended = store::sessions::end(conn, id, at)?;
        // Another user's session: the error rolls its end back.
        if ended == Some(user) { Ok(id) } else { Err(Error::from(Rejection::NoSession)) }
    };
    app.store.write_then(end, move |id| revocations.publish([Credential::Session(*id)])).await
}

/// The viewer with whom a connection continues after its access token was replaced; it must be the same user.
pub async fn renewed(app: &App, viewer: &Viewer, token: &str) -> Result<Viewer> {
    let user = viewer.user().ok_or(Error::Unauthenticated)?;
    let now = app.now();
    let claims =
        keys(app)?.verify_access_token(token, now).filter(|claims| claims.user == user).ok_or(Rejection::BadToken)?;
    match Viewer::of_session(app, claims, now).await {
        Err(Error::Unauthenticated) => Err(Rejection::BadToken.into()),
        renewed => renewed,
    }
}

/// A user's sessions, the newest first.
pub fn sessions(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, user: UserId) -> Result<Vec<Session>> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    Ok(store::sessions::of_user(conn, user, app.now(), MAX_OWN_SESSIONS)?)
}

/// Periodically publishes revocations by other processes and evicts idle rate limits; never returns.
pub async fn run_session_poller(app: Arc<App>) {
    let mut evicted = Instant::now();
    // Connections are opened from now on.
    app.revocations.set_polled_at(app.now());
    loop {
        if tokio::time::timeout(POLL_INTERVAL, app.revocations.elsewhere()).await.is_ok() {
            tokio::time::sleep(POLL_DELAY).await;
        }
        if evicted.elapsed() > POLL_INTERVAL {
            evicted = Instant::now();
            app.rates.evict_idle();
        }
        poll_revocations(&app).await;
    }
}

/// Deletes sessions that ended long ago, and attempts to sign in that do not count any more, in small batches.
pub(super) async fn purge(app: &App) -> Result<()> {
    let now = app.now();
    let purge = move |conn: &mut Conn<'_>| {
        let attempts = store::attempts::purge(conn, now)?;
        Ok::<_, store::Error>(attempts + store::sessions::purge(conn, now.earlier(PURGE_AFTER))?)
    };
    while step(app.store.write(purge)).await? != Some(0) {}
    Ok(())
}

/// Publishes the sessions and service tokens that other processes have revoked, and the accounts that they have erased or suspended,
/// since the last call that succeeded, or in the last minute.
pub async fn poll_revocations(app: &App) {
    let now = app.now();
    // If the clock was set back since, the last poll counts as of now.
    let last = app.revocations.polled_at().unwrap_or(now).min(now);
    let since = last.earlier(POLL_OVERLAP);
    let recent = move |conn: &mut Conn<'_>| {
        let sessions = store::sessions::ended_since(conn, since)?;
        let services = store::service_tokens::revoked_since(conn, since)?;
        let (erased, suspended) =
            (store::users::erased_since(conn, since)?, store::users::suspended_since(conn, since)?);
        Ok::<_, store::Error>((sessions, services, erased, suspended))
    };
    match app.store.read(recent).await {
        Ok((sessions, services, erased, suspended)) => {
            for user in &erased {
                app.signals.end(*user);
                app.notifier.notify_here(*user, true);
            }
            app.revocations.publish_here(erased.into_iter().chain(suspended).map(Credential::Account));
            app.revocations.publish_here(sessions.into_iter().map(Credential::Session));
            app.revocations.publish_here(services.into_iter().map(Credential::Service));
            app.revocations.set_polled_at(now);
        }
        Err(error) => tracing::warn!(%error, "reading which credentials were revoked failed"),
    }
}

/// The signing keys; an error in open mode.
fn keys(app: &App) -> Result<Arc<Keys>> {
    let open_mode = Error::Forbidden("This server is open: nobody signs in, and everybody may act for everyone.");
    app.keys.clone().ok_or(open_mode)
}

/// Begins a session; gives it and its first refresh token.
fn begin_session(
    conn: &mut Conn<'_>,
    keys: &Keys,
    user: &User,
    device: Option<&Device>,
    [at, expires_at]: [Timestamp; 2],
) -> Result<(Session, String)> {
    let session = store::sessions::insert(conn, user.id, device, at, expires_at)?;
    store::sessions::end_oldest(conn, &session, MAX_SESSIONS, at)?;
    let new_token = keys.new_refresh_token(session.id).ok_or(Error::Unauthenticated)?;
    store::sessions::set_refresh_hash(conn, session.id, &new_token.hash)?;
    Ok((session, new_token.text))
}

async fn signed_in(app: &App, keys: &Keys, (session, refresh_token): (Session, String)) -> Result<SignedIn> {
    let now = app.now();
    let claims = AccessClaims { user: session.user_id, session: session.id, expires_at: app.access_expiry() };
    let viewer = Viewer::of_session(app, claims, now).await?;
    let access_token = keys.sign_access_token(claims, now).ok_or(Error::Unauthenticated)?;
    Ok(SignedIn { viewer, access_token, access_token_expires_at: claims.expires_at, refresh_token })
}
