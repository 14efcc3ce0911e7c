//! Ends of sessions and of service tokens, for the connections that they opened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::model::sessions::Credential;

type Held = HashMap<Credential, watch::Sender<bool>>;

/// What ends connections. Clones share it.
#[derive(Clone, Default)]
pub struct Endings {
    held: Arc<Mutex<Held>>,
}

impl Endings {
    /// From now on, [`Ending::come`] tells of the end of this credential.
    #[must_use]
    pub fn of(&self, credential: Credential) -> Ending {
        let ended = self.locked(|held| held.entry(credential).or_default().subscribe());
        Ending { credential, ended, endings: self.clone() }
    }

    /// Tells all connections that were opened with these.
    pub fn tell(&self, credentials: impl IntoIterator<Item = Credential>) {
        self.locked(|held| {
            for ended in credentials.into_iter().filter_map(|credential| held.get(&credential)) {
                ended.send_replace(true);
            }
        });
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection that ends with its credential.
pub struct Ending {
    credential: Credential,
    ended: watch::Receiver<bool>,
    endings: Endings,
}

impl Ending {
    /// Waits for the end of the credential.
    pub async fn come(&mut self) {
        // The sender lives in the map for as long as this does.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.endings.locked(|held| {
            if held.get(&self.credential).is_some_and(|ended| ended.receiver_count() <= 1) {
                held.remove(&self.credential);
            }
        });
    }
}
