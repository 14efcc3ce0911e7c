//! What is kept for a certain time only: events of the feeds, records of the audit log, and messages if that is wanted.

use std::{sync::Arc, time::Duration};

use super::{
    Result, audit,
    expiry::{self, Extent},
    feed,
};
use crate::app::App;

/// 'Trim': the lock of the server that deletes.
const LOCK: i64 = 0x5472_696D;
/// How often it looks for what is too old.
const INTERVAL: Duration = Duration::from_mins(10);
/// One time in so many it looks at all messages, which is once a day.
const RUNS_PER_FULL_RUN: u32 = 144;

/// How long something is kept, besides messages ([`App::message_retention`]).
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events of the feeds.
    pub events: Duration,
    /// Records of the audit log.
    pub audit: Duration,
}

/// Deletes what is too old, now and periodically; never returns.
pub async fn run_job(app: Arc<App>, retention: Retention) {
    let mut runs_since_full = RUNS_PER_FULL_RUN;
    loop {
        let extent = if runs_since_full >= RUNS_PER_FULL_RUN { Extent::All } else { Extent::Oldest };
        match run(&app, retention, extent).await {
            Ok(()) if extent == Extent::All => runs_since_full = 0,
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "what is older than its retention could not be deleted"),
        }
        if app.message_retention.is_some() {
            // Another server may have deleted some.
            app.notifier.forget_read();
        }
        runs_since_full += 1;
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn run(app: &App, retention: Retention, extent: Extent) -> Result<()> {
    // One of several servers is enough.
    let Some(_lock) = app.store.try_lock(LOCK).await? else { return Ok(()) };
    feed::trim(app, retention.events).await?;
    audit::trim(app, retention.audit).await?;
    if let Some(retention) = app.message_retention {
        let deleted = expiry::delete_expired(app, retention, extent).await?;
        if deleted > 0 {
            tracing::info!(deleted, "messages older than --message-retention were deleted");
        }
    }
    Ok(())
}
