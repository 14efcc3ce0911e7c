//! The roots of the schema, to which each noun adds its fields.

use super::{Context, calls::Call};
use crate::execution::{RootFields, Source, Write};

/// What can be asked.
pub(super) struct Query;

/// What can be done.
pub(super) struct Mutation;
/// Its fields: each gives what is to be written.
pub(super) type Mutations = RootFields<Call, Write<Context>>;

/// What can be followed.
pub(super) struct Subscription;
/// Its fields: each gives the source of its events.
pub(super) type Subscriptions = RootFields<Call, Box<dyn Source<Context>>>;
