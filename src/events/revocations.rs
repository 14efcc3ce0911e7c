//! Revocations of sessions and service tokens, for the connections that were opened with them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    registry::{Registry, RegistryGuard},
    relay::Relay,
};
use crate::model::{sessions::Credential, timestamps::Timestamp};

/// The credentials of open connections. Clones share them.
#[derive(Clone, Default)]
pub struct Revocations {
    credentials: Registry<Credential, watch::Sender<bool>>,
    polled_at: Arc<Mutex<Option<Timestamp>>>,
    relay: Relay,
    elsewhere: Arc<Notify>,
}

impl Revocations {
    /// None yet; other servers are notified of revocations by this relay.
    #[must_use]
    pub fn with(relay: Relay) -> Self {
        Self { relay, ..Self::default() }
    }

    /// Subscribes to the revocation of this credential.
    #[must_use]
    pub fn subscribe(&self, credential: Credential) -> Revocation {
        let (guard, revoked) = self.credentials.acquire(credential, watch::Sender::default, watch::Sender::subscribe);
        Revocation { revoked, _guard: guard }
    }

    /// Notifies all connections that were opened with these credentials, here and at other servers.
    pub fn publish(&self, credentials: impl IntoIterator<Item = Credential>) {
        let mut credentials = credentials.into_iter().peekable();
        if credentials.peek().is_some() {
            self.publish_here(credentials);
            self.relay.queue_revocation();
        }
    }

    /// Notifies the connections here that were opened with these credentials, of which other servers know already.
    pub fn publish_here(&self, credentials: impl IntoIterator<Item = Credential>) {
        for credential in credentials {
            self.credentials.with(&credential, |revoked| {
                revoked.send_replace(true);
            });
        }
    }

    /// Another server has revoked credentials.
    pub fn note_revoked_elsewhere(&self) {
        self.elsewhere.notify_one();
    }

    /// Waits until another server says that it has revoked credentials.
    pub async fn elsewhere(&self) {
        self.elsewhere.notified().await;
    }

    /// Until when the revocations by other processes are known: when they were last looked for with success, or when that began.
    #[must_use]
    pub fn polled_at(&self) -> Option<Timestamp> {
        *self.polled_at.lock()
    }

    /// Remembers until when they are known.
    pub fn set_polled_at(&self, at: Timestamp) {
        *self.polled_at.lock() = Some(at);
    }
}

/// A subscription to the revocation of one credential.
pub struct Revocation {
    revoked: watch::Receiver<bool>,
    _guard: RegistryGuard<Credential, watch::Sender<bool>>,
}

impl Revocation {
    /// Waits until the credential is revoked.
    pub async fn revoked(&mut self) {
        // The guard keeps the sender alive, so waiting cannot fail.
        let _ = self.revoked.wait_for(|revoked| *revoked).await;
    }
}
