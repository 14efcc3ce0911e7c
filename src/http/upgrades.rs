//! The opening handshake of a WebSocket (RFC 6455, 4.2).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::responses::refused;
use crate::execution::Code;

/// The version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// How keys are written. Some clients make them of random characters.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
/// Bytes of a key, before they are written in base64.
const KEY_BYTES: usize = 16;

/// A request to go on as a WebSocket.
pub(super) struct Upgrade {
    connection: OnUpgrade,
    accept: String,
}

impl Upgrade {
    /// The handshake of a request; `None` if it is none, and a refusal if it is a wrong one.
    pub(super) fn of(parts: &mut Parts) -> Option<Result<Self, Response>> {
        let Parts { method, version, headers, extensions, .. } = parts;
        let asks = has_token(headers, &header::UPGRADE, "websocket");
        if *method != Method::GET || !(asks || headers.contains_key(header::SEC_WEBSOCKET_KEY)) {
            return None;
        }
        if !asks || !has_token(headers, &header::CONNECTION, "upgrade") {
            return Some(Err(upgrade_required(
                "A WebSocket needs the headers Upgrade: websocket and Connection: Upgrade. A proxy on the way has dropped them: \
                 let it pass them on, with HTTP/1.1.",
            )));
        }
        // It could not go on as one.
        if *version < Version::HTTP_11 {
            return Some(Err(upgrade_required(
                "A WebSocket needs HTTP/1.1, and a proxy on the way speaks HTTP/1.0: let it use HTTP/1.1 (nginx: proxy_http_version 1.1).",
            )));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Some(Err(upgrade_required("This server speaks version 13 of WebSocket.")));
        }
        let bad = |why: &str| Some(Err(refused(StatusCode::BAD_REQUEST, Code::BadRequest, why)));
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let is_key = |key: &&HeaderValue| BASE64.decode(key.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES);
        let (Some(key), None) = (keys.next().filter(is_key), keys.next()) else {
            return bad("A WebSocket needs one header Sec-WebSocket-Key, with 16 bytes in base64 (RFC 6455, 4.1).");
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

/// The refusal of a handshake that another try may do better: it says how (RFC 6455, 4.4, and RFC 9110, 15.5.22).
fn upgrade_required(why: &str) -> Response {
    let how = [
        (header::SEC_WEBSOCKET_VERSION, VERSION),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
    ];
    (how, refused(StatusCode::UPGRADE_REQUIRED, Code::BadRequest, why)).into_response()
}

/// Whether a header that is a list of tokens has this one, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|its| its.trim().eq_ignore_ascii_case(token))
}
