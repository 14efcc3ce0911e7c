//! The state that all handlers share.

use std::sync::Arc;

use axum::http::HeaderValue;
use ipnet::IpNet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{app::App, config::Limits, graphql::Api};

/// What every handler needs.
pub(super) struct Server {
    pub(super) app: Arc<App>,
    pub(super) api: Api,
    pub(super) limits: Limits,
    /// Origins of other sites that are allowed (CORS).
    pub(super) origins: Vec<HeaderValue>,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Only requests whose host is a name of this machine are answered.
    pub(super) loopback_only: bool,
    pub(super) stopping: CancellationToken,
    pub(super) sockets: TaskTracker,
}
