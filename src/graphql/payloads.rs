//! Payloads of mutations: what was done, or what a person can fix.

use std::fmt::Display;

use super::Context;
use crate::{
    domain::Rejection,
    execution::{Enum, Error, Fields, Id, Object},
};

/// What was done, or what to fix.
pub(super) type Outcome<T> = Result<T, Vec<UserError>>;

/// Why a mutation has changed nothing.
pub(super) enum Failure {
    /// A person can fix it.
    UserErrors(Vec<UserError>),
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a mutation has done, as its payload shows it.
pub(super) trait Payload: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    const DESCRIPTION: &'static str;
    /// The fields of the payload, besides `userErrors`.
    fn fields(fields: &mut Fields<Outcome<Self>>);
}

impl<T: Payload> Object for Outcome<T> {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        T::fields(fields);
        fields.plain::<Vec<UserError>>(
            "userErrors",
            "What is wrong with the input; empty on success.",
            |outcome, _| outcome.as_ref().err().into_iter().flatten().collect(),
        );
    }
}

/// The id of anything that was deleted.
pub(super) struct Deleted(pub(super) String);

impl Payload for Deleted {
    const NAME: &'static str = "DeletePayload";
    const DESCRIPTION: &'static str = "The result of a deletion.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Id<String>>>(
            "deletedId",
            "The id of what was deleted; null if there are errors.",
            |it, _| it.as_ref().ok().map(|deleted| deleted.0.clone()),
        );
    }
}

#[derive(Debug, Clone)]
pub(super) struct UserError {
    code: UserErrorCode,
    message: String,
    /// Names of arguments, with dots between them.
    path: &'static str,
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
            |it, _| Some(it.path.split('.').collect()),
        );
    }
}

/// The kinds of faults that you can fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, async_graphql::Enum)]
pub(super) enum UserErrorCode {
    /// The value is empty, blank or malformed.
    Invalid,
    /// The text is longer than its limit.
    TooLong,
    /// There is no such thing, or none that you may see.
    NotFound,
    /// You may see it, but not do this.
    NotAllowed,
    /// No account has this email and this password.
    BadCredentials,
    /// The token has expired, or is no longer valid.
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
    pub(super) fn new(code: UserErrorCode, path: &'static str, message: impl Display) -> Self {
        Self { code, message: message.to_string(), path }
    }
}

impl From<Rejection> for UserError {
    fn from(rejection: Rejection) -> Self {
        use UserErrorCode as Is;
        let (code, path) = match rejection {
            Rejection::NoUser(_) | Rejection::NoMessage => (Is::NotFound, "id"),
            Rejection::NoMarkedMessage => (Is::NotFound, "messageId"),
            Rejection::NotCursorOf(_) | Rejection::NotPlaceOf => (Is::Invalid, "after"),
            Rejection::NewestByMeaning => (Is::Invalid, "input.order"),
            Rejection::RefusedQuery => (Is::Invalid, "input.text"),
            Rejection::NoConversation => (Is::NotFound, "conversationId"),
            Rejection::NoSender(_) => (Is::NotFound, "input.senderId"),
            Rejection::NoReceiver(_) => (Is::NotFound, "input.receiverId"),
            Rejection::NoReply => (Is::NotFound, "input.replyToId"),
            Rejection::NotYours => (Is::NotAllowed, "id"),
            Rejection::NotSignedIn => (Is::NotAllowed, "input"),
            Rejection::IssuersAccount => (Is::NotAllowed, "input.password"),
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
