//! Connections that stay open: each is somebody's, until their credential ends, by the clock or by a sign-out.

use std::{future::pending, pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Viewer;
use crate::{
    app::App,
    events::{Counted, Ending},
};

/// Who showed no token on a server that wants one is let go after this time.
const NOBODY: Duration = Duration::from_mins(1);

/// A connection that stays open.
pub struct Connection {
    app: App,
    ending: Option<Ending>,
    expiry: Option<Pin<Box<Sleep>>>,
    _counted: Option<Counted>,
}

impl Connection {
    /// A connection of this viewer.
    #[must_use]
    pub fn of(app: &App, viewer: &Viewer) -> Self {
        let mut connection = Self { app: app.clone(), ending: None, expiry: None, _counted: None };
        connection.renew(viewer);
        connection
    }

    /// The same, if the user does not have so many already.
    #[must_use]
    pub fn counted(app: &App, viewer: &Viewer, most: usize) -> Option<Self> {
        let counted = match viewer.user() {
            Some(user) => Some(app.connections.add(user, most)?),
            None => None,
        };
        Some(Self { _counted: counted, ..Self::of(app, viewer) })
    }

    /// Goes on with this viewer's credential.
    pub fn renew(&mut self, viewer: &Viewer) {
        if viewer.is_nobody() {
            // Long enough to sign in, and no longer.
            self.expiry = Some(Box::pin(sleep_until(Instant::now() + NOBODY)));
            return;
        }
        let credential = viewer.credential();
        self.ending = credential.map(|(credential, _)| self.app.endings.of(credential));
        self.expiry = credential.and_then(|(_, until)| until).map(|until| {
            let left = until.milliseconds().saturating_sub(self.app.now().milliseconds());
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            Box::pin(sleep_until(Instant::now() + left))
        });
    }

    /// Waits until it must end, and says why; for ever in open mode.
    pub async fn end(&mut self) -> &'static str {
        let ended = async {
            match &mut self.ending {
                Some(ending) => ending.come().await,
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
            () = ended => "The session has ended",
            () = expired => "The access token has expired",
        }
    }
}
