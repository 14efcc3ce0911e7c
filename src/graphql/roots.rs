//! The roots of the schema: what can be asked, done and followed.

use super::{Context, accounts, blocks, calls::Call, conversations, feed, messages, nodes, signals, users};
use crate::execution::{
    Binder, CollectedField, Fields, MutationRoot, Mutations, Object, OperationType, PlannedMutation,
    PlannedSubscription, Selection, SubscriptionRoot, Subscriptions,
};

/// `Query`
pub(super) struct Query;

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
        feed::queries(fields);
        nodes::queries(fields);
    }
}

/// `Mutation`
pub(super) struct Mutation;

impl MutationRoot for Mutation {
    const DESCRIPTION: &'static str =
        "Everything that can be changed. Several changes in one request are made in their order, each on its own.";
    type Call = Call;
    type Context = Context;

    fn fields(fields: &mut Mutations<Call, Context>) {
        accounts::mutations(fields);
        users::mutations(fields);
        blocks::mutations(fields);
        messages::mutations(fields);
        conversations::mutations(fields);
        signals::mutations(fields);
    }
}

/// `Subscription`
pub(super) struct Subscription;

impl SubscriptionRoot for Subscription {
    const DESCRIPTION: &'static str = "What happens, as it happens.";
    type Call = Call;
    type Context = Context;

    fn fields(fields: &mut Subscriptions<Call, Context>) {
        feed::subscriptions(fields);
        signals::subscriptions(fields);
    }
}

/// What is asked of a root.
pub(super) enum Root {
    Query(Selection<Query>),
    Mutation(PlannedMutation<Call, Context>),
    Subscription(PlannedSubscription<Call, Context>),
}

impl Root {
    /// Plans the fields of an operation.
    pub(super) fn bind(operation: OperationType, fields: &[CollectedField], binder: &mut Binder) -> Self {
        match operation {
            OperationType::Query => Self::Query(Selection::bind(fields, binder)),
            OperationType::Mutation => Self::Mutation(Mutations::bind::<Mutation>(fields, binder)),
            OperationType::Subscription => Self::Subscription(Subscriptions::bind::<Subscription>(fields, binder)),
        }
    }
}
