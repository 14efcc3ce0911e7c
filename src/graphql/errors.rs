//! Errors as clients see them. What only the operator may know is logged here, once, with the id of the request, and never
//! sent.

use std::fmt::Display;

use crate::{
    domain,
    execution::{Code, Error},
};

/// A verb that failed where there are no `userErrors`.
pub(super) fn top_level(error: domain::Error, request_id: &str) -> Error {
    match error {
        domain::Error::Rejected(rejection) => Error::bad_input(rejection),
        domain::Error::Unauthenticated => unauthenticated(),
        domain::Error::Forbidden(why) => Error::new(Code::Forbidden, why),
        domain::Error::Disabled(why) => Error::new(Code::FeatureDisabled, why),
        domain::Error::RateLimited(wait) => {
            Error::new(Code::RateLimited, "Too often. Try again later.").retry_after(wait)
        }
        domain::Error::Overloaded(why) => Error::new(Code::Unavailable, why),
        domain::Error::Busy => Error::new(Code::DatabaseBusy, "The database is busy. Try again."),
        domain::Error::ScanTimeout => Error::new(
            Code::DatabaseBusy,
            "There are too many messages to compare them all in time. Search in one conversation or as one user, or with the mode TEXT.",
        ),
        domain::Error::TooLarge => Error::new(
            Code::QueryTooComplex,
            "The messages that are asked for are too large for one answer. Ask for fewer at once.",
        ),
        domain::Error::Full => Error::new(Code::StorageFull, "The server has no room left on its disk."),
        domain::Error::Unavailable(cause) => {
            tracing::warn!(request.id = request_id, %cause, "database unavailable");
            unavailable()
        }
        domain::Error::Failed(cause) => internal(request_id, cause),
    }
}

/// A read that failed and is tried again: the log does not have each failure while the database is away.
pub(super) fn retried(error: domain::Error, request_id: &str) -> Error {
    let domain::Error::Unavailable(cause) = error else { return top_level(error, request_id) };
    tracing::debug!(request.id = request_id, %cause, "database unavailable");
    unavailable()
}

/// It needs somebody who has signed in.
pub(super) fn unauthenticated() -> Error {
    Error::new(Code::Unauthenticated, "Sign in first: send `Authorization: Bearer` with a valid access token.")
}

fn unavailable() -> Error {
    Error::new(Code::Unavailable, "The database does not answer. Try again.")
}

/// A defect or an accident. Only the log has its cause.
pub(super) fn internal(request_id: &str, cause: impl Display) -> Error {
    tracing::error!(request.id = request_id, %cause, "request failed");
    Error::new(Code::Internal, "Something went wrong on the server.").of_request(request_id)
}
