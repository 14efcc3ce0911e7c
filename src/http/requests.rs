//! Parsing requests: the body within its limits, one request or a batch, or a query string.

use std::error::Error;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::responses::refused;
use crate::{
    config::Limits,
    execution::{Answer, Code, Request, parse_json},
};

/// Characters of an unknown charset that are repeated in the error.
const MAX_CHARSET: usize = 30;

/// A parsed body.
pub(super) enum PostBody {
    /// One request.
    One(Box<Request>),
    /// A batch; each element is answered, also if it is invalid.
    Batch(Vec<Result<Request, Answer>>),
}

/// The body of a POST: JSON only. What a browser sends to another site without a preflight request (a form, plain text)
/// is refused, against cross-site request forgery.
pub(super) async fn body(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Vec<u8>, Response> {
    check_is_json(headers).map_err(|why| refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadRequest, why))?;
    let too_large = || {
        let why = format!("The request may have at most {} bytes.", limits.max_body);
        refused(StatusCode::PAYLOAD_TOO_LARGE, Code::PayloadTooLarge, why)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max_body as u64) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(body, limits.max_body);
    match tokio::time::timeout(limits.body_timeout, reading).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_broken_off)) => Err(refused(StatusCode::BAD_REQUEST, Code::BadRequest, "The body ended early.")),
        Err(_elapsed) => Err(refused(StatusCode::REQUEST_TIMEOUT, Code::Timeout, "The body took too long to arrive.")),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<LengthLimitError>)
}

/// Whether the headers say that the body is JSON; otherwise the error is a message for the client.
fn check_is_json(headers: &HeaderMap) -> Result<(), String> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err("Send the request as plain JSON, without Content-Encoding.".into());
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, more) = (types.next(), types.next());
    let media_type = first.and_then(|first| first.to_str().ok()?.parse::<mime::Mime>().ok());
    let is_json = |media_type: &mime::Mime| media_type.essence_str() == "application/json" && more.is_none();
    let Some(media_type) = media_type.filter(is_json) else {
        return Err("Send the request as plain JSON, with the header Content-Type: application/json.".into());
    };
    match media_type.get_param(mime::CHARSET) {
        Some(charset) if charset != mime::UTF_8 => {
            let name: String = charset.as_str().chars().take(MAX_CHARSET).collect();
            Err(format!("The charset {name:?} of the Content-Type is not known: JSON is always utf-8. Leave it out."))
        }
        _ => Ok(()),
    }
}

/// The name of the encoding whose byte order mark the body begins with.
fn byte_order_mark(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8"),
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Parses a JSON body; the error is a message for the client.
pub(super) fn parse(body: &[u8], max_batch: usize) -> Result<PostBody, String> {
    if let Some(encoding) = byte_order_mark(body) {
        let why = "Send JSON as UTF-8 without one (RFC 8259, 8.1).";
        return Err(format!("The body begins with the byte order mark (BOM) of {encoding}. {why}"));
    }
    let value = parse_json(body).map_err(|error| format!("The body is not JSON: {error}."))?;
    let Value::Array(batch) = value else { return request(value).map(|request| PostBody::One(Box::new(request))) };
    if batch.is_empty() {
        return Err("The batch is empty.".into());
    }
    if batch.len() > max_batch {
        return Err(format!("The batch has {} operations; {max_batch} are allowed.", batch.len()));
    }
    let refusal = |why| Answer::refusal(Code::BadRequest, why);
    Ok(PostBody::Batch(batch.into_iter().map(|value| request(value).map_err(refusal)).collect()))
}

fn request(value: Value) -> Result<Request, String> {
    let why = |error| format!("This is not a GraphQL request: {error}.");
    if !value.is_object() {
        return Err("This is not a GraphQL request: send an object with `query`.".into());
    }
    serde_json::from_value(value).map_err(why)
}

/// Parses the parameters of a GET; the error is a message for the client.
pub(super) fn from_query_string(text: &str) -> Result<Request, String> {
    let mut request = serde_json::Map::new();
    // Invalid UTF-8 is decoded to this character; a client that means it can encode it.
    let means_it = text.to_ascii_uppercase().contains("%EF%BF%BD");
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if value.contains(char::REPLACEMENT_CHARACTER) && !means_it {
            return Err(format!("The parameter `{name}` is not UTF-8."));
        }
        let value = match &*name {
            "query" | "operationName" => Value::String(value.into_owned()),
            "variables" | "extensions" => {
                parse_json(value.as_bytes()).map_err(|error| format!("The parameter `{name}` is not JSON: {error}."))?
            }
            _ => continue,
        };
        if request.insert(name.clone().into_owned(), value).is_some() {
            return Err(format!("The parameter `{name}` is given twice."));
        }
    }
    self::request(Value::Object(request))
}

/// The header `Authorization`. One that is no text is a credential that nobody has.
pub(super) fn authorization(headers: &HeaderMap) -> Option<String> {
    // Many clients send an empty one as long as nobody has signed in.
    let value = headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty())?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
