//! Responses: the negotiated media type of an answer, and its status.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};

use super::accepts::{Accepted, Weight};
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
    /// The format that is wanted most. If it is all the same to the client, it is JSON.
    pub(super) fn wanted(accepted: &Accepted) -> Result<Self, Response> {
        let ((json, weight), events) = (Self::json(accepted), accepted.weight(Self::EventStream.media_type()));
        if !weight.max(events).is_accepted() {
            let why = "Accept application/graphql-response+json, application/json or text/event-stream.";
            return Err(refused(StatusCode::NOT_ACCEPTABLE, Code::BadRequest, why));
        }
        Ok(if events > weight { Self::EventStream } else { json })
    }

    /// The format of the answers to a batch: they are no stream of events.
    pub(super) fn of_batch(accepted: &Accepted) -> Result<Self, Response> {
        let (json, weight) = Self::json(accepted);
        let why = "A batch is answered as JSON: accept application/graphql-response+json or application/json.";
        let refusal = || refused(StatusCode::NOT_ACCEPTABLE, Code::BadRequest, why);
        weight.is_accepted().then_some(json).ok_or_else(refusal)
    }

    /// The form of JSON that is wanted more, and how much.
    fn json(accepted: &Accepted) -> (Self, Weight) {
        let [json, graphql] = [Self::Json, Self::GraphqlResponse].map(|it| accepted.weight(it.media_type()));
        if graphql > json || (graphql == json && graphql.is_named()) {
            (Self::GraphqlResponse, graphql)
        } else {
            (Self::Json, json)
        }
    }

    /// The format of the answers to a subscription: it has more than one, so that it can only be a stream of events.
    pub(super) fn of_subscription(self, accepted: &Accepted) -> Self {
        if accepted.weight(Self::EventStream.media_type()).is_named() { Self::EventStream } else { self }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GraphqlResponse => "application/graphql-response+json",
            Self::EventStream => "text/event-stream",
        }
    }

    /// The answer to one request. The permit is released once it was sent.
    pub(super) fn response(self, answer: Answer, permit: Option<Permit>) -> Response {
        let status = match answer.code() {
            // Nothing is wrong with the request itself.
            Some(code) if answer.is_empty() && (code.is_temporary() || code == Code::Internal) => self.status(code),
            Some(code) if answer.is_refusal() => self.status(code),
            _ => StatusCode::OK,
        };
        let (code, retry_after) = (answer.code(), answer.retry_after());
        let mut response = self.body(status, answer.into_json(), permit);
        // For the access log.
        code.map(|code| response.extensions_mut().insert(code));
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
    let mut response = Format::Json.body(status, Answer::refusal(code, why).into_json(), None);
    response.extensions_mut().insert(code);
    response
}

/// Whether a page is wanted more than any answer, as browsers do.
pub(super) fn prefers_page(accepted: &Accepted) -> bool {
    let answers = [Format::Json, Format::GraphqlResponse, Format::EventStream];
    let page = accepted.weight("text/html");
    page.is_named() && answers.iter().all(|format| page > accepted.weight(format.media_type()))
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
        let chunk = self.chunks.next().map(Bytes::from_owner);
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
