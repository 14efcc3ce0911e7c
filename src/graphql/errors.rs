//! Errors as clients see them. What only the operator may know is logged here, once, with the id of the request, and never
//! sent.

use std::fmt;

use super::Context;
use crate::{
    domain::{self, Rejection},
    execution::{Code, Enum, Error, Fields, Object},
};

/// A verb that failed where there are no `userErrors`.
pub(super) fn top_level(error: domain::Error, request_id: &str) -> Error {
    match error {
        domain::Error::Rejected(rejection) => Error::bad_input(rejection),
        domain::Error::Unauthenticated => Error::new(
            Code::Unauthenticated,
            "Sign in first: send `Authorization: Bearer` and an access token that holds.",
        ),
        domain::Error::Forbidden(why) => Error::new(Code::Forbidden, why),
        domain::Error::RateLimited(wait) => {
            Error::new(Code::RateLimited, "Too often. Try again later.").retry_after(wait)
        }
        domain::Error::Overloaded(why) => Error::new(Code::Unavailable, why),
        domain::Error::Busy => Error::new(Code::DatabaseBusy, "The database is busy. Try again."),
        domain::Error::Full => Error::new(Code::StorageFull, "The server has no room left on its disk."),
        domain::Error::Unavailable(cause) => {
            tracing::warn!(request.id = request_id, %cause, "database unavailable");
            Error::new(Code::Unavailable, "The database does not answer. Try again.")
        }
        domain::Error::Failed(cause) => {
            tracing::error!(request.id = request_id, %cause, "request failed");
            internal(request_id)
        }
    }
}

/// A defect or an accident, of which the log knows more.
pub(super) fn internal(request_id: &str) -> Error {
    Error::new(Code::Internal, "Something went wrong on the server.").of_request(request_id)
}

/// What you can fix and try again. When the list is not empty, the result field is null and nothing was changed.
#[derive(Debug, Clone)]
pub(super) struct UserError {
    code: UserErrorCode,
    message: String,
    field: Option<Vec<String>>,
}

impl Object for UserError {
    const NAME: &'static str = "UserError";
    const DESCRIPTION: &'static str =
        "What you can fix and try again. When the list is not empty, the result field is null and nothing was changed.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Enum<UserErrorCode>>("code", "What kind of fault it is, for programs.", |it, _| it.code);
        fields.plain::<String>("message", "What is wrong, for people.", |it, _| &it.message);
        fields.plain::<Option<Vec<String>>>(
            "field",
            "Path in the arguments, such as `[\"input\", \"email\"]`.",
            |it, _| Some(it.field.as_ref()?.iter().map(String::as_str).collect()),
        );
    }
}

/// The kinds of faults that you can fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
pub(super) enum UserErrorCode {
    /// The value cannot be: empty, blank, malformed.
    Invalid,
    /// The text is longer than its limit.
    TooLong,
    /// There is no such thing, or none that you may see.
    NotFound,
    /// You may see it, but not do this.
    NotAllowed,
    /// No account has this email and this password.
    BadCredentials,
    /// The token does not hold any more.
    TokenExpired,
    /// One of the two has blocked the other.
    Blocked,
    /// Another user has this email.
    EmailTaken,
    /// The sender used this `clientId` for another message.
    ClientIdReused,
    /// The message was edited since you read it.
    VersionConflict,
}

impl UserError {
    /// An error about the argument at this path, such as `input.email`.
    pub(super) fn new(code: UserErrorCode, path: &str, message: impl fmt::Display) -> Self {
        let field = path.split('.').map(str::to_owned).collect();
        Self { code, message: message.to_string(), field: Some(field) }
    }
}

impl From<Rejection> for UserError {
    fn from(rejection: Rejection) -> Self {
        use UserErrorCode as Is;
        let (code, path) = match rejection {
            Rejection::NoUser(_) | Rejection::NoMessage => (Is::NotFound, "id"),
            Rejection::NoMarkedMessage => (Is::NotFound, "messageId"),
            Rejection::NoConversation => (Is::NotFound, "conversationId"),
            Rejection::NoSender(_) => (Is::NotFound, "input.senderId"),
            Rejection::NoReceiver(_) => (Is::NotFound, "input.receiverId"),
            Rejection::NoReply => (Is::NotFound, "input.replyToId"),
            Rejection::NotYours => (Is::NotAllowed, "id"),
            Rejection::NotSender => (Is::NotAllowed, "input.senderId"),
            Rejection::NotUser => (Is::NotAllowed, "userId"),
            Rejection::Blocked => (Is::Blocked, "input.receiverId"),
            Rejection::BlockedEdit => (Is::Blocked, "id"),
            Rejection::BlocksOneself => (Is::Invalid, "id"),
            Rejection::BadCredentials => (Is::BadCredentials, "input"),
            Rejection::TokenExpired => (Is::TokenExpired, "refreshToken"),
            Rejection::NoSession => (Is::NotFound, "sessionId"),
            Rejection::BadToken => (Is::TokenExpired, "accessToken"),
            Rejection::ToOneself => (Is::Invalid, "input.receiverId"),
            Rejection::EmailTaken => (Is::EmailTaken, "input.email"),
            Rejection::ClientIdReused => (Is::ClientIdReused, "input.clientId"),
            Rejection::VersionConflict(_) => (Is::VersionConflict, "input.expectedVersion"),
        };
        Self::new(code, path, rejection)
    }
}
