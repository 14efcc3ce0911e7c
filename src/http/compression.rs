//! Compression of answers, for clients that ask for it by `Accept-Encoding`.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Response, header::ACCEPT_ENCODING},
};
use hyper::body::Body;
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate},
};

/// Compresses whole answers that have more than so many bytes. Streams are never compressed: an event would wait until there is
/// enough to compress.
pub(super) fn layer(above: u64) -> CompressionLayer<Whole> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(Whole { above })
}

/// Leaves only gzip of the codings that a request accepts, or none. Otherwise tower-http would turn the answer to an operation that was
/// run into a 406, if the client accepts nothing that there is (<https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3>).
pub(super) async fn only_gzip(mut request: Request) -> Request {
    if accepts_gzip(request.headers()) {
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    } else {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    request
}

/// Whether `Accept-Encoding` names gzip, or anything, and does not refuse it by a weight of 0.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut accepted: Vec<(String, bool)> = values.flat_map(|value| value.split(',')).map(coding).collect();
    // What is named counts more than anything else.
    accepted.sort_by_key(|(name, _)| name == "*");
    accepted
        .iter()
        .find(|(name, _)| ["gzip", "x-gzip", "*"].contains(&name.as_str()))
        .is_some_and(|(_, is_accepted)| *is_accepted)
}

/// The name of a coding, and whether it is accepted.
fn coding(text: &str) -> (String, bool) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let weight = parameters.trim().strip_prefix("q=").map(|weight| weight.trim().parse::<f32>().unwrap_or(0.0));
    (name.trim().to_ascii_lowercase(), weight != Some(0.0))
}

/// Responses whose size is known, and is more than so many bytes.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    above: u64,
}

impl Predicate for Whole {
    fn should_compress<B: Body>(&self, response: &Response<B>) -> bool {
        response.body().size_hint().exact().is_some_and(|size| size > self.above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_where_it_is_named_or_anything_is_and_not_where_it_is_refused() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.1", true),
            ("*", true),
            ("br, *;q=0.5", true),
            ("x-gzip", true),
            ("", false),
            ("br, identity;q=0", false),
            ("gzip;q=0, *", false),
            ("*, gzip; q=0.000", false),
            ("*;q=0", false),
            ("gzip;q=1, *;q=0", true),
            ("notgzip", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
    }
}
