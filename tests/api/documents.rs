//! Documents: what may be asked for at most, and that asking for more is refused before it costs anything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    harness::{Chat, code},
    resume::cursor,
};

/// The query that GraphiQL and other tools send first.
const INTROSPECTION: &str = include_str!("introspection.graphql");

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_does_not_go_off() {
    let chat = Chat::open().await;
    // Each fragment asks for twice as much as the one before.
    let fragments = |on: &str, leaf: &str| {
        let spreads = (0..30).map(|n| {
            let inner = format!("sender {{ ...F{} }}", n + 1);
            format!("fragment F{n} on User {{ a: sentMessages {{ nodes {{ {inner} }} }} b: sentMessages {{ nodes {{ {inner} }} }} }} ")
        });
        format!("{on} {} fragment F30 on User {{ {leaf} }}", spreads.collect::<String>())
    };
    let aliases: String = (0..10_000).map(|n| format!("a{n}: __typename ")).collect();
    let some_aliases: String = (0..31).map(|n| format!("a{n}: __typename ")).collect();
    let roots: String = (0..21).map(|n| format!("a{n}: server {{ version }} ")).collect();
    let directives = "@include(if: true) ".repeat(5_000);
    let some_directives = "@include(if: true) ".repeat(51);
    let deep = |levels: usize| {
        "{ user(id: 1) ".to_owned() + &"{ conversations(first: 1) { nodes { members { user ".repeat(levels)
    };
    let many_operations: String = (0..90).map(|n| format!("query q{n} {{ server {{ ...A }} }} ")).collect::<String>()
        + &format!(
            "fragment A on ServerInfo {{ version {} }} fragment B on ServerInfo {{ version }}",
            "...B ".repeat(200)
        );
    for (query, expected) in [
        (fragments("{ user(id: 1) { ...F0 } }", "name"), "QUERY_TOO_COMPLEX"),
        (fragments("{ user(id: 1) { ...F0 } }", "__typename"), "QUERY_TOO_COMPLEX"),
        (fragments("{ __typename }", "name"), "GRAPHQL_VALIDATION_FAILED"),
        (fragments("{ user(id: 1) { ...F0 } }", "...Missing"), "GRAPHQL_VALIDATION_FAILED"),
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
        ("\"\" ".repeat(50_000), "QUERY_TOO_COMPLEX"),
        ("\"".repeat(100_001), "QUERY_TOO_COMPLEX"),
        // Nothing hides in what looks like one token, or like a string.
        (format!("{{ nodes(ids: [1{}]) {{ id }} }}", "-1".repeat(100_000)), "QUERY_TOO_COMPLEX"),
        (
            format!("{{ server {{ version{} }} }} fragment B on ServerInfo {{ version }}", "...B".repeat(30_000)),
            "QUERY_TOO_COMPLEX",
        ),
        (
            format!("query A {{ nodes(ids: [\"\"\"a\"]) {{ id }} }} {}", "query B { __typename } ".repeat(10_000)),
            "GRAPHQL_PARSE_FAILED",
        ),
        (format!("{{ node(id: \"a\n\") {{ id }} }} {}", "{".repeat(100_000)), "GRAPHQL_PARSE_FAILED"),
        (many_operations, "GRAPHQL_VALIDATION_FAILED"),
        ("{ __typename } fragment A on Query { ...A }".into(), "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let begun = Instant::now();
        let answer = chat.ask(&query, json!({})).await;
        let start: String = query.chars().take(60).collect();
        assert_eq!(answer["errors"][0]["extensions"]["code"], expected, "{start}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{start} took {:?}", begun.elapsed());
        assert!(answer.get("data").is_none(), "{start}");
    }
}

/// A fragment that is spread several times in one place is one fragment: these are small.
#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_a_bomb_is_answered() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let fragments = |on: &str| {
        let spreads = (0..30).map(|n| format!("fragment F{n} on {on} {{ ...F{0} ...F{0} }} ", n + 1));
        spreads.collect::<String>()
    };
    let begun = Instant::now();
    let query = format!("{{ ...F0 }} {} fragment F30 on Query {{ server {{ version }} }}", fragments("Query"));
    assert_eq!(chat.data(&query, json!({})).await, json!({ "server": { "version": env!("CARGO_PKG_VERSION") } }));
    let query = format!("{{ user(id: 1) {{ ...F0 }} }} {} fragment F30 on User {{ name }}", fragments("User"));
    assert_eq!(chat.data(&query, json!({})).await, json!({ "user": { "name": "Ada" } }));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// Each of them compares thousands of texts.
