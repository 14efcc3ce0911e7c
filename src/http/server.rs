//! The state that all handlers share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{closings::Closings, counters::HttpCounters, hosts::Hosts};
use crate::{app::App, config::Limits, graphql::Api};

const PROBE_INTERVAL: Duration = Duration::from_millis(200);

type Probed = (Instant, Option<&'static str>);

/// What every handler needs.
pub(super) struct Server {
    pub(super) app: Arc<App>,
    pub(super) api: Api,
    pub(super) limits: Limits,
    pub(super) hosts: Hosts,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Cancelled as soon as the server is told to stop.
    pub(super) leaving: CancellationToken,
    pub(super) closings: Closings,
    /// For sockets: after another server stopped, many come at once.
    pub(super) authentications: Semaphore,
    pub(super) counters: Arc<HttpCounters>,
    /// When the database was last asked whether it is ready, and what it said.
    pub(super) probed: Arc<Mutex<Option<Probed>>>,
}

impl Server {
    /// Why requests cannot be served now; `None` if they can. Everybody may ask: the database is asked a few times a second at most.
    pub(super) async fn problem(&self) -> Option<&'static str> {
        if self.leaving.is_cancelled() {
            return Some("the server is stopping");
        }
        let (app, probed) = (self.app.clone(), self.probed.clone());
        // In a task of its own: whoever asks is not to hold the lock while they wait.
        let probe = tokio::spawn(async move {
            let mut last = probed.lock().await;
            match *last {
                Some((at, problem)) if at.elapsed() < PROBE_INTERVAL => problem,
                _ => {
                    let problem = app.problem().await;
                    *last = Some((Instant::now(), problem));
                    problem
                }
            }
        });
        probe.await.unwrap_or(Some("the database could not be asked"))
    }
}
