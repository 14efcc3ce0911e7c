//! Responses: the negotiated media type of an answer, and its status.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};

use crate::{
    domain::connections::Permit,
    execution::{Answer, Chunks, Code},
};

/// The media type of an answer: <https://graphql.github.io/graphql-over-http/draft/#sec-Media-Types>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/json`: every GraphQL error is a 200.
    Json,
    /// `application/graphql-response+json`: a request that was not executed is a 4xx.
    GraphqlResponse,
    /// `text/event-stream`: every answer is an event. A request that cannot be parsed is answered as JSON.
    EventStream,
}

impl Format {
    /// The format that the header `Accept` prefers; JSON by default.
    pub(super) fn wanted(headers: &HeaderMap) -> Result<Self, Response> {
        let accepted = accepted(headers);
        if accepted.is_empty() {
            return Ok(Self::Json);
        }
        let quality = |exact: &str| {
            let of = |range: &str| accepted.iter().find(|(its, _)| its == range).map(|(_, quality)| *quality);
            of(exact)
                .or_else(|| of("application/*").filter(|_| exact.starts_with("application/")))
                .or_else(|| of("*/*"))
                .unwrap_or(0)
        };
        let (json, graphql) = (quality("application/json"), quality("application/graphql-response+json"));
        if quality("text/event-stream") > json.max(graphql) {
            return Ok(Self::EventStream);
        }
        let named = accepted.iter().any(|(range, _)| range == "application/graphql-response+json");
        if graphql > json || (named && graphql == json && graphql > 0) {
            Ok(Self::GraphqlResponse)
        } else if json > 0 {
            Ok(Self::Json)
        } else {
            let why = "Accept application/graphql-response+json, application/json or text/event-stream.";
            Err(refused(StatusCode::NOT_ACCEPTABLE, Code::BadRequest, why))
        }
    }

    /// The answer to one request. The permit is released once it was sent.
    pub(super) fn response(self, answer: Answer, permit: Option<Permit>) -> Response {
        let status = match answer.code() {
            Some(code) if answer.is_refusal() || (answer.is_empty() && is_retryable(code)) => self.status(code),
            _ => StatusCode::OK,
        };
        let retry_after = answer.retry_after();
        let mut response = self.body(status, answer.into_json(), permit);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// The answers to a batch, as a JSON array.
    pub(super) fn batch(self, answers: Chunks, permit: Option<Permit>) -> Response {
        self.body(StatusCode::OK, answers, permit)
    }

    fn status(self, code: Code) -> StatusCode {
        match code {
            Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Code::DatabaseBusy | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::BadUserInput
            | Code::FeatureDisabled
            | Code::PersistedQueryNotFound
            | Code::QueryTooComplex
            | Code::QueryTooDeep
            | Code::GraphqlParseFailed
            | Code::GraphqlValidationFailed => match self {
                Self::Json => StatusCode::OK,
                Self::GraphqlResponse | Self::EventStream => StatusCode::BAD_REQUEST,
            },
        }
    }

    fn body(self, status: StatusCode, json: Chunks, permit: Option<Permit>) -> Response {
        let media_type = match self {
            Self::Json | Self::EventStream => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::VARY, HeaderValue::from_static("Accept")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        let hint = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        };
        (status, headers, AppendHeaders(hint), Body::new(AnswerBody::new(json, permit))).into_response()
    }
}

/// The response to a request that was not executed, with a body of the same shape.
pub(super) fn refused(status: StatusCode, code: Code, why: impl Into<String>) -> Response {
    Format::Json.body(status, Answer::refusal(code, why).into_json(), None)
}

/// Whether the error is due to the state of the server, so that clients and proxies may retry.
fn is_retryable(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::DatabaseBusy | Code::Unavailable | Code::StorageFull)
}

/// Whether a browser requests a page.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    accepted(headers).iter().any(|(range, quality)| range == "text/html" && *quality > 0)
}

/// The media ranges of the header `Accept` with their qualities in thousandths (RFC 9110, 12.5.1).
fn accepted(headers: &HeaderMap) -> Vec<(String, u16)> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.trim().parse::<mime::Mime>().ok())
        .map(|range| (range.essence_str().to_owned(), quality(&range)))
        .collect()
}

fn quality(range: &mime::Mime) -> u16 {
    let Some(quality) = range.get_param("q") else { return 1_000 };
    let (whole, thousandths) = quality.as_str().split_once('.').unwrap_or((quality.as_str(), ""));
    if whole == "1" { 1_000 } else { format!("{thousandths:0<3.3}").parse().unwrap_or(0) }
}

/// An answer on its way. It is given away chunk by chunk, so that the permit is kept until the client has taken almost all of it.
struct AnswerBody {
    chunks: <Chunks as IntoIterator>::IntoIter,
    remaining: usize,
    _permit: Option<Permit>,
}

impl AnswerBody {
    fn new(json: Chunks, permit: Option<Permit>) -> Self {
        Self { remaining: json.len(), chunks: json.into_iter(), _permit: permit }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.next().map(Bytes::from);
        self.remaining -= chunk.as_ref().map_or(0, Bytes::len);
        Poll::Ready(chunk.map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining as u64)
    }
}
