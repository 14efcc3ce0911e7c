//! The roots of the schema, to which each noun adds its fields.

use std::sync::Arc;

use async_graphql::InputType;

use super::{
    Call, Context,
    payloads::{Failure, Outcome, Payload},
    sources::Source,
};
use crate::execution::{RootFields, WriteFn};

/// What can be asked.
pub(super) struct Query;
/// Fields that do something: each gives what is to be written.
pub(super) type Mutations = RootFields<Call, WriteFn<Context>>;
/// Fields that can be followed: each gives the source of its events.
pub(super) type Subscriptions = RootFields<Call, Box<dyn Source>>;

/// Adds a field that changes something, with the fields of `A` as its arguments.
pub(super) fn mutation<T, A, F>(
    fields: &mut Mutations,
    name: &'static str,
    description: &'static str,
    change: impl Fn(Arc<Call>, A) -> F + Copy + Send + Sync + 'static,
) where
    T: Payload,
    A: InputType + Clone + Send + Sync + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    fields.field::<Outcome<T>, A, _>(name, description, move |call, arguments, selection| {
        let changing = change(call, arguments);
        async move {
            match changing.await {
                Ok(done) => Ok(selection.write_later(Ok(done))),
                Err(Failure::UserErrors(errors)) => Ok(selection.write_later(Err(errors))),
                Err(Failure::Failed(error)) => Err(error),
            }
        }
    });
}
