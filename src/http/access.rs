//! The access log: one line for each request, once its answer was sent. Query strings are not in it, nor addresses, tokens and
//! variables. Operations of sockets have lines of their own.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use ipnet::IpNet;

use super::{addresses::client_address, counters::HttpCounters};
use crate::{
    execution::{Code, OperationType},
    graphql::{AccessRecord, milliseconds, new_request_id},
};

/// By which a request is found in the log of this server, and of the proxies before it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a proxy, in bytes.
const MAX_REQUEST_ID: usize = 128;
/// What is logged of a method or a path that clients may have made up.
const OTHER: &str = "other";
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "OPTIONS"];
const ROUTES: [&str; 6] = ["/graphql", "/", "/demo", "/health/live", "/health/ready", "/metrics"];
/// They are logged only if they fail.
const PROBES: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

/// Who sent a request.
#[derive(Clone)]
pub(super) struct Client {
    /// From which address, if it is known.
    pub(super) address: Option<IpAddr>,
    /// What is logged of the request.
    pub(super) record: Arc<AccessRecord>,
}

impl Client {
    /// By what is known of the connection.
    pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Self {
        let remote = extensions.get().copied();
        let address = remote.map(|remote| client_address(remote, headers, trusted_proxies));
        let record = extensions.get().cloned();
        Self { address, record: record.unwrap_or_else(|| AccessRecord::of_request(new_request_id()).into()) }
    }
}

/// A request, from its head to the last byte of its answer, or until it is given up. Then it is logged.
pub(super) struct Access {
    method: &'static str,
    route: &'static str,
    record: Arc<AccessRecord>,
    counters: Arc<HttpCounters>,
    /// When there was a response, and its status.
    response: Option<(Duration, u16)>,
    /// Why the request was refused, if there is no operation that could say so.
    refusal: Option<Code>,
    /// What was sent of the body.
    bytes: usize,
}

impl Access {
    /// Begins with a request that was received, and with the id that a trusted proxy has given it.
    pub(super) fn begin(
        method: &Method,
        path: &str,
        proxy_id: Option<&HeaderValue>,
        counters: Arc<HttpCounters>,
    ) -> Self {
        let given = proxy_id.and_then(|id| id.to_str().ok()).filter(|id| is_request_id(id));
        let record = Arc::new(AccessRecord::of_request(given.map_or_else(new_request_id, Into::into)));
        let known = |of: &[&'static str], wanted| of.iter().copied().find(|its| *its == wanted).unwrap_or(OTHER);
        let (method, route) = (known(&METHODS, method.as_str()), known(&ROUTES, path));
        Self { method, route, record, counters, response: None, refusal: None, bytes: 0 }
    }

    /// What is to be known of its operations.
    pub(super) fn record(&self) -> &Arc<AccessRecord> {
        &self.record
    }

    /// The response, with the id of the request.
    pub(super) fn respond(mut self, mut response: Response) -> Response<AccessedBody> {
        if let Ok(id) = HeaderValue::from_str(&self.record.request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let status = response.status().as_u16();
        self.response = Some((self.record.elapsed(), status));
        self.refusal = response.extensions_mut().remove();
        self.counters.responses.get_or_create(&[("status", status)]).inc();
        response.map(|body| AccessedBody { body, access: self })
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        // Others ask every few seconds.
        if PROBES.contains(&self.route) && self.response.is_some_and(|(_, status)| status == 200) {
            return;
        }
        let facts = self.record.facts();
        let (until_response, status) = self.response.unzip();
        let until_response = until_response.unwrap_or_else(|| self.record.elapsed());
        tracing::info!(
            request.id = &*self.record.request_id,
            method = self.method,
            route = self.route,
            status,
            user = facts.user.map(display),
            service_token = facts.service_token.map(display),
            operation = facts.name.as_deref(),
            r#type = facts.operation.map(OperationType::name),
            operations = Some(facts.operations).filter(|operations| *operations > 1),
            code = facts.code.or(self.refusal).map(<&str>::from),
            ms = milliseconds(facts.answered.unwrap_or(until_response)),
            bytes = self.bytes,
            "{}",
            if status.is_some() { "request" } else { "request that was given up" }
        );
    }
}

/// Counts and logs what hyper has refused by itself, as it could not read it: there is no request, and no id of one.
pub(super) fn note_unreadable(error: &hyper::Error, counters: &HttpCounters) {
    // To the preface of HTTP/2 it answers nothing.
    let is_answered = !error.is_parse_version_h2();
    let status = is_answered.then_some(if error.is_parse_too_large() { 431_u16 } else { 400 });
    if let Some(status) = status {
        counters.responses.get_or_create(&[("status", status)]).inc();
    }
    tracing::info!(status, %error, "request that could not be read");
}

/// The body of a response, of which the bytes are counted that are sent.
pub(super) struct AccessedBody {
    body: Body,
    access: Access,
}

impl HttpBody for AccessedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.access.bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a text can be the id of a request: what proxies make is, and nothing that a log would have to escape.
fn is_request_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/@#".contains(&byte);
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_proxy_is_taken_over_if_it_is_one() {
        let id = |given: &str| {
            let given = HeaderValue::from_str(given).unwrap();
            Access::begin(&Method::GET, "/", Some(&given), Arc::default()).record.request_id.to_string()
        };
        for fine in ["7", "01HF5Z-x_y.z:a=b+c/d@e#f", &"a".repeat(MAX_REQUEST_ID)] {
            assert_eq!(id(fine), fine);
        }
        for unfit in ["", "two words", "\u{e4}", "a\tb", "\"", &"a".repeat(MAX_REQUEST_ID + 1)] {
            let made = id(unfit);
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{unfit:?}: {made}");
        }
    }
}
