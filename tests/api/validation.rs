//! Which documents are run: all that the specification calls valid, and no others.

use serde_json::json;

use crate::{
    execution::{answers, refuses, two},
    harness::{Chat, text},
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
