//! Documents: what may be asked for at most, and that asking for more is refused before it costs anything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Chat, code};

/// The query that GraphiQL and other tools send first.
const INTROSPECTION: &str = include_str!("introspection.graphql");

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_does_not_go_off() {
    let chat = Chat::open().await;
    let fragments = |leaf: &str| {
        let spreads: String =
            (0..30).map(|n| format!("fragment F{n} on Query {{ ...F{0} ...F{0} }} ", n + 1)).collect();
        format!("{{ ...F0 }} {spreads} fragment F30 on Query {{ {leaf} }}")
    };
    let deep_fragments = |leaf: &str| {
        let spreads: String = (0..30).map(|n| format!("fragment F{n} on User {{ ...F{0} ...F{0} }} ", n + 1)).collect();
        format!("{{ user(id: 1) {{ ...F0 }} }} {spreads} fragment F30 on User {{ {leaf} }}")
    };
    let aliases: String = (0..10_000).map(|n| format!("a{n}: __typename ")).collect();
    let some_aliases: String = (0..31).map(|n| format!("a{n}: __typename ")).collect();
    let roots: String = (0..21).map(|_| "server { version } ").collect();
    let directives = "@include(if: true) ".repeat(5_000);
    let some_directives = "@include(if: true) ".repeat(51);
    let deep = |levels: usize| {
        "{ user(id: 1) ".to_owned() + &"{ conversations(first: 1) { nodes { members { user ".repeat(levels)
    };
    for (query, expected) in [
        (fragments("server { version }"), "QUERY_TOO_COMPLEX"),
        (fragments("__typename"), "QUERY_TOO_COMPLEX"),
        (deep_fragments("name"), "QUERY_TOO_COMPLEX"),
        (deep_fragments("__typename"), "QUERY_TOO_COMPLEX"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(), "GRAPHQL_VALIDATION_FAILED"),
        ("{ ...A } fragment A on Query { server { version } ...A }".into(), "GRAPHQL_VALIDATION_FAILED"),
        (format!("{{ {aliases} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ {some_aliases} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ {roots} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ server {directives} {{ version }} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ server {some_directives} {{ version }} }}"), "QUERY_TOO_COMPLEX"),
        ("{ a ".repeat(10_000), "QUERY_TOO_DEEP"),
        ("{".repeat(100_000), "QUERY_TOO_DEEP"),
        (deep(3) + "{ id }" + &" } } } }".repeat(3) + " }", "QUERY_TOO_DEEP"),
        (
            format!("{{ users(first: {}{}) {{ nodes {{ id }} }} }}", "[".repeat(10_000), "]".repeat(10_000)),
            "QUERY_TOO_DEEP",
        ),
        (
            format!("{{ users(first: {}1{}) {{ nodes {{ id }} }} }}", "{a:".repeat(10_000), "}".repeat(10_000)),
            "QUERY_TOO_DEEP",
        ),
        (format!("query ($a: {}Int{}) {{ __typename }}", "[".repeat(10_000), "]".repeat(10_000)), "QUERY_TOO_DEEP"),
        ("{ users(first: 100) { nodes { sentMessages(first: 100) { nodes { id } } } } }".into(), "QUERY_TOO_COMPLEX"),
        ("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }".into(), "QUERY_TOO_DEEP"),
        ("a ".repeat(2_001), "QUERY_TOO_COMPLEX"),
        ("\"".repeat(100_000), "QUERY_TOO_COMPLEX"),
    ] {
        let begun = Instant::now();
        let answer = chat.ask(&query, json!({})).await;
        let start: String = query.chars().take(60).collect();
        assert_eq!(code(&answer), expected, "{start}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{start} took {:?}", begun.elapsed());
        assert!(answer.get("data").is_none(), "{start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_variable_asks_for_counts_too() {
    let chat = Chat::open().await;
    let by_variable = "query ($n: Int) { users(first: $n) { nodes { sentMessages(first: $n) { nodes { id } } } } }";
    assert_eq!(chat.code(by_variable, json!({ "n": 100 })).await, "QUERY_TOO_COMPLEX");
    chat.data(by_variable, json!({ "n": 10 })).await;
    let by_default =
        "query ($n: Int = 100) { users(first: $n) { nodes { sentMessages(first: $n) { nodes { id } } } } }";
    assert_eq!(chat.code(by_default, json!({})).await, "QUERY_TOO_COMPLEX");
}

#[tokio::test(flavor = "multi_thread")]
async fn brackets_in_texts_and_comments_do_not_count() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let brackets = "{[(".repeat(100);
    let query = format!(
        "mutation {{ # {brackets}\n sendMessage(input: {{ senderId: {ada:?}, receiverId: {bob:?},
             content: \"\"\"{brackets} \" {brackets}\"\"\", clientId: \"\\\"{{{{\" }}) {{ message {{ content }} }} }}",
        ada = ada.id,
        bob = bob.id,
    );
    let data = chat.data(&query, json!({})).await;
    assert_eq!(data["sendMessage"]["message"]["content"], format!("{brackets} \" {brackets}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_introspection_is_answered() {
    let chat = Chat::open().await;
    let data = chat.data(INTROSPECTION, json!({})).await;
    assert_eq!(data["__schema"]["subscriptionType"]["name"], "Subscription");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_a_code_and_tell_no_names() {
    let chat = Chat::open().await;
    for (query, expected, message) in [
        ("{", "GRAPHQL_PARSE_FAILED", "The document is not GraphQL: expected selection."),
        ("", "GRAPHQL_PARSE_FAILED", "The document is not GraphQL: expected executable_definition."),
        ("{ user }", "GRAPHQL_VALIDATION_FAILED", ""),
        ("{ usre { id } }", "GRAPHQL_VALIDATION_FAILED", "Unknown field \"usre\" on type \"Query\"."),
        ("{ user(id: 1) { nmae } }", "GRAPHQL_VALIDATION_FAILED", "Unknown field \"nmae\" on type \"User\"."),
        ("{ users(frist: 1) { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED", ""),
        ("{ users(first: ONE) { nodes { id } } }", "BAD_USER_INPUT", ""),
        (
            "query ($id: ID!) { user(id: $id) { id } }",
            "BAD_USER_INPUT",
            "The variable $id needs a value of the type ID!.",
        ),
        (r#"{ user(id: "nobody") { id } }"#, "BAD_USER_INPUT", "This is not the id of a user. Ids look like usr_1."),
        ("subscription { feed { kind } }", "BAD_REQUEST", ""),
    ] {
        let answer = chat.ask(query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], expected, "{query}");
        let said = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.is_empty() || said == message, "{query}: {said}");
        assert!(!said.contains("Did you mean"), "{query}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_field_is_null_or_takes_along_what_must_not_be_null() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let answer =
        chat.ask(r#"{ a: server { version } b: user(id: "x") { id } c: user(id: 1) { name } }"#, json!({})).await;
    assert_eq!(answer["data"]["b"], json!(null));
    assert_eq!(answer["data"]["c"], json!({ "name": "Ada" }));
    let answer = chat
        .ask("{ user(id: 1) { name sentMessages(first: -1) { nodes { id } } } server { version } }", json!({}))
        .await;
    assert_eq!(answer["data"], json!({ "user": null, "server": { "version": env!("CARGO_PKG_VERSION") } }));
    let answer = chat.ask("{ server { version } users(first: -1) { nodes { id } } }", json!({})).await;
    assert_eq!(answer["data"], json!(null));
    assert_eq!(answer["errors"][0]["path"], json!(["users"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_come_in_the_order_asked() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let query = "query Q { user(id: 1) { id ...A createdAt ... on User { email } name } server { version } }
        fragment A on User { name sentMessages { pageInfo { hasNextPage } nodes { id } } id }";
    let body = json!({ "query": query });
    let text = chat.http.post(chat.url("/graphql")).json(&body).send().await.unwrap().text().await.unwrap();
    let expected = concat!(
        r#"{"data":{"user":{"id":"usr_1","name":"Ada","sentMessages":{"pageInfo":{"hasNextPage":false},"nodes":[]},"#,
        r#""createdAt":"2026-01-31T12:00:00.000Z","email":"ada@example.com"},"server":{"version":"0.1.0"}}}"#
    );
    assert_eq!(text, expected);
}
