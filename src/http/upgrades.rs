//! The opening handshake of a WebSocket (RFC 6455, 4.2).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::responses::refused;
use crate::execution::Code;

/// The version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A request to go on as a WebSocket.
pub(super) struct Upgrade {
    connection: OnUpgrade,
    accept: String,
}

impl Upgrade {
    /// The handshake of a request; `None` if it is none, and a refusal if it is a wrong one.
    pub(super) fn of(parts: &mut Parts) -> Option<Result<Self, Response>> {
        let Parts { method, headers, extensions, .. } = parts;
        if *method != Method::GET || !has_token(headers, &header::UPGRADE, "websocket") {
            return None;
        }
        let bad = |why: &str| Some(Err(refused(StatusCode::BAD_REQUEST, Code::BadRequest, why)));
        if !has_token(headers, &header::CONNECTION, "upgrade") {
            return bad("A WebSocket needs the header Connection: Upgrade. A proxy on the way may have dropped it.");
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            let why = "This server speaks version 13 of WebSocket.";
            let refusal = refused(StatusCode::UPGRADE_REQUIRED, Code::BadRequest, why);
            return Some(Err(([(header::SEC_WEBSOCKET_VERSION, VERSION)], refusal).into_response()));
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return bad("A WebSocket needs the header Sec-WebSocket-Key.");
        };
        let accept = derive_accept_key(key.as_bytes());
        let Some(connection) = extensions.remove::<OnUpgrade>() else {
            return bad("This connection cannot go on as a WebSocket.");
        };
        Some(Ok(Self { connection, accept }))
    }

    /// The response that accepts it, and the connection that follows.
    pub(super) fn accept(self, protocol: Option<HeaderValue>) -> (Response, OnUpgrade) {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        *response.body_mut() = Body::empty();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        (response, self.connection)
    }
}

/// Whether a header that is a list of tokens has this one, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|its| its.trim().eq_ignore_ascii_case(token))
}
