//! Revocations of sessions and service tokens, for the connections that were opened with them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::registry::{Registry, RegistryGuard};
use crate::model::{sessions::Credential, timestamps::Timestamp};

/// The credentials of open connections. Clones share them.
#[derive(Clone, Default)]
pub struct Revocations {
    credentials: Registry<Credential, watch::Sender<bool>>,
    polled_at: Arc<Mutex<Option<Timestamp>>>,
}

impl Revocations {
    /// Subscribes to the revocation of this credential.
    #[must_use]
    pub fn subscribe(&self, credential: Credential) -> Revocation {
        let (guard, revoked) = self.credentials.acquire(credential, watch::Sender::default, watch::Sender::subscribe);
        Revocation { revoked, _guard: guard }
    }

    /// Notifies all connections that were opened with these credentials.
    pub fn publish(&self, credentials: impl IntoIterator<Item = Credential>) {
        for credential in credentials {
            self.credentials.with(&credential, |revoked| {
                revoked.send_replace(true);
            });
        }
    }

    /// Until when the revocations by other processes are known: when they were last looked for with success, or when that began.
    #[must_use]
    pub fn polled_at(&self) -> Option<Timestamp> {
        *self.polled_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers until when they are known.
    pub fn set_polled_at(&self, at: Timestamp) {
        *self.polled_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
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
