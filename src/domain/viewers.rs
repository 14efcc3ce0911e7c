//! Viewers: the identity on whose behalf a function runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Error, Result, attempts, issuers};
use crate::{
    app::App,
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        sessions::Credential,
        timestamps::Timestamp,
        users::Role,
    },
    secrets::{AccessClaims, Keys, NewToken, digest},
    store::{self, Conn, audit::OPERATOR},
};

/// The identity on whose behalf a function runs. Its fields are private: a value proves that the credential was checked.
#[derive(Debug, Clone)]
pub struct Viewer {
    who: Who,
    /// How many connections to PostgreSQL there had been when the credential was checked last. Clones share it.
    connections: Arc<AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// The operator at the command line.
    Operator,
    /// Any client of a server in open mode.
    Unrestricted,
    /// A client without a token, on a server that wants one.
    Anonymous,
    /// A user who signed in.
    User { id: UserId, session: SessionId, role: Role, expires_at: Timestamp },
    /// A user with a token of the issuer. When another account was created that has the same id, it is that of somebody else.
    IssuerUser { id: UserId, created_at: Timestamp, expires_at: Timestamp },
    /// A program with a service token.
    Service(ServiceTokenId),
}

impl Viewer {
    fn checked(who: Who, connections: u64) -> Self {
        Self { who, connections: Arc::new(AtomicU64::new(connections)) }
    }

    /// The operator. Only for the commands of the program, which `tests/tidy.rs` checks.
    #[must_use]
    pub fn operator(_app: &App) -> Self {
        Self::checked(Who::Operator, 0)
    }

