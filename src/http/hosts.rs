//! Checks of the headers `Host` and `Origin`, which keep out the pages of other sites.
//!
//! Browsers send a preflight request before JSON goes to another site, but not before they open a WebSocket; and a site may
//! resolve its own name to this machine (DNS rebinding), so that its pages have the same origin as the server.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};
use parking_lot::Mutex;

use super::responses::refused;
use crate::{config::Serve, execution::Code};

/// The error for a request with another host.
const WRONG_HOST: &str = "This server answers to names of its own machine, such as localhost, because nobody has to \
                              sign in. Start it with --allow-open-network to answer to any name.";

/// The error for a page of an origin that is not allowed.
const WRONG_ORIGIN: &str = "This origin may not use the server. The server's setting cors-origin names those that may.";

/// Warnings of refused origins in a minute, at most: anybody can make up any number of them.
const MAX_WARNINGS: usize = 10;
const MINUTE: Duration = Duration::from_mins(1);
/// The last origins that were warned of, which are not warned of again.
const MAX_WARNED: usize = 100;
/// Bytes of an origin that is warned of; names of hosts have at most 253.
const MAX_ORIGIN_BYTES: usize = 300;

/// A setting that is not a valid origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no origin for --cors-origin (DUOLOGUE_CORS_ORIGIN): write it like https://chat.example.com, without a path, and without \
     the port 443 of https or 80 of http; pages without an origin have null or file://"
)]
pub struct BadOrigin(String);

/// The allowed origins of the settings, as header values.
///
/// # Errors
/// [`BadOrigin`] for the first invalid one.
pub fn origins(settings: &Serve) -> Result<Vec<HeaderValue>, BadOrigin> {
    let origin = |given: &String| {
        // Browsers write names in lower case, and leave the port out where it is the usual one.
        let text = given.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").unwrap_or_default();
        let has_usual_port =
            matches!((scheme, host.rsplit_once(':')), ("http", Some((_, "80"))) | ("https", Some((_, "443"))));
        let is_plain =
            !scheme.is_empty() && !host.is_empty() && !has_usual_port && !host.contains(['/', '*', ' ', '?', '#', '@']);
        // What browsers send for files, and for frames in a sandbox.
        let is_opaque = text == "null" || text == "file://";
        let value = (is_plain || is_opaque).then(|| HeaderValue::from_str(&text).ok()).flatten();
        value.ok_or_else(|| BadOrigin(given.clone()))
    };
    settings.cors_origins.iter().map(origin).collect()
}

/// The names under which the server is used, and the origins whose pages may use it.
pub struct Hosts {
    /// Only names of this machine are answered.
    is_loopback_only: bool,
    /// Origins of other sites that are allowed (CORS).
    origins: Vec<HeaderValue>,
    warned: Mutex<Warned>,
}

impl Hosts {
    /// Where `is_loopback_only`, only names of this machine are answered.
    #[must_use]
    pub fn new(is_loopback_only: bool, origins: Vec<HeaderValue>) -> Self {
        Self { is_loopback_only, origins, warned: Mutex::default() }
    }

    /// Refuses a request for a host to which the server does not answer.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Response> {
        if !self.is_loopback_only || host(headers).is_some_and(is_loopback) {
            return Ok(());
        }
        Err(refused(StatusCode::FORBIDDEN, Code::Forbidden, WRONG_HOST))
    }

    /// Whether pages of the origin may use the server: its own, those of the settings, and on a server that only answers to this
    /// machine those of this machine, where every program may do everything anyway. A refused one is warned of.
    pub(super) fn allows(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
        let is_own = || authority.zip(host(headers)).is_some_and(|(its, own)| its.eq_ignore_ascii_case(own));
        let is_of_this_machine = || self.is_loopback_only && authority.is_some_and(is_loopback);
        let is_allowed = self.origins.contains(origin) || is_own() || is_of_this_machine();
        if !is_allowed {
            self.warn(origin);
        }
        is_allowed
    }

    /// Refuses a request of a page that may not use the server. Browsers send what needs no preflight without asking, such as images, event
    /// streams and the handshakes of WebSockets, and only keep the answer from the page.
    pub(super) fn check_page(&self, headers: &HeaderMap) -> Result<(), Response> {
        if !self.is_of_refused_page(headers) {
            return Ok(());
        }
        Err(refused(StatusCode::FORBIDDEN, Code::Forbidden, WRONG_ORIGIN))
    }

    fn is_of_refused_page(&self, headers: &HeaderMap) -> bool {
        let says = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
        if let Some(origin) = headers.get(header::ORIGIN) {
            return !self.allows(origin, headers);
        }
        // <https://www.w3.org/TR/fetch-metadata/>: a link may be followed.
        let is_elsewhere = says("sec-fetch-site", "cross-site");
        let is_of_neighbour = says("sec-fetch-site", "same-site") && !self.is_loopback_only;
        (is_elsewhere || is_of_neighbour) && !says("sec-fetch-mode", "navigate")
    }

    fn warn(&self, origin: &HeaderValue) {
        let Some(text) = origin.to_str().ok().filter(|text| text.len() <= MAX_ORIGIN_BYTES) else { return };
        // No browser sends more; somebody else may.
        if text.split_once("://").is_some_and(|(_, authority)| authority.contains(['/', '?', '#', '@'])) {
            return;
        }
        let mut warned = self.warned.lock();
        if warned.add(text, Instant::now()) {
            tracing::warn!("a page of {text} was refused; if such pages may use this server, say --cors-origin {text}");
        }
    }
}

/// Middleware for programs with routes of their own: refuses requests for other hosts, and those of pages that may not use the server.
///
/// # Errors
/// The refusal.
pub async fn check_sites(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Result<Response, Response> {
    hosts.check_host(request.headers())?;
    hosts.check_page(request.headers())?;
    Ok(next.run(request).await)
}

/// Refused origins that were warned of, and when; the last one is the newest.
#[derive(Default)]
struct Warned(VecDeque<(String, Instant)>);

impl Warned {
    /// Whether to warn of this origin now. If not, it may be warned of when it comes again.
    fn add(&mut self, origin: &str, now: Instant) -> bool {
        let is_known = self.0.iter().any(|(known, _)| known == origin);
        let are_many = self.0.iter().nth_back(MAX_WARNINGS - 1).is_some_and(|(_, at)| now.duration_since(*at) < MINUTE);
        if is_known || are_many {
            return false;
        }
        if self.0.len() == MAX_WARNED {
            self.0.pop_front();
        }
        self.0.push_back((origin.to_owned(), now));
        true
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a host, with or without a port, is this machine by its name.
fn is_loopback(host: &str) -> bool {
    let host = host.parse::<Uri>().ok().and_then(|host| host.host().map(str::to_ascii_lowercase));
    host.is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_origins_keep_no_other_one_from_being_warned_of() {
        let (mut warned, begun) = (Warned::default(), Instant::now());
        let real = "https://chat.example.com";
        let warnings = (0..1_000).filter(|number| warned.add(&format!("https://{number}.example.com"), begun)).count();
        assert_eq!(warnings, MAX_WARNINGS);
        assert!(!warned.add(real, begun + Duration::from_secs(59)));
        assert!(warned.add(real, begun + MINUTE));
        assert!(!warned.add(real, begun + MINUTE * 2), "it is warned of once");
        // What is remembered is bounded.
        for number in 0..1_000_u32 {
            assert!(warned.add(&format!("https://{number}.example.org"), begun + MINUTE * (3 + number)));
        }
        assert_eq!(warned.0.len(), MAX_WARNED);
        assert!(warned.add(real, begun + MINUTE * 2_000));
    }
}
