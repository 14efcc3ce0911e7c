//! Defects of libraries that are worked round. Each test shows one on the bare library: when it fails, the defect is gone, and
//! so can be the work-around that it names.

use apollo_compiler::{ExecutableDocument, Schema, validation::Valid};
use axum::{Router, routing::get};
use reqwest::header::ACCEPT_ENCODING;
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;

use crate::harness::{client, soon};

const SCHEMA: &str = "
    type Query { one(id: Int): String two(of: Pair): String }
    input Pair { a: Int b: Int }
    type Subscription { events(of: Int): Event }
    type Event { id: ID name: String }
";

fn schema() -> Valid<Schema> {
    Schema::parse_and_validate(SCHEMA, "schema.graphql").unwrap()
}

fn is_taken(document: &str) -> bool {
    ExecutableDocument::parse_and_validate(&schema(), document, "document.graphql").is_ok()
}

/// `Survey::duplicate` in src/execution/validation.rs. <https://github.com/apollographql/apollo-rs/issues> knows none of it yet;
/// the rule: <https://spec.graphql.org/October2021/#sec-Input-Object-Field-Uniqueness>.
#[test]
fn apollo_compiler_takes_a_field_of_an_input_object_twice() {
    assert!(is_taken("{ two(of: { a: 1, a: 2 }) }"));
}

/// `check_values` in src/execution/validation.rs. The grammar: <https://spec.graphql.org/October2021/#Argument>.
#[test]
fn apollo_parser_takes_an_argument_without_a_value() {
    assert!(is_taken("{ one(id: 1 name) }"));
    assert!(is_taken("{ two(of: { a: 1 b }) }"));
}

/// `is_only_one_root_field` in src/execution/validation.rs.
/// The rule: <https://spec.graphql.org/October2021/#sec-Single-root-field>.
#[test]
fn apollo_compiler_counts_the_fields_of_a_subscription_and_not_its_keys() {
    assert!(is_taken("subscription { events { id } }"));
    assert!(!is_taken("subscription { events { id } events { name } }"));
}

/// `is_one_of` in src/execution/introspection.rs; and were it known, `introspection::partial_execute` could take the place of
/// that file. The field: <https://spec.graphql.org/September2025/#sec-The-__Type-Type>.
#[test]
fn apollo_compiler_does_not_know_is_one_of() {
    assert!(is_taken("{ __type(name: \"Pair\") { name } }"));
    assert!(!is_taken("{ __type(name: \"Pair\") { isOneOf } }"));
}

/// `only_gzip` in src/http/compression.rs. <https://github.com/tower-rs/tower-http/pull/693> brought it. That a client accepts no coding
/// that there is can be known before its request is handled.
#[tokio::test]
async fn tower_http_refuses_a_coding_after_the_request_was_handled() {
    let app = Router::new().route("/", get(async || "handled")).layer(CompressionLayer::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let answer = soon(client(None).get(url).header(ACCEPT_ENCODING, "br, identity;q=0").send()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (406, "handled"));
    serving.abort();
}
