//! Why a verb was not done.

use std::time::Duration;

use crate::{events::TooOften, model::ids::UserId, secrets, store};

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A person can do something about it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It needs somebody who has signed in, and whose token holds.
    #[error("sign in first")]
    Unauthenticated,
    /// Those who ask may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Done too often: try again after this time.
    #[error("too often")]
    RateLimited(Duration),
    /// Too many want the same at once: try again.
    #[error("{0}")]
    Overloaded(&'static str),
    /// Somebody else held the database for too long: try again.
    #[error("the database is busy")]
    Busy,
    /// No room on the disk.
    #[error("there is no room left on the disk")]
    Full,
    /// The database does not answer: try again. The cause is for the log.
    #[error(transparent)]
    Unavailable(store::Error),
    /// A defect or an accident. The cause is for the log.
    #[error(transparent)]
    Failed(store::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Busy => Self::Busy,
            store::Error::Overloaded => Self::Overloaded("Too many want to change something at once. Try again."),
            store::Error::Full => Self::Full,
            store::Error::Unavailable(_) | store::Error::ReadOnly | store::Error::Unopened | store::Error::Disk => {
                Self::Unavailable(error)
            }
            store::Error::Refused(_) | store::Error::Damaged | store::Error::Unusable(_) | store::Error::Failed(_) => {
                Self::Failed(error)
            }
        }
    }
}

impl From<secrets::Overloaded> for Error {
    fn from(_: secrets::Overloaded) -> Self {
        Self::Overloaded("Too many want to sign in at once. Try again.")
    }
}

impl From<TooOften> for Error {
    fn from(TooOften(wait): TooOften) -> Self {
        Self::RateLimited(wait)
    }
}

/// What a person can do something about, with a sentence for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such user, or none that the viewer knows.
    #[error("There is no user {0}.")]
    NoUser(UserId),
    /// The sender is not there.
    #[error("There is no user {0} who could send.")]
    NoSender(UserId),
    /// The receiver is not there.
    #[error("There is no user {0} who could receive.")]
    NoReceiver(UserId),
    /// There is no such message, or none that the viewer may see.
    #[error("There is no such message.")]
    NoMessage,
    /// There is no such conversation of this user.
    #[error("There is no such conversation of this user.")]
    NoConversation,
    /// There is no such message to mark in a conversation of this user.
    #[error("There is no such message in a conversation of this user.")]
    NoMarkedMessage,
    /// The message to answer is not there, or is part of another conversation.
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
    /// One of the two has blocked the other.
    #[error("One of you has blocked the other.")]
    Blocked,
    /// One of the two has blocked the other since the message was sent.
    #[error("One of you has blocked the other.")]
    BlockedEdit,
    /// Nobody blocks themselves.
    #[error("You cannot block yourself.")]
    BlocksOneself,
    /// No account has this address and this password.
    #[error("The email or the password is wrong.")]
    BadCredentials,
    /// The refresh token does not hold any more, or never did.
    #[error("This refresh token does not hold any more. Sign in again.")]
    TokenExpired,
    /// The viewer has no such session.
    #[error("You have no such session.")]
    NoSession,
    /// The access token is of somebody else, or does not hold.
    #[error("This access token is not one to go on with: it does not hold, or is somebody else's.")]
    BadToken,
    /// Somebody else has the address.
    #[error("Another user has this email.")]
    EmailTaken,
    /// The sender used the `clientId` for another message.
    #[error(
        "This clientId was used for another message. Choose a new one for each message; repeat it only with the same \
         receiver, content and replyToId."
    )]
    ClientIdReused,
    /// The message was edited in the meantime.
    #[error("The message was edited since: its version is now {0}. Read it again.")]
    VersionConflict(i32),
}
