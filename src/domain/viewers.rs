//! Viewers: on whose behalf something is done.

use super::{Error, Result, accounts};
use crate::{
    app::App,
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        sessions::Credential,
        timestamps::Timestamp,
        users::Role,
    },
    secrets::{Access, Fresh, digest},
    store::{self, Conn},
};

/// On whose behalf something is done. Its fields are private: holding one is the proof that the credential was checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Viewer {
    who: Who,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// Whoever can reach a server in open mode, or who sits at its command line.
    Everyone,
    /// Somebody without a token.
    Nobody,
    /// Somebody who signed in.
    User { id: UserId, session: Option<SessionId>, role: Role, until: Timestamp },
    /// A program.
    Service(ServiceTokenId),
}

impl Viewer {
    /// Who sits at the command line of the server: they may act for everyone, and see everything.
    #[must_use]
    pub fn operator(_app: &App) -> Self {
        Self { who: Who::Everyone }
    }

    /// Who shows this, the value of the header `Authorization`. In open mode it is not looked at: everybody may act for
    /// everyone.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is no token, or one that does not hold any more.
    pub async fn of(app: &App, authorization: Option<&str>) -> Result<Self> {
        let Some(keys) = &app.keys else { return Ok(Self { who: Who::Everyone }) };
        let Some(authorization) = authorization else { return Ok(Self { who: Who::Nobody }) };
        let token = bearer(authorization).ok_or(Error::Unauthenticated)?;
        if Fresh::may_be_of_service(token) {
            let hash = digest(token);
            let service = app.store.read(move |conn| store::service_tokens::alive(conn, &hash)).await?;
            return service.map(|id| Self { who: Who::Service(id) }).ok_or(Error::Unauthenticated);
        }
        let now = app.now();
        if let Some(access) = keys.access(token, now) {
            return Self::signed_in(app, access, now).await;
        }
        let issuer = app.issuer.as_ref().ok_or(Error::Unauthenticated)?;
        let statement = issuer.statement(token, now).await.ok_or(Error::Unauthenticated)?;
        let until = statement.expires_at;
        let id = accounts::stated(app, issuer, statement).await?;
        // Only those who sign in here may act for everyone.
        Ok(Self { who: Who::User { id, session: None, role: Role::User, until } })
    }

    /// Who signed in, if the session is alive.
    pub(super) async fn signed_in(app: &App, access: Access, now: Timestamp) -> Result<Self> {
        let Access { user, session, expires_at } = access;
        let alive = app.store.read(move |conn| store::sessions::alive(conn, session, now)).await?;
        match alive {
            Some((id, role)) if id == user => {
                Ok(Self { who: Who::User { id, session: Some(session), role, until: expires_at } })
            }
            _ => Err(Error::Unauthenticated),
        }
    }

    /// Whether the session still is alive: for what took so long that it may have ended meanwhile.
    pub(super) fn is_still_signed_in(&self, conn: &mut Conn<'_>, at: Timestamp) -> Result<()> {
        let Some(session) = self.session() else { return Ok(()) };
        store::sessions::alive(conn, session, at)?.map(drop).ok_or(Error::Unauthenticated)
    }

    /// Counts a change that a user makes, unless it is too often; those who act for everyone may make any number.
    pub(super) fn count_change(&self, app: &App) -> Result<()> {
        Ok(self.limited().map_or(Ok(()), |user| app.rates.write(user))?)
    }

    /// The same for a change of a password or an address.
    pub(super) fn count_change_of_credentials(&self, app: &App) -> Result<()> {
        Ok(self.limited().map_or(Ok(()), |user| app.rates.change_credentials(user))?)
    }

    fn limited(&self) -> Option<UserId> {
        self.user().filter(|_| !self.acts_for_everyone())
    }

    /// The user who signed in.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        if let Who::User { id, .. } = self.who { Some(id) } else { None }
    }

    /// The session of the user who signed in; `None` if it is somebody else's token.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        if let Who::User { session, .. } = self.who { session } else { None }
    }

    /// Whether the server is open, or its operator asks.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.who == Who::Everyone
    }

    /// With what they proved who they are, and until when it holds; nothing in open mode, and for nobody.
    #[must_use]
    pub fn credential(&self) -> Option<(Credential, Option<Timestamp>)> {
        match self.who {
            Who::Everyone | Who::Nobody => None,
            Who::User { id, session, until, .. } => {
                Some((session.map_or(Credential::Account(id), Credential::Session), Some(until)))
            }
            Who::Service(id) => Some((Credential::Service(id), None)),
        }
    }

    /// Whether they showed no token, on a server that wants one.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.who == Who::Nobody
    }

    pub(super) fn acts_for_everyone(&self) -> bool {
        match self.who {
            Who::Everyone | Who::Service(_) | Who::User { role: Role::Admin, .. } => true,
            Who::Nobody | Who::User { role: Role::User, .. } => false,
        }
    }
}

/// The token after `Bearer`, in whatever case (RFC 6750, 2.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
