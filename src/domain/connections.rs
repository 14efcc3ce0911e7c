//! Long-lived connections: each belongs to a viewer, and ends when their credential expires or is revoked.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Viewer;
use crate::{
    app::App,
    events::{ConnectionPermit, Revocation},
};

/// An anonymous connection on a server that wants a token is closed after this time.
const ANONYMOUS_TIMEOUT: Duration = Duration::from_mins(1);

/// A client's connection that stays open.
pub struct ClientConnection {
    app: Arc<App>,
    revocation: Option<Revocation>,
    expiry: Option<Pin<Box<Sleep>>>,
    _permit: Option<ConnectionPermit>,
}

impl ClientConnection {
    /// A connection of this viewer that does not count against the user's limit.
    #[must_use]
    pub fn uncounted(app: &Arc<App>, viewer: &Viewer) -> Self {
        let mut connection = Self { app: app.clone(), revocation: None, expiry: None, _permit: None };
        connection.renew(viewer);
        connection
    }

    /// A connection of this viewer; `None` if the user has `max` of them already.
    #[must_use]
    pub fn try_open(app: &Arc<App>, viewer: &Viewer, max: usize) -> Option<Self> {
        let permit = match viewer.user() {
            Some(user) => Some(app.connections.try_acquire(user, max)?),
            None => None,
        };
        Some(Self { _permit: permit, ..Self::uncounted(app, viewer) })
    }

    /// Replaces the credential by that of this viewer.
    pub fn renew(&mut self, viewer: &Viewer) {
        if viewer.is_anonymous() {
            // Long enough to sign in.
            self.expiry = Some(Box::pin(sleep_until(Instant::now() + ANONYMOUS_TIMEOUT)));
            return;
        }
        let credential = viewer.credential();
        self.revocation = credential.map(|(credential, _)| self.app.revocations.subscribe(credential));
        self.expiry = credential.and_then(|(_, expires_at)| expires_at).map(|expires_at| {
            let remaining = expires_at.milliseconds().saturating_sub(self.app.now().milliseconds());
            let remaining = Duration::from_millis(u64::try_from(remaining).unwrap_or(0));
            Box::pin(sleep_until(Instant::now() + remaining))
        });
    }

    /// Waits until the credential is revoked or expires, and gives the reason to close with; for ever in open mode.
    pub async fn ended(&mut self) -> &'static str {
        let revoked = async {
            match &mut self.revocation {
                Some(revocation) => revocation.revoked().await,
                None => pending().await,
            }
        };
        let expired = async {
            match &mut self.expiry {
                Some(expiry) => expiry.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = revoked => "The session has ended",
            () = expired => "The access token has expired",
        }
    }
}