#[tokio::test(flavor = "multi_thread")]
async fn several_searches_in_one_document_are_too_complex() {
    let chat = Chat::open().await;
    let repeated = |times: usize, field: &str| (0..times).map(|n| format!("s{n}: {field} ")).collect::<String>();
    let messages = |times: usize| repeated(times, "searchMessages(input: { text: \"x\" }, first: 1) { nodes { id } }");
    let in_fragment = |times: usize| format!("{{ ...A }} fragment A on Query {{ {} }}", messages(times));
    let users = |times: usize| {
        format!(
            "query ($search: String) {{ {} }}",
            repeated(times, "users(search: $search, first: 1) { nodes { id } }")
        )
    };
    let one = "users(search: \"x\", first: 1) { nodes { id } }";
    let found = chat.data(&format!("{{ {} }}", messages(4)), json!({})).await;
    assert_eq!(found.as_object().unwrap().len(), 4);
    chat.data(&in_fragment(4), json!({})).await;
    chat.data(&users(9), json!({ "search": "x" })).await;
    // These do not search.
    chat.data(&users(10), json!({})).await;
    for (query, variables) in [
        (format!("{{ {} }}", messages(5)), json!({})),
        (in_fragment(5), json!({})),
        (users(10), json!({ "search": "x" })),
        (format!("{{ {} a: {one} b: {one} }}", messages(4)), json!({})),
    ] {
        assert_eq!(chat.code(&query, variables).await, "QUERY_TOO_COMPLEX", "{query}");
    }
}

