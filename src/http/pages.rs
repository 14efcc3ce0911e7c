//! Pages: the files of `web/dist`, embedded in the binary if they were built before it; otherwise the library's own
//! GraphiQL page, which loads its assets from a public CDN.

use std::io::Read;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use flate2::read::GzDecoder;
use rust_embed::RustEmbed;

use super::{accepts::accepts_gzip, responses::refused};
use crate::{execution::Code, graphql::library_graphiql};

/// The built files, each compressed: `index.html` is `index.html.gz`.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[include = "*.gz"]
struct Web;

/// Nothing from other origins, no inline script, no eval. The sources of styles are appended.
const CSP: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; font-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'self'";

/// GraphiQL.
pub(super) async fn graphiql(headers: HeaderMap) -> Response {
    embedded("index.html", &headers).unwrap_or_else(|| Html(library_graphiql("/graphql")).into_response())
}

/// A demo of a chat between two users.
pub(super) async fn demo(headers: HeaderMap) -> Response {
    let missing = "The demo is not in this binary: build it again with `make run`, where npm is.";
    embedded("demo.html", &headers).unwrap_or_else(|| refused(StatusCode::NOT_FOUND, Code::BadRequest, missing))
}

/// Any other file of the pages.
pub(super) async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let nothing = || refused(StatusCode::NOT_FOUND, Code::BadRequest, "There is nothing here. GraphQL is at /graphql.");
    embedded(path, &headers).unwrap_or_else(nothing)
}

fn embedded(path: &str, headers: &HeaderMap) -> Option<Response> {
    let compressed = Web::get(&format!("{path}.gz"))?.data;
    let media_type = mime_guess::from_path(path).first_or_octet_stream();
    // Names of assets change with their contents.
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    // GraphiQL's editor, Monaco, writes style attributes.
    let styles = if path == "index.html" { " 'unsafe-inline'" } else { "" };
    let common = [
        (header::CONTENT_TYPE, HeaderValue::from_str(media_type.as_ref()).ok()?),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&format!("{CSP}{styles}")).ok()?),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::VARY, HeaderValue::from_static("Accept-Encoding, Accept")),
    ];
    if accepts_gzip(headers) {
        let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return Some((common, coding, compressed.into_owned()).into_response());
    }
    let mut plain = Vec::new();
    GzDecoder::new(&*compressed).read_to_end(&mut plain).ok()?;
    Some((common, plain).into_response())
}
