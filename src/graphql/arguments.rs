//! Arguments: ids, the user who acts, and what a mutation is given.

use std::{fmt::Display, str::FromStr};

use async_graphql::ID;

use super::{
    Call,
    errors::unauthenticated,
    payloads::{Failure, UserError, UserErrorCode},
};
use crate::{
    domain::Viewer,
    execution::{Code, Error},
    model::{ids::UserId, texts::BadText},
};

/// An id in an argument of a query or of a subscription.
pub(super) fn id<T: FromStr<Err: Display>>(id: &ID) -> Result<T, Error> {
    id.parse().map_err(Error::bad_input)
}

/// The user who acts, or whose feed or signals are meant, as the argument at this path says: the viewer, if it is left out.
pub(super) fn acting_user(viewer: &Viewer, path: &str, user_id: Option<&ID>) -> Result<UserId, Error> {
    match user_id {
        Some(user) => id(user),
        None if viewer.is_anonymous() => Err(unauthenticated()),
        None => {
            let why = || format!("Say which user with `{path}`: you did not sign in as one.");
            viewer.user().ok_or_else(|| Error::bad_input(why()))
        }
    }
}

/// Parses the arguments of a mutation: all that is wrong is reported at once.
#[derive(Default)]
pub(super) struct ArgumentParser {
    errors: Vec<UserError>,
}

impl ArgumentParser {
    /// What was parsed, if nothing was wrong.
    pub(super) fn finish<T>(self, parsed: Option<T>) -> Result<T, Failure> {
        parsed.filter(|_| self.errors.is_empty()).ok_or(Failure::UserErrors(self.errors))
    }

    /// A text at this path, such as `input.email`.
    pub(super) fn text<T>(&mut self, path: &'static str, parsed: Result<T, BadText>) -> Option<T> {
        let code = |why: &BadText| match why {
            BadText::Invalid(_) => UserErrorCode::Invalid,
            BadText::TooLong(_) => UserErrorCode::TooLong,
        };
        parsed.map_err(|why| self.errors.push(UserError::new(code(&why), path, why))).ok()
    }

    /// The user at this path who acts: the viewer, if it is not said.
    pub(super) fn user(&mut self, call: &Call, path: &'static str, id: Option<&ID>) -> Result<Option<UserId>, Error> {
        match acting_user(&call.viewer(), path, id) {
            Err(error) if error.code() == Code::BadUserInput => {
                self.errors.push(UserError::new(UserErrorCode::Invalid, path, error.message));
                Ok(None)
            }
            user => user.map(Some),
        }
    }

    /// An id at this path.
    pub(super) fn id<T: FromStr<Err: Display>>(&mut self, path: &'static str, id: &ID) -> Option<T> {
        id.parse().map_err(|why| self.errors.push(UserError::new(UserErrorCode::Invalid, path, why))).ok()
    }
}