/// A list writes it for each of its items.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_short() {
    let chat = Chat::open().await;
    let aliased = |length: usize| format!("{{ server {{ {}: version }} }}", "x".repeat(length));
    chat.data(&aliased(128), json!({})).await;
    let answer = chat.ask(&aliased(129), json!({})).await;
    let why = "An alias may have at most 128 characters: it is written into the answer.";
    assert_eq!((code(&answer).as_str(), &answer["errors"][0]["message"]), ("QUERY_TOO_COMPLEX", &json!(why)));
    assert_eq!(answer["errors"][0]["locations"], json!([{ "line": 1, "column": 12 }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_repeat_a_wrong_request() {
    let chat = Chat::open().await;
    let unknown: String = (0..200).map(|n| format!("{}{n} ", "x".repeat(600))).collect();
    let answer = chat.ask(&format!("{{ server {{ {unknown} }} }}"), json!({})).await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 20);
    assert!(answer.to_string().len() < 20_000);
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { duplicate } }";
    let answer = chat.ask(query, json!({ "input": ["x".repeat(10_000)] })).await;
    assert_eq!(code(&answer), "BAD_USER_INPUT");
    assert!(answer.to_string().len() < 500, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_run_with_a_value_that_does_not_fit() {
    let chat = Chat::open().await;
    let create = r#"createUser(input: { name: "Ada", email: "ada@example.com" }) { user { id } }"#;
    let second = "updateMessage(id: 1, input: { content: \"x\", expectedVersion: $v }) { message { id } }";
    for (declared, value, why) in [
        ("Int", json!(2_147_483_648_u64), "The variable `$v` must be a whole number from -2147483648 to 2147483647."),
        ("Int", json!("1"), "The variable `$v` must be a whole number from -2147483648 to 2147483647."),
        ("Int!", json!(null), "The variable `$v` must be of the type Int!, and not null."),
    ] {
        let answer =
            chat.ask(&format!("mutation ($v: {declared}) {{ {create} {second} }}"), json!({ "v": value })).await;
        assert_eq!(code(&answer), "BAD_USER_INPUT", "{answer}");
        assert_eq!(answer["errors"][0]["message"], why);
        assert!(answer.get("data").is_none());
    }
    let query = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id } } }";
    for (input, why) in [
        (json!([]), "The variable `$input` must be an object of the type CreateUserInput."),
        (json!({ "name": "x" }), "The variable `$input.email` must be of the type String!, and not null."),
        (json!({ "name": 5, "email": "x" }), "The variable `$input.name` must be a string."),
        (
            json!({ "name": "x", "email": "x", "age": 5 }),
            "The variable `$input` must be of the type CreateUserInput, and have no other fields than that.",
        ),
    ] {
        let answer = chat.ask(query, json!({ "input": input })).await;
        assert_eq!((code(&answer).as_str(), &answer["errors"][0]["message"]), ("BAD_USER_INPUT", &json!(why)));
    }
    for too_large in ["1e400", "-1e400", "1.5"] {
        let search = format!("{{ searchMessages(input: {{ text: \"x\", since: {too_large} }}) {{ nodes {{ id }} }} }}");
        assert_eq!(chat.code(&search, json!({})).await, "BAD_USER_INPUT", "{too_large}");
    }
    let left_out = "query ($n: Int, $s: String) { users(first: $n, search: $s) { nodes { id } } }";
    assert_eq!(chat.data(left_out, json!({})).await, json!({ "users": { "nodes": [] } }));
    assert_eq!(
        chat.data("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": "usr_1" })).await,
        json!({ "nodes": [null] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_field() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    for query in [
        "{ x: user(id: 1) { id } ... on Query { x: message(id: 1) { id content } } }",
        "{ x: user(id: 1) { id } x: user(id: 2) { id } }",
        "{ user(id: 1) { x: name } user(id: 1) { x: email } }",
        "{ user(id: 1) { x: name ... on Node { x: id } } }",
        "{ nodes(ids: [\"usr_1\"]) { ... on User { x: name } ... on Message { x: version } } }",
    ] {
        let answer = chat.ask(query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{query}");
    }
    let merged = chat
        .data(
            "{ user(id: 1) { id } ...A nodes(ids: [\"usr_1\", \"msg_1\"]) { ... on User { x: name } ... on Message { x: content } } }
             fragment A on Query { user(id: 1) { name sentMessages(last: 1) { nodes { id } } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        merged,
        json!({
            "user": { "id": "usr_1", "name": "Ada", "sentMessages": { "nodes": [{ "id": "msg_1" }] } },
            "nodes": [{ "x": "Ada" }, { "x": "Hi" }],
        })
    );
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
    // A list without pages, and a page whose size is left to the server.
    let sessions: String = (0..10).map(|n| format!("a{n}: sessions {{ id }} ")).collect();
    assert_eq!(chat.code(&format!("{{ me {{ {sessions} }} }}"), json!({})).await, "QUERY_TOO_COMPLEX");
    let few = Chat::with(&["--max-complexity", "160"]).await;
    let cursor = cursor(&few.person("Ada").await).await;
    for first in ["null", "100"] {
        let events = format!("{{ feedEvents(userId: 1, after: {cursor}, first: {first}) {{ events {{ kind at }} }} }}");
        assert_eq!(few.code(&events, json!({})).await, "QUERY_TOO_COMPLEX", "{first}");
    }
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
        ("{", "GRAPHQL_PARSE_FAILED", "The document is not GraphQL: expected at least one Selection in Selection Set."),
        ("", "GRAPHQL_PARSE_FAILED", ""),
        ("{ user }", "GRAPHQL_VALIDATION_FAILED", ""),
        ("{ usre { id } }", "GRAPHQL_VALIDATION_FAILED", "Type `Query` does not have a field `usre`."),
        ("{ user(id: 1) { nmae } }", "GRAPHQL_VALIDATION_FAILED", "Type `User` does not have a field `nmae`."),
        ("{ users(frist: 1) { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED", ""),
        (
            "query A { __typename } query B { __typename }",
            "GRAPHQL_VALIDATION_FAILED",
            "The document has several operations: name one of them with `operationName`.",
        ),
        (
            "mutation ($v: String) { updateMessage(id: 1, input: { content: \"x\", expectedVersion: $v }) { message { id } } }",
            "GRAPHQL_VALIDATION_FAILED",
            "",
        ),
        ("{ users(first: ONE) { nodes { id } } }", "BAD_USER_INPUT", ""),
        (
            "query ($id: ID!) { user(id: $id) { id } }",
            "BAD_USER_INPUT",
            "The variable `$id` must be of the type ID!, and not null.",
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
