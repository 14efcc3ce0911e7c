//! Lists that are written at once are, byte for byte, what the resolvers answer.

use serde_json::json;

use crate::{
    accounts::{Member, accounts},
    harness::{Chat, SEND, text},
};

/// The answer to a query, and the same with a field at the end of each item for which the resolvers are needed. The
/// second is given without that field.
async fn both(chat: &Chat, token: Option<&str>, query: &str, extra: &str, extra_answer: &str) -> [String; 2] {
    let body = async |query: String| {
        let mut request = chat.http.post(chat.url("/graphql")).json(&json!({ "query": query }));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().text().await.unwrap()
    };
    let written = body(query.replace('%', "")).await;
    let resolved = body(query.replace('%', extra)).await;
    assert!(resolved.contains(extra_answer), "{resolved}");
    [written, resolved.replace(extra_answer, "")]
}

async fn assert_alike(chat: &Chat, token: Option<&str>, queries: &[&str], extra: &str, extra_answer: &str) {
    for query in queries {
        let [written, resolved] = both(chat, token, query, extra, extra_answer).await;
        assert_eq!(written, resolved, "{query}");
    }
}

/// `%` is where the other field goes.
const MESSAGES: [&str; 10] = [
    "{ conversation(user1: 1, user2: 2) { messages { nodes { id content createdAt editedAt version clientId % } } } }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { sender { id name email createdAt } receiver { name id } % } } } }",
    "{ conversation(user1: 1, user2: 2) { messages(last: 2) { edges { cursor node { text: content id % } } pageInfo { endCursor } } } }",
    "{ conversation(user1: 1, user2: 2) { __typename messages { __typename nodes { __typename sender { __typename id } % } } } }",
    "{ conversation(user1: 1, user2: 2) { messages { edges { __typename node { __typename id % } } } } }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { id content id sender { name } sender { id } % } } } }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { id } nodes { content % } } messages { nodes { version } } } }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { ...all ... on Message { editedAt } ... { id } % } } } }
     fragment all on Message { content sender { ...who } } fragment who on User { email id }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { id ... on Node { id } version % } } } }",
    "{ messages { nodes { id clientId % } } sent: user(id: 1) { sentMessages(first: 1) { nodes { content % } } } }",
];

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_written_as_they_are_resolved() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for (number, content) in
        ["plain", "\"quoted\" \\ and\n\ttabs", "\u{1}\u{7f}\u{2028}", "👋🏽 שלום é e\u{301} </script>"]
            .into_iter()
            .enumerate()
    {
        ada.tries_to_send(json!({ "receiverId": bob.id, "content": content, "clientId": format!("c-{number}") })).await;
    }
    let last = bob.sends("to be edited", &ada).await;
    bob.edits(&last, "edited").await;
    assert_alike(&chat, None, &MESSAGES, "zz: replyTo { id }", r#","zz":null"#).await;
    // Erased: there is no sender any more, and only those who are there have an address.
    bob.leaves(false).await;
    assert_alike(&chat, None, &MESSAGES, "zz: replyTo { id }", r#","zz":null"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_written_as_they_are_resolved() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    chat.person("Zoë").await;
    let queries = [
        "{ users { nodes { id name email createdAt % } pageInfo { hasNextPage } } }",
        "{ users(first: 1) { edges { node { __typename email % } cursor } } }",
        "{ users(last: 5) { nodes { ...short % } nodes { name } } } fragment short on User { createdAt id }",
    ];
    let (extra, answer) = ("zz: sentMessages(first: 1) { nodes { id } }", r#","zz":{"nodes":[]}"#);
    assert_alike(&chat, None, &queries, extra, answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directives_decide_about_fields_of_written_lists() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let query = "query ($yes: Boolean!, $no: Boolean!) { users { nodes {
        id name @include(if: $no) ... on User @skip(if: $yes) { email } ... @include(if: $yes) { kept: name }
    } } }";
    let data = chat.data(query, json!({ "yes": true, "no": false })).await;
    assert_eq!(data["users"]["nodes"], json!([{ "id": "usr_1", "kept": "Ada" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_twice_is_answered_for_each_time_by_itself() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hello", &bob).await;
    let conversation = |of_messages: &str| format!("{{ conversation(user1: 1, user2: 2) {{ {of_messages} }} }}");
    for skipped in [
        conversation("messages { nodes { id } nodes @skip(if: true) { content } }"),
        conversation("messages { nodes { id } } messages @skip(if: true) { nodes { content } }"),
        conversation("messages { nodes { id } } ... @include(if: false) { messages { nodes { content } } }"),
    ] {
        let data = chat.data(&skipped, json!({})).await;
        assert_eq!(data["conversation"]["messages"]["nodes"], json!([{ "id": "msg_1" }]), "{skipped}");
    }
    let elsewhere = r#"{ nodes(ids: ["usr_1", "cnv_1_2"]) {
        ... on User { list: sentMessages { nodes { id } } } ... on Conversation { list: messages { nodes { content } } }
    } }"#;
    let data = chat.data(elsewhere, json!({})).await;
    assert_eq!(data["nodes"][0]["list"]["nodes"], json!([{ "id": "msg_1" }]));
    assert_eq!(data["nodes"][1]["list"]["nodes"], json!([{ "content": "Hello" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_list_hides_what_the_viewer_may_not_see() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let input = json!({ "receiverId": bob.id, "content": "Hello", "clientId": "secret" });
    ada.asks(&chat, SEND, json!({ "input": input })).await;
    for (member, client_id, email) in [(&ada, "secret", ""), (&bob, "", "bob@example.com")] {
        let queries =
            ["{ conversation(user1: 1, user2: 2) { messages { nodes { clientId receiver { name email } % } } } }"];
        assert_alike(&chat, Some(&member.access), &queries, "zz: replyTo { id }", r#","zz":null"#).await;
        let answer = member.asks(&chat, &queries[0].replace('%', ""), json!({})).await;
        let node = &answer["data"]["conversation"]["messages"]["nodes"][0];
        let said = [&node["clientId"], &node["receiver"]["email"]].map(|value| value.as_str().unwrap_or_default());
        assert_eq!(said, [client_id, email]);
        assert_eq!(text(&node["receiver"]["name"]), "Bob");
    }
}
