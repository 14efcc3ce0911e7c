//! The jobs that run in the background of every server.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::{
    accounts, changes, embedding, expiry, indexing,
    retention::{self, Retention},
};
use crate::app::App;

/// How long after a panic a job is restarted.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// Starts them: what is too old or was deleted is removed, words and vectors of messages are indexed, and sessions that ended elsewhere
/// end here. They end when the set is dropped.
#[must_use]
pub fn spawn(app: &Arc<App>, kept: Retention) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    jobs.spawn(with_restarts("retention", app.clone(), move |app| retention::run_job(app, kept)));
    jobs.spawn(with_restarts("expiry", app.clone(), expiry::run_job));
    jobs.spawn(with_restarts("changes", app.clone(), changes::run_job));
    jobs.spawn(with_restarts("words", app.clone(), indexing::run_words_job));
    jobs.spawn(with_restarts("embedding", app.clone(), embedding::run_job));
    jobs.spawn(with_restarts("sessions", app.clone(), accounts::run_session_poller));
    jobs.spawn(with_restarts("removal", app.clone(), |app| async move { app.run_removal_job().await }));
    jobs
}

/// Runs a job, and again after a while if it panics: otherwise it would not be done any more for as long as the server runs.
async fn with_restarts<A: Clone, F: Future<Output = ()>>(name: &str, of: A, job: impl Fn(A) -> F) {
    while AssertUnwindSafe(job(of.clone())).catch_unwind().await.is_err() {
        tracing::error!(job = name, "a background job panicked: it is restarted");
        tokio::time::sleep(RESTART_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_is_restarted() {
        let runs = Arc::new(AtomicU32::new(0));
        with_restarts("test", runs.clone(), |runs| async move {
            assert!(runs.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }
}
