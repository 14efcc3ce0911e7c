//! Errors as clients see them: a code of a closed list and a sentence. What only the operator may know is logged here,
//! once, with the id of the request, and never sent.

use std::fmt;

use async_graphql::{Error, ErrorExtensionValues, ErrorExtensions, Pos, ServerError};

use crate::domain::{self, Rejection};

/// `extensions.code` of every top-level error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// An argument or a variable has a value that cannot be.
    BadUserInput,
    /// The document asks for too much.
    QueryTooComplex,
    /// The document is nested too deeply.
    QueryTooDeep,
    /// The document is not GraphQL.
    GraphqlParseFailed,
    /// The document does not fit the schema.
    GraphqlValidationFailed,
    /// The request around the document is wrong.
    BadRequest,
    /// The document was named by its hash, and is not known: send it once.
    PersistedQueryNotFound,
    /// It needs somebody who has signed in, and whose token holds.
    Unauthenticated,
    /// Who asks may not.
    Forbidden,
    /// Done too often. `extensions.retryAfterMs` says when it may be tried again.
    RateLimited,
    /// The request is too large.
    PayloadTooLarge,
    /// The answer took too long.
    Timeout,
    /// Try again: somebody held the database for too long.
    DatabaseBusy,
    /// The disk of the server is full.
    StorageFull,
    /// Try again later: the server cannot answer now.
    Unavailable,
    /// A defect or an accident. `extensions.requestId` finds it in the server's log.
    Internal,
}

impl Code {
    /// The whole list.
    pub const ALL: [Self; 16] = [
        Self::RateLimited,
        Self::Unauthenticated,
        Self::BadUserInput,
        Self::QueryTooComplex,
        Self::QueryTooDeep,
        Self::GraphqlParseFailed,
        Self::GraphqlValidationFailed,
        Self::BadRequest,
        Self::PersistedQueryNotFound,
        Self::Forbidden,
        Self::PayloadTooLarge,
        Self::Timeout,
        Self::DatabaseBusy,
        Self::StorageFull,
        Self::Unavailable,
        Self::Internal,
    ];

    /// As it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::QueryTooComplex => "QUERY_TOO_COMPLEX",
            Self::QueryTooDeep => "QUERY_TOO_DEEP",
            Self::GraphqlParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::GraphqlValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::BadRequest => "BAD_REQUEST",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::RateLimited => "RATE_LIMITED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::Timeout => "TIMEOUT",
            Self::DatabaseBusy => "DATABASE_BUSY",
            Self::StorageFull => "STORAGE_FULL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The code with this name; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of a field.
pub(super) fn field_error(code: Code, message: impl Into<String>) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code.as_str()))
}

/// An argument that cannot be.
pub(super) fn bad_input(why: impl fmt::Display) -> Error {
    field_error(Code::BadUserInput, why.to_string())
}

/// An error of the whole request.
pub(super) fn request_error(code: Code, message: impl Into<String>, at: Option<Pos>) -> ServerError {
    with_code(ServerError::new(message, at), code)
}

/// The same error with its code.
pub(super) fn with_code(mut error: ServerError, code: Code) -> ServerError {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code.as_str());
    error
}

/// The code of an error.
pub(super) fn code_of(error: &ServerError) -> Option<Code> {
    let async_graphql::Value::String(name) = error.extensions.as_ref()?.get("code")? else { return None };
    Code::named(name)
}

/// A verb that failed where there are no `userErrors`.
pub(super) fn top_level(error: domain::Error, request_id: &str) -> Error {
    match error {
        domain::Error::Rejected(rejection) => bad_input(rejection),
        domain::Error::Unauthenticated => field_error(
            Code::Unauthenticated,
            "Sign in first: send `Authorization: Bearer` and an access token that holds.",
        ),
        domain::Error::Forbidden(why) => field_error(Code::Forbidden, why),
        domain::Error::RateLimited(wait) => {
            let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            field_error(Code::RateLimited, "Too often. Try again later.")
                .extend_with(|_, extensions| extensions.set("retryAfterMs", milliseconds))
        }
        domain::Error::Overloaded(why) => field_error(Code::Unavailable, why),
        domain::Error::Busy => field_error(Code::DatabaseBusy, "The database is busy. Try again."),
        domain::Error::Full => field_error(Code::StorageFull, "The server has no room left on its disk."),
        domain::Error::Unavailable(cause) => {
            tracing::warn!(request.id = request_id, %cause, "database unavailable");
            field_error(Code::Unavailable, "The database does not answer. Try again.")
        }
        domain::Error::Failed(cause) => {
            tracing::error!(request.id = request_id, %cause, "request failed");
            internal(request_id)
        }
    }
}

/// A defect or an accident, of which the log knows more.
pub(super) fn internal(request_id: &str) -> Error {
    field_error(Code::Internal, "Something went wrong on the server.")
        .extend_with(|_, extensions| extensions.set("requestId", request_id))
}

/// What you can fix and try again. When the list is not empty, the result field is null and nothing was changed.
#[derive(Debug, Clone, async_graphql::SimpleObject)]
pub(super) struct UserError {
    /// What kind of fault it is, for programs.
    pub code: UserErrorCode,
    /// What is wrong, for people.
    pub message: String,
    /// Path in the arguments, such as `["input", "email"]`.
    pub field: Option<Vec<String>>,
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
