//! What is kept for a certain time only, besides messages: events of the feeds, records of the audit log, ended
//! sessions, and attempts to sign in.

use std::{sync::Arc, time::Duration};

use super::{Result, accounts, audit, feed};
use crate::app::App;

/// 'Trim': the lock of the server that deletes.
const LOCK: i32 = 0x5472_696D;
/// How often it looks for what is too old.
const INTERVAL: Duration = Duration::from_mins(10);

/// How long something is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events of the feeds.
    pub events: Duration,
    /// Records of the audit log.
    pub audit: Duration,
}

/// Deletes what is too old, now and periodically; never returns.
pub async fn run_job(app: Arc<App>, retention: Retention) {
    loop {
        if let Err(error) = run(&app, retention).await {
            tracing::warn!(%error, "what is older than its retention could not be deleted");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn run(app: &App, retention: Retention) -> Result<()> {
    // One of several servers is enough.
    let Some(_lock) = app.store.try_lock(LOCK).await? else { return Ok(()) };
    let trimmed = feed::trim(app, retention.events).await;
    let purged = accounts::purge(app).await;
    audit::trim(app, retention.audit).await?;
    trimmed.map(drop).and(purged)
}
