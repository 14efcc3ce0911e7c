//! Errors of the domain's functions.

use std::time::Duration;

use crate::{
    events::RateLimited,
    model::ids::UserId,
    secrets::PasswordError,
    store::{self, Constraint},
};

/// The result of a domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a domain function failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be done, for a reason that the caller can act on.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It needs a viewer with a valid credential.
    #[error("sign in first")]
    Unauthenticated,
    /// The viewer may not do it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A rate limit was exceeded: retry after this time.
    #[error("too often")]
    RateLimited(Duration),
    /// It needs something that the server was not set up with.
    #[error("{0}")]
    Disabled(&'static str),
    /// Too many concurrent requests: retry.
    #[error("{0}")]
    Overloaded(&'static str),
    /// A lock or a connection of the database was not free in time: retry.
    #[error("the database is busy")]
    Busy,
    /// There are more vectors than can be compared in time: search fewer messages.
    #[error("there are too many vectors to compare")]
    ScanTimeout,
    /// What is asked for has more text than an answer may have.
    #[error("there is more text than an answer may have")]
    TooLarge,
    /// The disk is full.
    #[error("there is no room left on the disk")]
    Full,
    /// The database does not answer: retry. The cause is for the log.
    #[error(transparent)]
    Unavailable(store::Error),
    /// An unexpected failure. The cause is for the log.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// For somebody whose account is suspended.
    pub(super) const SUSPENDED: Self = Self::Forbidden("This account is suspended. Ask who runs this server.");
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Busy => Self::Busy,
            store::Error::Overloaded => Self::Overloaded("Too many want to change something at once. Try again."),
            store::Error::TooMuchText => Self::TooLarge,
            store::Error::Full => Self::Full,
            store::Error::Unavailable(_)
            | store::Error::ReadOnly
            | store::Error::Unopened
            | store::Error::Disk
            | store::Error::Damaged
            | store::Error::Gone(_) => Self::Unavailable(error),
            store::Error::ConstraintViolated(_) | store::Error::Unusable(_) | store::Error::Failed(_) => {
                Self::Failed(Box::new(error))
            }
        }
    }
}

/// The error of an insert or update that failed because the email is taken, or otherwise.
pub(super) fn email_taken(error: store::Error) -> Error {
    if matches!(error, store::Error::ConstraintViolated(Constraint::UniqueEmail)) {
        Rejection::EmailTaken.into()
    } else {
        error.into()
    }
}

impl From<PasswordError> for Error {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Overloaded => Self::Overloaded("Too many want to sign in at once. Try again."),
            PasswordError::Failed(_) => Self::Failed(Box::new(error)),
        }
    }
}

impl From<RateLimited> for Error {
    fn from(RateLimited(retry_after): RateLimited) -> Self {
        Self::RateLimited(retry_after)
    }
}

/// A reason that the caller can act on, with a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such user, or none that the viewer may see.
    #[error("There is no user {0}.")]
    NoUser(UserId),
    /// The sender does not exist.
    #[error("There is no user {0} who could send.")]
    NoSender(UserId),
    /// The receiver does not exist.
    #[error("There is no user {0} who could receive.")]
    NoReceiver(UserId),
    /// There is no such message, or none that the viewer may see.
    #[error("There is no such message.")]
    NoMessage,
    /// There is no such conversation of this user.
    #[error("There is no such conversation of this user.")]
    NoConversation,
    /// The cursor is of another user's feed.
    #[error("This cursor is not of the feed of {0}.")]
    NotCursorOf(UserId),
    /// There is no such message to mark in a conversation of this user.
    #[error("There is no such message in a conversation of this user.")]
    NoMarkedMessage,
    /// The message to reply to does not exist, or is part of another conversation.
    #[error("There is no such message in this conversation.")]
    NoReply,
    /// Sender and receiver are the same.
    #[error("A message needs two people: the receiver must not be the sender.")]
    ToOneself,
    /// The viewer may see it, but may not do this.
    #[error("You may not do this: it is not yours.")]
    NotYours,
    /// The viewer may not send in this user's name.
    #[error("You may not send as this user.")]
    NotSender,
    /// The viewer may not act for this user.
    #[error("You may not act for this user.")]
    NotUser,
    /// The viewer came with a token of another issuer, which does not change passwords and addresses.
    #[error("Your token is of another issuer: sign in here to change the email or the password.")]
    NotSignedIn,
    /// The account was made for a user of an issuer, who alone may vouch for it.
    #[error("This account signs in with the tokens of an issuer: it has no password, and cannot be an admin.")]
    IssuersAccount,
    /// One of the two has blocked the other.
    #[error("One of you has blocked the other.")]
    Blocked,
    /// One of the two has blocked the other since the message was sent.
    #[error("One of you has blocked the other.")]
    BlockedEdit,
    /// A user cannot block themselves.
    #[error("You cannot block yourself.")]
    BlocksOneself,
    /// No account has this address and this password.
    #[error("The email or the password is wrong.")]
    BadCredentials,
    /// The refresh token has expired, was used before, or is forged.
    #[error("This refresh token is not valid any more: it has expired or was already used. Sign in again.")]
    TokenExpired,
    /// The viewer has no such session.
    #[error("You have no such session.")]
    NoSession,
    /// The access token is another user's, or is not valid.
    #[error("This access token cannot renew the connection: it is invalid or expired, or belongs to another user.")]
    BadToken,
    /// Another user has the address.
    #[error("Another user has this email.")]
    EmailTaken,
    /// The sender used the `clientId` for another message.
    #[error(
        "This clientId was used for another message. Choose a new one for each message; repeat it only with the same \
         receiver, content and replyToId."
    )]
    ClientIdReused,
    /// The place is of another search.
    #[error("This cursor is of another search. Repeat the search that it came from, with the same input.")]
    NotPlaceOf,
    /// The nearest in meaning cannot be had in order of time.
    #[error("The newest messages can be found by their words only: leave out `order`, or search with the mode TEXT.")]
    NewestByMeaning,
    /// The embedding model takes no such text.
    #[error("The embedding model does not take this query: word it otherwise, or search with the mode TEXT.")]
    RefusedQuery,
    /// The message was edited in the meantime.
    #[error("The message was edited since: its version is now {0}. Read it again.")]
    VersionConflict(i32),
}
