//! Payloads of mutations: what was done, or what a person can fix.

use std::fmt::Display;

use super::{Context, errors::UserError};
use crate::execution::{Fields, Object};

/// What was done, or what to fix.
pub(super) type Outcome<T> = Result<T, Vec<UserError>>;

/// The field `userErrors`, which every payload has.
pub(super) fn user_errors<O, T: 'static>(fields: &mut Fields<O>)
where
    for<'a> O: Object<Context = Context, Row<'a> = &'a Outcome<T>>,
{
    fields.plain::<Vec<UserError>>("userErrors", "What to fix; empty if it was done.", |outcome, _| {
        outcome.as_ref().err().into_iter().flatten().collect()
    });
}

/// `DeletePayload`
pub(super) struct DeletePayload;

/// Anything that was deleted, by its id.
pub(super) type Deleted = Outcome<String>;

impl Object for DeletePayload {
    const NAME: &'static str = "DeletePayload";
    const DESCRIPTION: &'static str = "What became of a deletion.";
    type Context = Context;
    type Row<'a> = &'a Deleted;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Option<DeletedId>>(
            "deletedId",
            "The id of what was deleted; null if there are errors.",
            |it, _| it.as_ref().ok().cloned(),
        );
        user_errors(fields);
    }
}

type DeletedId = crate::execution::Id<String>;

/// The same outcome, of something that is gone.
pub(super) fn deleted(id: &impl Display, outcome: Outcome<()>) -> Deleted {
    outcome.map(|()| id.to_string())
}
