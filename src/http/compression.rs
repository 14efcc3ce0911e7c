//! Compression of answers, for clients that ask for it by `Accept-Encoding`.

use axum::http::Response;
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
