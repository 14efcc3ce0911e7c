//! Long-lived connections: each belongs to a viewer, and ends when their credential expires or is revoked. And what a viewer
//! may have at once on all of them.

use std::{future::pending, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Error, Result, Viewer};
/// What a viewer has of what is limited, until it is dropped; and the unit of addresses that is limited.
pub use crate::events::{Permit, network};
use crate::{
    app::App,
    events::{Holder, Resource, Revocation},
};

/// When a user with too many concurrent requests may retry (`retryAfterMs`).
const REQUEST_RETRY: Duration = Duration::from_millis(500);
/// An anonymous connection on a server that wants a token is closed after this time.
const ANONYMOUS_TIMEOUT: Duration = Duration::from_mins(1);

const TOO_MANY_SUBSCRIPTIONS: Error = Error::Forbidden("You have as many subscriptions as are allowed. End one first.");
const TOO_MANY_FIELDS: Error =
    Error::Forbidden("All your subscriptions together ask for too many fields. Ask for less, or end one first.");

/// A client's connection that stays open.
pub struct ClientConnection {
    app: Arc<App>,
    revocation: Option<Revocation>,
    expiry: Option<Pin<Box<Sleep>>>,
    _permit: Option<Permit>,
}

impl ClientConnection {
    /// A connection of this viewer that does not count against the user's limit.
    #[must_use]
    pub fn uncounted(app: &Arc<App>, viewer: &Viewer) -> Self {
        let mut connection = Self { app: app.clone(), revocation: None, expiry: None, _permit: None };
        connection.renew(viewer);
        connection
    }

    /// A connection of this viewer; `None` if the user has as many as are allowed already.
    #[must_use]
    pub fn try_open(app: &Arc<App>, viewer: &Viewer) -> Option<Self> {
        let permit = match viewer.user() {
            Some(user) => Some(app.permits.try_acquire(user, Resource::Connection, 1)?),
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
        let expiry_reason = if self.revocation.is_some() {
            "The access token has expired"
        } else {
            "Nobody signed in on this connection"
        };
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
            () = expired => expiry_reason,
        }
    }
}

/// A permit for a request of this viewer from this address, to be kept until its answer was sent. Privileged viewers need none.
pub fn begin_request(app: &App, viewer: &Viewer, from: Option<IpAddr>) -> Result<Option<Permit>> {
    let Some(holder) = holder(viewer, from) else { return Ok(None) };
    let permit = app.permits.try_acquire(holder, Resource::Request, 1);
    permit.map(Some).ok_or_else(|| {
        app.rates.count_refusal("requests");
        Error::RateLimited(REQUEST_RETRY)
    })
}

/// A permit as of [`begin_request`], once the viewer has fewer requests in hand.
pub async fn wait_for_request(app: &App, viewer: &Viewer, from: Option<IpAddr>) -> Option<Permit> {
    app.permits.acquire(holder(viewer, from), Resource::Request).await
}

/// Whose requests are counted: those of the viewer, or of all who have not signed in at their network. All who come through a proxy on
/// this machine that is not trusted have a loopback address.
fn holder(viewer: &Viewer, from: Option<IpAddr>) -> Option<Holder> {
    if viewer.is_anonymous() {
        return from.filter(|address| !address.is_loopback()).map(Holder::at);
    }
    viewer.limited_user().map(Holder::from)
}

/// The permits of a subscription that fills so many fields for an event.
pub fn begin_subscription(app: &App, viewer: &Viewer, fields: u64) -> Result<Option<[Permit; 2]>> {
    let Some(user) = viewer.limited_user() else { return Ok(None) };
    let fields = u32::try_from(fields).unwrap_or(u32::MAX);
    let one = app.permits.try_acquire(user, Resource::Subscription, 1).ok_or(TOO_MANY_SUBSCRIPTIONS)?;
    let fields = app.permits.try_acquire(user, Resource::SubscribedField, fields).ok_or(TOO_MANY_FIELDS)?;
    Ok(Some([one, fields]))
}

/// A permit to read and answer events of a subscription.
pub async fn begin_event(app: &App, viewer: &Viewer) -> Option<Permit> {
    app.permits.acquire(viewer.limited_user(), Resource::Event).await
}
