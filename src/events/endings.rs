//! Ends of sessions and of service tokens, for the connections that they opened.

use tokio::sync::watch;

use super::held::{Held, Hold};
use crate::model::sessions::Credential;

/// What ends connections. Clones share it.
#[derive(Clone, Default)]
pub struct Endings {
    held: Held<Credential, watch::Sender<bool>>,
}

impl Endings {
    /// From now on, [`Ending::come`] tells of the end of this credential.
    #[must_use]
    pub fn of(&self, credential: Credential) -> Ending {
        let (hold, ended) = self.held.hold(credential, watch::Sender::default, watch::Sender::subscribe);
        Ending { ended, _hold: hold }
    }

    /// Tells all connections that were opened with these.
    pub fn tell(&self, credentials: impl IntoIterator<Item = Credential>) {
        for credential in credentials {
            self.held.with(&credential, |ended| {
                ended.send_replace(true);
            });
        }
    }
}

/// A connection that ends with its credential.
pub struct Ending {
    ended: watch::Receiver<bool>,
    _hold: Hold<Credential, watch::Sender<bool>>,
}

impl Ending {
    /// Waits for the end of the credential.
    pub async fn come(&mut self) {
        // The sender is held for as long as this is.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}
