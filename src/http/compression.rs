//! Compression of answers, for clients that ask for it by `Accept-Encoding`.

use axum::{
    extract::Request,
    http::{HeaderValue, Response, header::ACCEPT_ENCODING},
};
use hyper::body::Body;
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate},
};

use super::accepts::accepts_gzip;

/// Compresses whole answers that have more than so many bytes. Streams are never compressed: an event would wait until there is
/// enough to compress.
pub(super) fn layer(above: u64) -> CompressionLayer<LargerThan> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(LargerThan { above })
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

/// Responses whose size is known, and is more than so many bytes.
#[derive(Clone, Copy)]
pub(super) struct LargerThan {
    above: u64,
}

impl Predicate for LargerThan {
    fn should_compress<B: Body>(&self, response: &Response<B>) -> bool {
        response.body().size_hint().exact().is_some_and(|size| size > self.above)
    }
}
