//! Whether a server can do its work, and why not.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::App;
use crate::store::{self, Error};

/// A database that takes longer for nothing is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A server whose changes wait for longer is not ready.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);
/// How soon it is asked again whether they still do.
const BLOCKED_PAUSE: Duration = Duration::from_millis(200);
const GONE: &str = "the file of the database is not there any more, and nothing is written: see the log";
const DAMAGED: &str = "the database is damaged, and nothing is written to it: see the log";

impl App {
    /// Why requests cannot be served now; `None` if they can: if the database can be read, and takes changes.
    pub async fn problem(&self) -> Option<&'static str> {
        if self.is_moved() {
            return Some("the database was moved elsewhere");
        }
        if self.store.is_damaged() {
            return Some(DAMAGED);
        }
        match timeout(PROBE_TIMEOUT, self.store.read(store::server::epoch)).await {
            // Without its file it may be read still, and takes no changes.
            Ok(Ok(_) | Err(Error::Gone(_))) => {}
            Ok(Err(Error::Damaged)) => return Some(DAMAGED),
            Ok(Err(_)) | Err(_) => return Some("the database does not answer"),
        }
        let problem = match timeout(PROBE_TIMEOUT, self.store.check_writable()).await {
            Ok(Ok(())) => None,
            Ok(Err(Error::Overloaded)) => Some("too many changes wait for the database"),
            Err(_) | Ok(Err(Error::Busy)) => Some("changes wait for the database: another program may have locked it"),
            Ok(Err(Error::Full)) => return Some("the disk is full"),
            Ok(Err(Error::Damaged)) => return Some(DAMAGED),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database takes no changes");
                let is_gone = matches!(error, Error::Gone(_));
                return Some(if is_gone { GONE } else { "the database takes no changes: see the log" });
            }
        };
        // Others may use the database for a while, and many may send at once.
        problem.filter(|_| self.blocked_for() >= BLOCKED_AFTER)
    }

    /// For how long changes have had to wait, which they do now. From the first time until they no longer do it is watched, as nobody
    /// may ask meanwhile.
    fn blocked_for(&self) -> Duration {
        let mut blocked_since = self.blocked_since.lock();
        if let Some(since) = *blocked_since {
            return since.elapsed();
        }
        *blocked_since = Some(Instant::now());
        let (store, blocked_since) = (self.store.clone(), self.blocked_since.clone());
        tokio::spawn(async move {
            while let Err(Error::Busy | Error::Overloaded) = store.check_writable().await {
                tokio::time::sleep(BLOCKED_PAUSE).await;
            }
            *blocked_since.lock() = None;
        });
        Duration::ZERO
    }
}
