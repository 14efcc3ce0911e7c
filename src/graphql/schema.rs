//! The schema: what its roots have in them, and how an operation is planned.

use super::{
    Context, accounts, blocks,
    calls::Call,
    conversations, feed, messages, nodes,
    roots::{Mutation, Query, Subscription},
    searches, signals, users,
};
use async_graphql::SDLExportOptions;

use crate::execution::{
    Binder, CollectedField, Declared, Fields, MutationResolver, Object, OperationType, PlannedRoot, Root, RootFields,
    Selection, SubscriptionResolver,
};

type PublishedSchema =
    async_graphql::Schema<Declared<Fields<Query>>, Declared<RootFields<Mutation>>, Declared<RootFields<Subscription>>>;

/// The schema in the schema definition language, sorted.
#[must_use]
pub fn sdl() -> String {
    let (query, mutation, subscription) = Default::default();
    let sorted = SDLExportOptions::new().sorted_fields().sorted_arguments().sorted_enum_items().include_specified_by();
    PublishedSchema::build(query, mutation, subscription).finish().sdl_with_options(sorted)
}

impl Object for Query {
    const NAME: &'static str = "Query";
    const DESCRIPTION: &'static str = "Everything that can be read.";
    type Context = Context;
    type Row<'a> = ();

    fn fields(fields: &mut Fields<Self>) {
        accounts::queries(fields);
        users::queries(fields);
        messages::queries(fields);
        conversations::queries(fields);
        searches::queries(fields);
        feed::queries(fields);
        nodes::queries(fields);
    }
}

impl Root for Mutation {
    const NAME: &'static str = "Mutation";
    const DESCRIPTION: &'static str =
        "Everything that can be changed. Several changes in one request are made in their order, each on its own.";
    type Call = Call;
    type Context = Context;
    type Resolver = MutationResolver<Call, Context>;

    fn fields(fields: &mut RootFields<Self>) {
        accounts::mutations(fields);
        users::mutations(fields);
        blocks::mutations(fields);
        messages::mutations(fields);
        conversations::mutations(fields);
        signals::mutations(fields);
    }
}

impl Root for Subscription {
    const NAME: &'static str = "Subscription";
    const DESCRIPTION: &'static str = "What happens, as it happens.";
    type Call = Call;
    type Context = Context;
    type Resolver = SubscriptionResolver<Call, Context>;

    fn fields(fields: &mut RootFields<Self>) {
        feed::subscriptions(fields);
        signals::subscriptions(fields);
    }
}

/// What is asked of the schema.
pub(super) enum Planned {
    Query(Selection<Query>),
    Mutation(Vec<PlannedRoot<MutationResolver<Call, Context>>>),
    Subscription(Vec<PlannedRoot<SubscriptionResolver<Call, Context>>>),
}

impl Planned {
    /// Plans the fields of an operation.
    pub(super) fn bind(operation: OperationType, fields: &[CollectedField], binder: &mut Binder) -> Self {
        match operation {
            OperationType::Query => Self::Query(Selection::bind(fields, binder)),
            OperationType::Mutation => Self::Mutation(RootFields::<Mutation>::bind(fields, binder)),
            OperationType::Subscription => Self::Subscription(RootFields::<Subscription>::bind(fields, binder)),
        }
    }
}
