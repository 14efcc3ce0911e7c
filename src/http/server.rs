//! The state that all handlers share.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{closings::Closings, hosts::Hosts};
use crate::{app::App, config::Limits, graphql::Api};

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
}
