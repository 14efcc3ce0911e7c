//! Which documents are run: all that the specification calls valid, and no others.

use serde_json::json;

use crate::{
    execution::{answers, refuses, two},
    harness::{Chat, code, text},
};

#[tokio::test(flavor = "multi_thread")]
async fn strings_of_every_form_are_read() {
    let chat = Chat::open().await;
    two(&chat).await;
    let sends = async |content: &str| {
        let input = format!("{{ senderId: 1, receiverId: 2, content: {content} }}");
        let data = chat
            .data(&format!("mutation {{ sendMessage(input: {input}) {{ message {{ content }} }} }}"), json!({}))
            .await;
        text(&data["sendMessage"]["message"]["content"])
    };
    for (literal, content) in [
        (r#""Hi \ud83d\udc4b""#, "Hi 👋"),
        (r#""\u{1F44B}\u{61}\u0062""#, "👋ab"),
        (r#""""say \""" thrice""""#, r#"say """ thrice"#),
        ("\"\"\"\n    one\n      two\n\n    three \\n\n  \"\"\"", "one\n  two\n\nthree \\n"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
    ] {
        assert_eq!(sends(literal).await, content, "{literal}");
    }
    let cases = [r#""\ud83d""#, r#""\u{110000}""#, r#""\udc4b\ud83d""#, r#""\u{}""#]
        .map(|id| format!("{{ node(id: {id}) {{ id }} }}"));
    for query in cases {
        refuses(&chat, &[(&query, json!({}))], "GRAPHQL_PARSE_FAILED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_documents_are_not_refused() {
    let chat = Chat::open().await;
    two(&chat).await;
    let deeper = |last: u8| {
        format!("lastMessage {{ conversation {{ messages(last: {last}) {{ pageInfo {{ hasNextPage }} }} }} }}")
    };
    let disjoint = format!(
        "{{ node(id: \"cnv_1_2\") {{
            ... on Conversation {{ id x: {} }}
            ... on Message {{ x: replyTo {{ conversation {{ messages(last: 2) {{ pageInfo {{ hasNextPage }} }} }} }} }}
        }} }}",
        deeper(1)
    );
    answers(
        &chat,
        &[
            (
                &disjoint,
                json!({}),
                r#"{"node":{"id":"cnv_1_2","x":{"conversation":{"messages":{"pageInfo":{"hasNextPage":false}}}}}}"#,
            ),
            (
                "query ($t: Boolean!) { server { version @skip(if: true) __typename @include(if: $t) } }",
                json!({ "t": true }),
                r#"{"server":{"__typename":"ServerInfo"}}"#,
            ),
            ("{ users(first: -0) { nodes { id } } }", json!({}), r#"{"users":{"nodes":[]}}"#),
            ("query ($n: Int) { users(first: $n) { nodes { id } } }", json!({ "n": -0.0 }), r#"{"users":{"nodes":[]}}"#),
            (
                r#"{ __type(name: "Node") { kind interfaces { name } } }"#,
                json!({}),
                r#"{"__type":{"kind":"INTERFACE","interfaces":[]}}"#,
            ),
            (
                r#"query ($n: String!) { a: __type(name: $n) { name } __schema { queryType { ...T } } b: __type(name: "Nothing") { name } }
                   fragment T on __Type { name kind __typename }"#,
                json!({ "n": "User" }),
                r#"{"a":{"name":"User"},"__schema":{"queryType":{"name":"Query","kind":"OBJECT","__typename":"__Type"}},"b":null}"#,
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_documents_are_not_run() {
    let chat = Chat::open().await;
    two(&chat).await;
    let input = r#"{ senderId: 1, receiverId: 2, content: "x" }"#;
    let with_default = |default: &str| {
        format!("mutation ($i: SendMessageInput! = {default}) {{ sendMessage(input: $i) {{ message {{ id }} }} }}")
    };
    let duplicate_default = with_default(r#"{ receiverId: 2, receiverId: 2, content: "x" }"#);
    refuses(
        &chat,
        &[
            (r#"mutation { updateUser(id: 1, input: { name: "Eve", name: "Eve" }) { user { name } } }"#, json!({})),
            (&duplicate_default, json!({})),
            ("query ($s: ID) { users(search: $s) { nodes { id } } }", json!({ "s": "ada" })),
            ("query ($i: ID) { user(id: $i) { id } }", json!({ "i": 1 })),
            ("query ($i: [ID]) { nodes(ids: $i) { id } }", json!({ "i": [1] })),
            ("query ($b: Boolean) { server @skip(if: $b) { version } }", json!({ "b": false })),
            ("query ($b: Boolean = null) { server @skip(if: $b) { version } }", json!({ "b": false })),
            ("query ($i: ID = null) { user(id: $i) { id } }", json!({ "i": 1 })),
            (
                "mutation ($i: ID = null) { markRead(userId: 1, messageId: $i) { userErrors { code } } }",
                json!({ "i": 1 }),
            ),
            ("{ server { __typename(x: 1) } }", json!({})),
            ("{ server { __typename { version } } }", json!({})),
            ("{ server { __typename @skip } }", json!({})),
            ("{ server { __typename @unknown } }", json!({})),
            ("{ server { __typename @skip(if: false) @skip(if: false) } }", json!({})),
        ],
        "GRAPHQL_VALIDATION_FAILED",
    )
    .await;
    let (number, list) = (with_default("1"), with_default("[]"));
    refuses(&chat, &[(&number, json!({ "i": input })), (&list, json!({}))], "BAD_USER_INPUT").await;
    for query in ["{ user(id: 1 name) { id } }", "{ server { version @include(if: true no) } }"] {
        refuses(&chat, &[(query, json!({}))], "GRAPHQL_PARSE_FAILED").await;
    }
    assert_eq!(chat.data("{ user(id: 1) { name } }", json!({})).await["user"]["name"], "Ada");
    assert_eq!(
        chat.data("{ messages { nodes { id } } }", json!({})).await["messages"]["nodes"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_null_is_neither_true_nor_false() {
    let chat = Chat::open().await;
    two(&chat).await;
    let draft = r#"mutation ($draft: Boolean = true) {
        sendMessage(input: { senderId: 1, receiverId: 2, content: "only a draft" }) @skip(if: $draft) { message { id } }
    }"#;
    let answer = chat.ask(draft, json!({ "draft": null })).await;
    let why = "The variable `$draft` must be true or false: `@skip` asks for it.";
    assert_eq!((code(&answer).as_str(), &answer["errors"][0]["message"]), ("BAD_USER_INPUT", &json!(why)));
    assert_eq!(answer["errors"][0]["locations"], json!([{ "line": 2, "column": 95 }]));
    // The plan for another value is cached.
    let query = "query ($more: Boolean = true) { server { version maxPageSize @include(if: $more) } }";
    let version = env!("CARGO_PKG_VERSION");
    let (short, long) = (json!({ "version": version }), json!({ "version": version, "maxPageSize": 100 }));
    for (more, expected) in [(json!({ "more": false }), short), (json!({}), long)] {
        assert_eq!(chat.data(query, more).await["server"], expected);
        refuses(&chat, &[(query, json!({ "more": null }))], "BAD_USER_INPUT").await;
    }
    // What is left out already does not ask.
    answers(
        &chat,
        &[
            (draft, json!({}), "{}"),
            (
                "query ($n: Boolean = true) { server { version @skip(if: true) @include(if: $n) } }",
                json!({ "n": null }),
                r#"{"server":{}}"#,
            ),
        ],
    )
    .await;
    let messages = chat.data("{ messages { nodes { id } } }", json!({})).await;
    assert_eq!(messages, json!({ "messages": { "nodes": [{ "id": "msg_1" }] } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_other_lengths_are_other_arguments() {
    let chat = Chat::open().await;
    two(&chat).await;
    let query =
        r#"{ nodes(ids: ["usr_1"]) { id } ...F } fragment F on Query { nodes(ids: ["usr_1", "msg_1"]) { id } }"#;
    let same = r#"{ nodes(ids: ["usr_1", "msg_1"]) { id } ...F } fragment F on Query { nodes(ids: ["usr_1", "msg_1"]) { id } }"#;
    let more = r#"{ nodes(ids: []) { id } ... on Query { nodes(ids: ["usr_1"]) { id } } }"#;
    refuses(&chat, &[(query, json!({})), (more, json!({}))], "GRAPHQL_VALIDATION_FAILED").await;
    let error = chat.ask(query, json!({})).await["errors"][0].take();
    assert_eq!(error["message"], "`nodes` stands for one field, and cannot have different arguments.");
    assert_eq!(error["locations"], json!([{ "line": 1, "column": 61 }]));
    answers(&chat, &[(same, json!({}), r#"{"nodes":[{"id":"usr_1"},{"id":"msg_1"}]}"#)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_columns_are_those_of_the_specification() {
    let chat = Chat::open().await;
    for (query, line, column) in [
        (r#"{ node(id: "é") { x } }"#, 1, 19),
        ("{ # \u{b} \u{c} \u{85} \u{2028} \u{2029}\n  node(id: 1) { x } }", 2, 17),
        ("{\r\n node(id: 1) {\r x } }", 3, 2),
        // Of a field that fails, of a variable, and of what is no GraphQL.
        (r#"{ a: node(id: "é👋") { id } user(id: "x") { id } }"#, 1, 28),
        ("query ( # é\n  $id: ID!) { user(id: $id) { id } }", 2, 3),
        ("{ node(id: \"é\") { id }\n\r\n } }", 3, 4),
        ("{\n user(id) { id } }", 2, 7),
    ] {
        let answer = chat.ask(query, json!({})).await;
        assert_eq!(answer["errors"][0]["locations"], json!([{ "line": line, "column": column }]), "{query}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_is_none_is_told_by_its_field() {
    let chat = Chat::open().await;
    let literal = r#"{ searchMessages(input: { text: "x", since: "yesterday" }) { pending } }"#;
    let variable = "query ($i: SearchMessagesInput!) {\n searchMessages(input: $i) { pending } }";
    let input = json!({ "i": { "text": "x", "since": "yesterday" } });
    for (query, variables, place) in [
        (literal, json!({}), json!([{ "line": 1, "column": 3 }])),
        (variable, input, json!([{ "line": 2, "column": 2 }])),
    ] {
        let answer = chat.ask(query, variables).await;
        assert_eq!((code(&answer).as_str(), &answer["errors"][0]["locations"]), ("BAD_USER_INPUT", &place));
        let why = text(&answer["errors"][0]["message"]);
        assert!(why.starts_with("Failed to parse \"DateTime\": ") && !why.contains("occurred"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_an_id_however_large_it_is() {
    let chat = Chat::open().await;
    two(&chat).await;
    let digits = "9".repeat(400);
    let (large, default) = (
        format!("{{ node(id: {digits}) {{ id }} }}"),
        format!("query ($id: ID = {digits}) {{ node(id: $id) {{ id }} }}"),
    );
    let query = "query ($id: ID!) { node(id: $id) { id } }";
    let none = r#"{"node":null}"#;
    answers(
        &chat,
        &[
            ("{ node(id: 9223372036854775808) { id } }", json!({}), none),
            (&large, json!({}), none),
            (&default, json!({}), none),
            (query, json!({ "id": 9_223_372_036_854_775_808_u64 }), none),
            (query, json!({ "id": 1e30 }), none),
            ("{ user(id: 1) { id } }", json!({}), r#"{"user":{"id":"usr_1"}}"#),
        ],
    )
    .await;
    refuses(&chat, &[(query, json!({ "id": 1.5 })), (query, json!({ "id": true }))], "BAD_USER_INPUT").await;
}
