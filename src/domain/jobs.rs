//! The jobs that run in the background of every server.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    accounts, changes, embedding, expiry, indexing,
    retention::{self, Retention},
};
use crate::app::App;

/// Starts them: what is too old or was deleted is removed, words and vectors of messages are indexed, and sessions that ended elsewhere
/// end here. They end when the set is dropped.
#[must_use]
pub fn spawn(app: &Arc<App>, kept: Retention) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    jobs.spawn(retention::run_job(app.clone(), kept));
    jobs.spawn(expiry::run_job(app.clone()));
    jobs.spawn(changes::run_job(app.clone()));
    jobs.spawn(indexing::run_words_job(app.clone()));
    jobs.spawn(embedding::run_job(app.clone()));
    jobs.spawn(accounts::run_session_poller(app.clone()));
    let app = app.clone();
    jobs.spawn(async move { app.run_removal_job().await });
    jobs
}
