//! The types of what is asked and answered. A document that does not fit the schema does not compile.

use graphql_client::GraphQLQuery;

/// Makes a type for an operation of documents.graphql, and a module with those of its variables and its answer.
macro_rules! operations {
    ($($operation:ident),*) => { $(
        #[derive(GraphQLQuery)]
        #[graphql(
            schema_path = "../../schema.graphql",
            query_path = "src/documents.graphql",
            variables_derives = "Clone",
            response_derives = "Debug, PartialEq"
        )]
        pub struct $operation;
    )* };
}

operations!(Create, Find, SignIn, SignUp, Refresh, Me, Open, Feed, Send);
