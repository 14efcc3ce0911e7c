//! The schema: what its roots have in them, and how an operation is planned.

use std::sync::Arc;

use async_graphql::{
    SDLExportOptions, Value,
    registry::{MetaType, Registry},
};

use super::{
    Call, Context, Mutations, Query, Source, Subscriptions, accounts, blocks, conversations, feed, messages, nodes,
    searches, signals, users,
};
use crate::execution::{
    self, Binder, CollectedField, Declare, Declared, Fields, Object, OperationType, RootResolver, Selection, WriteFn,
};

type PublishedSchema = async_graphql::Schema<Declared<Fields<Query>>, Declared<Mutation>, Declared<Subscription>>;

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

/// What can be done.
pub(super) struct Mutation;

impl Mutation {
    fn fields() -> Mutations {
        let mut fields = Mutations::default();
        accounts::mutations(&mut fields);
        users::mutations(&mut fields);
        blocks::mutations(&mut fields);
        messages::mutations(&mut fields);
        conversations::mutations(&mut fields);
        signals::mutations(&mut fields);
        fields
    }
}

impl Declare for Mutation {
    const NAME: &'static str = "Mutation";

    fn describe(registry: &mut Registry) -> MetaType {
        let description = "Everything that can be changed. Several changes in one request are made in their order, each on its own, \
                           until one fails with an error.";
        Self::fields().describe(Self::NAME, description, registry)
    }
}

/// What can be followed.
struct Subscription;

impl Subscription {
    fn fields() -> Subscriptions {
        let mut fields = Subscriptions::default();
        feed::subscriptions(&mut fields);
        signals::subscriptions(&mut fields);
        fields
    }
}

impl Declare for Subscription {
    const NAME: &'static str = "Subscription";

    fn describe(registry: &mut Registry) -> MetaType {
        Self::fields().describe(Self::NAME, "What happens, as it happens.", registry)
    }
}

/// Fields that a search for users counts for besides those that it fills.
const USER_SEARCH: u64 = 500;
/// What the sessions of an account count for besides: they are a list without pages, of up to 100.
const SESSIONS: u64 = 500;
/// What a search over messages counts for besides: it compares thousands of texts.
const MESSAGE_SEARCH: u64 = 1_000;

/// What searches and long lists count for besides the fields that they fill.
pub(super) fn additional_cost(field: &str, arguments: &Value) -> u64 {
    let searches_users = matches!(arguments, Value::Object(all) if matches!(all.get("search"), Some(Value::String(_))));
    if field == searches::FIELD {
        MESSAGE_SEARCH
    } else if searches_users {
        USER_SEARCH
    } else if field == "sessions" {
        SESSIONS
    } else {
        0
    }
}

/// How the fields at the root of an operation are resolved.
pub struct RootPlan(pub(super) Root);

/// A request that keeps the limits and names an operation.
pub type Prepared = execution::Prepared<RootPlan>;

/// `None` stands for `__typename`.
pub(super) enum Root {
    Query(WriteFn<Context>),
    Mutation(Vec<Option<RootResolver<Call, WriteFn<Context>>>>),
    /// It has one field.
    Subscription(Option<RootResolver<Call, Box<dyn Source>>>),
}

impl RootPlan {
    /// Binds the fields of an operation to their resolvers.
    pub(super) fn bind(operation: OperationType, fields: &[CollectedField], binder: &mut Binder) -> Self {
        Self(match operation {
            OperationType::Query => {
                let selection = Selection::<Query>::bind(fields, binder);
                Root::Query(Arc::new(move |context, writer| selection.write((), context, writer)))
            }
            OperationType::Mutation => {
                let mutations = Mutation::fields();
                Root::Mutation(fields.iter().map(|field| mutations.bind(field, binder)).collect())
            }
            OperationType::Subscription => {
                Root::Subscription(fields.first().and_then(|field| Subscription::fields().bind(field, binder)))
            }
        })
    }
}