    /// Somebody who has not signed in, where that is asked for.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::checked(Who::Anonymous, 0)
    }

    /// The viewer with this value of the header `Authorization`. In open mode it is ignored, and every viewer is unrestricted.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is no token, or one that has expired or was revoked. [`Error::Busy`] if that is not known
    /// after the time that a request may take.
    pub async fn of(app: &App, authorization: Option<&str>) -> Result<Self> {
        let Some(keys) = &app.keys else { return Ok(Self::checked(Who::Unrestricted, 0)) };
        let Some(authorization) = authorization else { return Ok(Self::anonymous()) };
        in_time(app, Self::authenticate(app, keys, authorization)).await
    }

    async fn authenticate(app: &App, keys: &Keys, authorization: &str) -> Result<Self> {
        let token = bearer(authorization).ok_or(Error::Unauthenticated)?;
        let connections = app.store.connections();
        if NewToken::looks_like_service_token(token) {
            let hash = digest(token);
            let service = app.store.lookup(move |conn| store::service_tokens::active(conn, &hash)).await?;
            return service.map(|id| Self::checked(Who::Service(id), connections)).ok_or(Error::Unauthenticated);
        }
        let now = app.now();
        if let Some(claims) = keys.verify_access_token(token, now) {
            return Self::of_session(app, claims, now).await;
        }
        let issuer = app.issuer.as_ref().ok_or(Error::Unauthenticated)?;
        let claims = issuer.verify(token, now).await.ok_or(Error::Unauthenticated)?;
        let expires_at = claims.expires_at;
        let (id, created_at) = issuers::resolve(app, issuer, claims).await?;
        Ok(Self::checked(Who::IssuerUser { id, created_at, expires_at }, connections))
    }

    /// The user of an access token, if its session is active.
    pub(super) async fn of_session(app: &App, claims: AccessClaims, now: Timestamp) -> Result<Self> {
        let AccessClaims { user, session, expires_at } = claims;
        let connections = app.store.connections();
        let active = app.store.lookup(move |conn| store::sessions::active(conn, session, now)).await?;
        match active {
            Some((id, role)) if id == user => {
                Ok(Self::checked(Who::User { id, session, role, expires_at }, connections))
            }
            _ => Err(Error::Unauthenticated),
        }
    }

    /// Checks again that the session or the service token is active, or the account of who has neither: for work that is long enough
    /// for it to have been revoked meanwhile.
    pub(super) fn require_active(&self, conn: &mut Conn<'_>, at: Timestamp) -> Result<()> {
        let is_active = match self.who {
            Who::User { session, .. } => store::sessions::active(conn, session, at)?.is_some(),
            Who::IssuerUser { id, created_at, .. } => store::users::standing(conn, id)? == Some((true, created_at)),
            Who::Service(id) => store::service_tokens::is_active(conn, id)?,
            Who::Operator | Who::Unrestricted | Who::Anonymous => true,
        };
        if is_active { Ok(()) } else { Err(Error::Unauthenticated) }
    }

    /// Checks again that the credential is valid if there were new connections to PostgreSQL since it was checked: they may be to another
    /// primary, which may lack the account, and have given its id to somebody else.
    ///
    /// # Errors
    /// As of [`Viewer::check`].
    pub async fn check_after_reconnect(&self, app: &App) -> Result<()> {
        let connections = app.store.connections();
        if connections != self.connections.load(Ordering::Acquire) {
            self.check(app).await?;
            self.connections.fetch_max(connections, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Checks again that the credential is valid: for what begins long after it was checked, as on a WebSocket.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it has expired or was revoked. [`Error::Busy`] as of [`Viewer::of`].
    pub async fn check(&self, app: &App) -> Result<()> {
        in_time(app, self.check_credential(app)).await
    }

    async fn check_credential(&self, app: &App) -> Result<()> {
        let Some((_, expires_at)) = self.credential() else { return Ok(()) };
        // Service tokens do not expire.
        let now = expires_at.map_or(Timestamp::MIN, |_| app.now());
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Error::Unauthenticated);
        }
        let viewer = self.clone();
        app.store.lookup(move |conn| viewer.require_active(conn, now)).await
    }

    /// Counts a change against the viewer's rate limit; privileged viewers have none.
    pub(super) fn check_write_rate(&self, app: &App) -> Result<()> {
        Ok(self.limited_user().map_or(Ok(()), |user| app.rates.check_write(user))?)
    }

    /// Counts a change of a password or an address against the viewer's rate limit.
    pub(super) async fn check_credential_rate(&self, app: &App) -> Result<()> {
        match self.limited_user() {
            Some(user) => attempts::count_credential_change(app, user).await,
            None => Ok(()),
        }
    }

    /// Counts a search against the viewer's rate limit.
    pub(super) fn check_search_rate(&self, app: &App) -> Result<()> {
        Ok(self.limited_user().map_or(Ok(()), |user| app.rates.check_search(user))?)
    }

    /// The user who signed in, unless they may act as any user: then nothing is limited.
    pub(super) fn limited_user(&self) -> Option<UserId> {
        self.user().filter(|_| !self.is_privileged())
    }

    /// The user who signed in.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        if let Who::User { id, .. } | Who::IssuerUser { id, .. } = self.who { Some(id) } else { None }
    }

    /// The service token of a program.
    #[must_use]
    pub fn service_token(&self) -> Option<ServiceTokenId> {
        if let Who::Service(id) = self.who { Some(id) } else { None }
    }

    /// The session of the user who signed in; `None` with an issuer's token.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        if let Who::User { session, .. } = self.who { Some(session) } else { None }
    }

    /// Who it is, for the audit log: `operator`, or the id of a user or a service token; `None` if that is not known.
    pub(super) fn actor(&self) -> Option<String> {
        match self.who {
            Who::Operator => Some(OPERATOR.to_owned()),
            Who::User { id, .. } | Who::IssuerUser { id, .. } => Some(id.to_string()),
            Who::Service(id) => Some(id.to_string()),
            Who::Unrestricted | Who::Anonymous => None,
        }
    }

    /// Whether it is the operator.
    pub(super) fn is_operator(&self) -> bool {
        self.who == Who::Operator
    }

    /// Whether it is a client of an open server, or the operator.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        matches!(self.who, Who::Operator | Who::Unrestricted)
    }

    /// The credential that was checked and when it expires; `None` for the operator, in open mode and for anonymous viewers.
    #[must_use]
    pub fn credential(&self) -> Option<(Credential, Option<Timestamp>)> {
        match self.who {
            Who::Operator | Who::Unrestricted | Who::Anonymous => None,
            Who::User { session, expires_at, .. } => Some((Credential::Session(session), Some(expires_at))),
            Who::IssuerUser { id, expires_at, .. } => Some((Credential::Account(id), Some(expires_at))),
            Who::Service(id) => Some((Credential::Service(id), None)),
        }
    }

    /// Whether there was no token, on a server that wants one.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.who == Who::Anonymous
    }

    /// Whether they may act as any user.
    pub(super) fn is_privileged(&self) -> bool {
        match self.who {
            Who::Operator | Who::Unrestricted | Who::Service(_) | Who::User { role: Role::Admin, .. } => true,
            // Only users who sign in here can be admins.
            Who::Anonymous | Who::IssuerUser { .. } | Who::User { role: Role::User, .. } => false,
        }
    }
}

/// A database that hangs gives no answer and no error. Boxed to keep the futures of all requests small.
fn in_time<'a, T: 'a>(
    app: &App,
    work: impl Future<Output = Result<T>> + Send + 'a,
) -> impl Future<Output = Result<T>> + Send + 'a {
    let done = tokio::time::timeout(app.request_timeout, Box::pin(work));
    async { done.await.unwrap_or(Err(Error::Busy)) }
}

/// The token after `Bearer`, in whatever case (RFC 6750, 2.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
