//! The roots of the schema, to which each noun adds its fields.

/// What can be asked.
pub(super) struct Query;

/// What can be done.
pub(super) struct Mutation;

/// What can be followed.
pub(super) struct Subscription;
