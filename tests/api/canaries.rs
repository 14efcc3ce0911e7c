//! Defects of libraries that are worked round. Each test shows one on the bare library: when it fails, the defect is gone, and
//! so can be the work-around that it names.

use std::io::{Read as _, Write as _};

use apollo_compiler::{ExecutableDocument, Schema, validation::Valid};
use async_graphql::{InputType, Pos};
use axum::{Router, routing::get};
use reqwest::header::ACCEPT_ENCODING;
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;
use tracing_appender::non_blocking::NonBlockingBuilder;

use crate::harness::{client, soon};

const SCHEMA: &str = "
    type Query { one(id: Int): String two(of: Pair): String many(of: [Int!], text: String): String }
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

/// `DocumentStats::duplicate` in src/execution/validation.rs. <https://github.com/apollographql/apollo-rs/issues> knows none of it yet;
/// the rule: <https://spec.graphql.org/October2021/#sec-Input-Object-Field-Uniqueness>.
#[test]
fn apollo_compiler_takes_a_field_of_an_input_object_twice() {
    assert!(is_taken("{ two(of: { a: 1, a: 2 }) }"));
}

/// `DocumentStats::of` in src/execution/validation.rs. The grammar: <https://spec.graphql.org/October2021/#Argument>.
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

/// The field that src/execution/schema.rs adds, and what it says of each type:
/// <https://spec.graphql.org/September2025/#sec-The-__Type-Type>.
#[test]
fn apollo_compiler_does_not_know_is_one_of() {
    assert!(is_taken("{ __type(name: \"Pair\") { name } }"));
    assert!(!is_taken("{ __type(name: \"Pair\") { isOneOf } }"));
}

/// `parse_json` in src/execution/json.rs. <https://github.com/serde-rs/json/issues> knows none of it yet.
#[test]
fn serde_json_reads_a_text_as_a_value() {
    let value: serde_json::Value = serde_json::from_str(r#"{"$serde_json::private::RawValue": "[1]"}"#).unwrap();
    assert_eq!(value, serde_json::json!([1]));
}

/// `have_same_lengths` in src/execution/plan.rs. The rule: <https://spec.graphql.org/October2021/#sec-Field-Selection-Merging>.
#[test]
fn apollo_compiler_compares_lists_as_far_as_the_shorter_one_goes() {
    assert!(is_taken("{ many(of: [1]) many(of: [1, 2]) }"));
    assert!(!is_taken("{ many(of: [1]) many(of: [2]) }"));
}

/// `LineIndex` in src/execution/errors.rs. Lines: <https://spec.graphql.org/October2021/#sec-Line-Terminators>.
#[test]
fn apollo_compiler_counts_columns_in_bytes_and_has_other_lines() {
    let place = |document: &str| {
        let invalid = ExecutableDocument::parse_and_validate(&schema(), document, "document.graphql").unwrap_err();
        let start = invalid.errors.iter().next().unwrap().line_column_range().unwrap().start;
        (start.line, start.column)
    };
    assert_eq!(place(r#"{ many(text: "é") none }"#), (1, 20), "it is the 19th character");
    assert_eq!(place("{ # \u{2028}\n none }"), (3, 2), "it is the second line");
}

/// The table in docs/concepts/graphql.md. Descriptions:
/// <https://spec.graphql.org/September2025/#sec-Descriptions>.
#[test]
fn apollo_parser_takes_no_descriptions_of_operations() {
    assert!(!is_taken("\"What it is for.\" query { one }"));
    assert!(!is_taken("query (\"What it is.\" $id: Int) { one(id: $id) }"));
}

/// The table in docs/concepts/graphql.md. Said in <https://github.com/apollographql/apollo-rs/pull/1030>; the rule:
/// <https://spec.graphql.org/October2021/#sec-All-Variable-Usages-are-Allowed>.
#[test]
fn apollo_compiler_does_not_look_at_variables_in_lists_and_input_objects() {
    assert!(is_taken("query ($n: Int) { many(of: [$n]) }"));
    assert!(!is_taken("query ($n: [Int]) { many(of: $n) }"));
}

/// `without_null_defaults` in src/execution/validation.rs. <https://github.com/apollographql/apollo-rs/issues> knows none of it yet; the
/// rule: <https://spec.graphql.org/October2021/#IsVariableUsageAllowed()>.
#[test]
fn apollo_compiler_takes_null_for_a_default_with_which_nothing_is_null() {
    assert!(is_taken("query ($if: Boolean = null) { one @skip(if: $if) }"));
    assert!(!is_taken("query ($if: Boolean) { one @skip(if: $if) }"));
}

/// `errors` in src/execution/validation.rs: a field that is not there is followed by what is then missing.
/// <https://github.com/apollographql/apollo-rs/issues> knows none of it yet.
#[test]
fn apollo_compiler_misses_selections_where_none_is_known() {
    let document = "subscription { events { unknown } }";
    let found = ExecutableDocument::parse_and_validate(&schema(), document, "document.graphql").unwrap_err();
    let names: Vec<_> = found.errors.iter().filter_map(|found| found.error.unstable_error_name()).collect();
    assert!(names.contains(&"UndefinedField") && names.contains(&"MissingSubselection"), "{names:?}");
}

/// `parser` in src/execution/arguments.rs. <https://github.com/async-graphql/async-graphql/issues> knows none of it yet.
#[test]
fn async_graphql_adds_the_types_around_to_what_is_wrong() {
    let error = <Option<i32>>::parse(Some("x".into())).unwrap_err().propagate::<Vec<i32>>();
    assert!(error.into_server_error(Pos::default()).message.contains(" (occurred while parsing"));
}

/// The table in docs/concepts/graphql.md. The argument: <https://spec.graphql.org/September2025/#sec-The-__Type-Type>.
#[test]
fn apollo_compiler_takes_null_for_include_deprecated() {
    assert!(is_taken("{ __type(name: \"Pair\") { fields(includeDeprecated: null) { name } } }"));
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

/// `check_text` in src/execution/limits.rs. The grammar: <https://spec.graphql.org/October2021/#StringValue>.
#[test]
fn apollo_parser_takes_a_line_break_directly_after_the_quote_of_a_string() {
    assert!(is_taken("{ many(text: \"\na\") }"));
    assert!(!is_taken("{ many(text: \"a\n\") }"));
}

/// `Log` in src/telemetry.rs: the guard of a log that nobody reads prints on standard output, and panics where that is closed
/// (`WorkerGuard::drop` in <https://github.com/tokio-rs/tracing/blob/main/tracing-appender/src/non_blocking.rs>).
#[test]
fn tracing_appender_prints_where_nobody_reads_the_log() {
    const CHILD: &str = "DUOLOGUE_TEST_UNREAD_LOG";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "canaries::tracing_appender_prints_where_nobody_reads_the_log", "--nocapture"]);
        let printed = String::from_utf8(child.env(CHILD, "1").output().unwrap().stdout).unwrap();
        assert!(printed.contains("Failed to send shutdown signal"), "{printed}");
        return;
    }
    let (mut unread, full) = std::io::pipe().unwrap();
    let (mut writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(1).finish(full);
    // More than the pipe holds: it is being written, and waits.
    let line = vec![b'x'; 1 << 20];
    writer.write_all(&line).unwrap();
    unread.read_exact(&mut [0]).unwrap();
    // And more than the queue holds.
    while writer.error_counter().dropped_lines() == 0 {
        writer.write_all(&line).unwrap();
    }
    drop(guard);
    drop(unread);
}
