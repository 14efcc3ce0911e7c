//! Checks of the headers `Host` and `Origin`, which keep out the pages of other sites.
//!
//! Browsers send a preflight request before JSON goes to another site, but not before they open a WebSocket; and a site may
//! resolve its own name to this machine (DNS rebinding), so that its pages have the same origin as the server.

use axum::http::{HeaderMap, Uri, header};

use super::server::Server;

/// The error for a request with another host.
pub(super) const WRONG_HOST: &str = "This server answers to names of its own machine, such as localhost, because nobody has to \
                              sign in. Start it with --allow-open-network to answer to any name.";

/// Whether the server answers to the host of the request.
pub(super) fn is_allowed_host(server: &Server, headers: &HeaderMap) -> bool {
    if !server.loopback_only {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Uri>().ok());
    host.as_ref().and_then(Uri::host).is_some_and(|host| {
        let host = host.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Whether the origin may open a socket: it must be the server's own or an allowed one. Without one it is no browser.
pub(super) fn is_allowed_origin(server: &Server, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let own = || {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let (_, origin) = origin.to_str().ok()?.split_once("://")?;
        Some(origin.eq_ignore_ascii_case(host))
    };
    server.origins.contains(origin) || own().unwrap_or(false)
}
