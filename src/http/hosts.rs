//! Names by which the server is called, and by whom: what keeps pages of other sites out.
//!
//! Browsers ask before they send JSON to another site, but not before they open a WebSocket; and a site may give its own
//! name the address of this machine (DNS rebinding), so that its pages seem to come from here.

use axum::http::{HeaderMap, Uri, header};

use super::Server;

/// Why a request by another name is refused.
pub(super) const WHY: &str = "This server answers to names of its own machine, such as localhost, because nobody has to \
                              sign in. Start it with --allow-open-network to answer to any name.";

/// Whether the request came by a name that the server answers to.
pub(super) fn is_ours(server: &Server, headers: &HeaderMap) -> bool {
    if !server.local {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Uri>().ok());
    host.as_ref().and_then(Uri::host).is_some_and(|host| {
        let host = host.to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Whether a socket may be opened. No origin: no browser. Otherwise it must be the server's own, or one of the settings.
pub(super) fn is_welcome(server: &Server, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let own = || {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let (_, origin) = origin.to_str().ok()?.split_once("://")?;
        Some(origin.eq_ignore_ascii_case(host))
    };
    server.origins.contains(origin) || own().unwrap_or(false)
}
