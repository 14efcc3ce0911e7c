//! The state that all handlers share.

use std::sync::Arc;

use ipnet::IpNet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::hosts::Hosts;
use crate::{app::App, config::Limits, graphql::Api};

/// What every handler needs.
pub(super) struct Server {
    pub(super) app: Arc<App>,
    pub(super) api: Api,
    pub(super) limits: Limits,
    pub(super) hosts: Hosts,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) stopping: CancellationToken,
    pub(super) sockets: TaskTracker,
}
