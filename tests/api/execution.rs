//! How documents are run: each response key once, directives and variables as the specification has them, strings and
//! fragments of every form; over HTTP, in batches, on sockets, and where people sign in.

use serde_json::{Value, json};

use crate::{
    accounts::{Member, accounts},
    harness::{Chat, Feed, SEND, Socket, text},
};

/// What is asked, with its variables, and the answer to the byte.
pub(crate) async fn answers(chat: &Chat, cases: &[(&str, Value, &str)]) {
    for (query, variables, expected) in cases {
        let body = json!({ "query": query, "variables": variables });
        let answer = chat.http.post(chat.url("/graphql")).json(&body).send().await.unwrap().text().await.unwrap();
        assert_eq!(answer, format!("{{\"data\":{expected}}}"), "{query}");
    }
}

pub(crate) async fn refuses(chat: &Chat, cases: &[(&str, Value)], code: &str) {
    for (query, variables) in cases {
        let answer = chat.ask(query, variables.clone()).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{query}: {answer}");
        assert!(answer.get("data").is_none(), "{query}");
    }
}

/// Two users, and a message from the first to the second.
pub(crate) async fn two(chat: &Chat) -> [String; 2] {
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    [ada.id.clone(), bob.id.clone()]
}

const TWICE: &str = r#"mutation { ...A ...B }
    fragment A on Mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "once" }) { message { content } } }
    fragment B on Mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "once" }) {
        ...C userErrors { code } message { ... on Message { sender { ...D } } }
    } }
    fragment C on SendMessagePayload { message { version sender { id } } }
    fragment D on User { name id }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_response_key_is_executed_once() {
    let chat = Chat::open().await;
    two(&chat).await;
    let once = r#"{"message":{"content":"once","version":1,"sender":{"id":"usr_1","name":"Ada"}},"userErrors":[]}"#;
    answers(&chat, &[(TWICE, json!({}), &format!("{{\"sendMessage\":{once}}}"))]).await;
    // In a batch, and on a socket.
    let batch = json!([{ "query": TWICE }, { "query": "{ __typename }" }]);
    let answer: Value = chat.http.post(chat.url("/graphql")).json(&batch).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer[0]["data"]["sendMessage"]["message"]["content"], "once");
    let mut socket = Socket::ready(&chat).await;
    socket.subscribes("1", TWICE, json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["sendMessage"]["message"]["content"], "once");
    let data = chat.data("{ messages { nodes { content } } }", json!({})).await;
    assert_eq!(data["messages"]["nodes"].as_array().unwrap().len(), 1 + 3);
    // Two aliases are two keys.
    let two_keys = r#"mutation { a: createUser(input: { name: "A", email: "a@example.com" }) { user { name } }
        b: createUser(input: { name: "B", email: "b@example.com" }) { user { name } } }"#;
    answers(&chat, &[(two_keys, json!({}), r#"{"a":{"user":{"name":"A"}},"b":{"user":{"name":"B"}}}"#)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_given_once_and_a_session_is_refreshed_once() {
    let chat = Chat::open().await;
    two(&chat).await;
    let mut socket = Socket::ready(&chat).await;
    let signals = "subscription { signals(userId: 2, conversationId: \"cnv_1_2\") { kind user { name } } }";
    socket.subscribes("signals", signals, json!({})).await;
    socket.subscribes("after", "{ __typename }", json!({})).await;
    assert_eq!(socket.hears().await["id"], "after");
    let typing = |typing: bool| {
        format!(
            "mutation {{ ...A ...A ...B }}
             fragment A on Mutation {{ setTyping(conversationId: \"cnv_1_2\", userId: 1, typing: {typing}) {{ ok }} }}
             fragment B on Mutation {{ setTyping(conversationId: \"cnv_1_2\", userId: 1, typing: {typing}) {{ userErrors {{ code }} }} }}"
        )
    };
    for is_typing in [true, false] {
        chat.data(&typing(is_typing), json!({})).await;
    }
    assert_eq!(socket.hears().await["type"], "complete");
    for kind in ["TYPING", "STOPPED_TYPING"] {
        assert_eq!(
            socket.hears().await["payload"]["data"]["signals"],
            json!({ "kind": kind, "user": { "name": "Ada" } })
        );
    }

    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let refresh = "mutation ($token: String!) { ...A ...B }
        fragment A on Mutation { refreshSession(refreshToken: $token) { accessToken } }
        fragment B on Mutation { refreshSession(refreshToken: $token) { viewer { user { name } } userErrors { code } } }";
    let answer = chat.ask(refresh, json!({ "token": ada.refresh })).await;
    let refreshed = &answer["data"]["refreshSession"];
    assert_eq!((&refreshed["viewer"]["user"]["name"], &refreshed["userErrors"]), (&json!("Ada"), &json!([])));
    let token = text(&refreshed["accessToken"]);
    let me = chat.ask_with(Some(&token), "{ me { user { name } } }", json!({})).await;
    assert_eq!(me["data"]["me"]["user"]["name"], "Ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_given_has_its_default() {
    let chat = Chat::open().await;
    two(&chat).await;
    let draft = r#"mutation ($draft: Boolean! = true) {
        sendMessage(input: { senderId: 1, receiverId: 2, content: "only a draft" }) @skip(if: $draft) { message { id } }
        me: __typename
    }"#;
    let nested = "query ($no: Boolean = false, $one: Int = 1) { messages(last: $one) { nodes {
        id content @include(if: $no) ... @include(if: $no) { version } ...F @include(if: $no)
    } } } fragment F on Message { createdAt }";
    answers(
        &chat,
        &[
            (draft, json!({}), r#"{"me":"Mutation"}"#),
            (nested, json!({}), r#"{"messages":{"nodes":[{"id":"msg_1"}]}}"#),
            (nested, json!({ "one": 0 }), r#"{"messages":{"nodes":[]}}"#),
            ("query ($n: Int = 0) { users(first: $n) { nodes { id } } }", json!({}), r#"{"users":{"nodes":[]}}"#),
        ],
    )
    .await;
    assert_eq!(
        chat.data("{ messages { nodes { content } } }", json!({})).await["messages"]["nodes"][0]["content"],
        "Hi"
    );
    assert_eq!(chat.data(draft, json!({ "draft": false })).await["sendMessage"]["message"]["id"], "msg_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_nothing_left_to_select_is_empty() {
    let chat = Chat::open().await;
    two(&chat).await;
    answers(
        &chat,
        &[
            ("{ server { version @include(if: false) } }", json!({}), r#"{"server":{}}"#),
            ("{ server @skip(if: true) { version } }", json!({}), "{}"),
            ("{ messages { nodes { id @skip(if: true) } } }", json!({}), r#"{"messages":{"nodes":[{}]}}"#),
            (
                "query ($more: Boolean!) { server { features @include(if: $more) } ...Version }
                 fragment Version on Query { server { maxPageSize } }",
                json!({ "more": false }),
                r#"{"server":{"maxPageSize":100}}"#,
            ),
            (
                "{ conversation(user1: 1, user2: 2) { messages { nodes { id } nodes @skip(if: true) { content } } } }",
                json!({}),
                r#"{"conversation":{"messages":{"nodes":[{"id":"msg_1"}]}}}"#,
            ),
            (
                r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "x" }) { message { id @skip(if: true) } } }"#,
                json!({}),
                r#"{"sendMessage":{"message":{}}}"#,
            ),
        ],
    )
    .await;
    let query = "subscription ($no: Boolean!) { feed(userId: 2) { kind message { content @include(if: $no) } } }";
    let mut feed = Feed::follow(&chat, query, json!({ "no": false })).await;
    chat.data(SEND, json!({ "input": { "senderId": 1, "receiverId": 2, "content": "hidden" } })).await;
    assert_eq!(feed.next().await, json!({ "kind": "MESSAGE_SENT", "message": {} }));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_the_order_in_which_they_are_collected() {
    let chat = Chat::open().await;
    two(&chat).await;
    let by_variable = "query ($x: Boolean!) { user(id: 1) { name @include(if: $x) id name } }";
    answers(
        &chat,
        &[
            ("{ user(id: 1) { name @include(if: false) id name } }", json!({}), r#"{"user":{"id":"usr_1","name":"Ada"}}"#),
            (by_variable, json!({ "x": false }), r#"{"user":{"id":"usr_1","name":"Ada"}}"#),
            (by_variable, json!({ "x": true }), r#"{"user":{"name":"Ada","id":"usr_1"}}"#),
            (
                r#"{ nodes(ids: ["usr_1", "msg_1"]) { ... on Message { content id } ... on User { id } id name: __typename } }"#,
                json!({}),
                r#"{"nodes":[{"id":"usr_1","name":"User"},{"content":"Hi","id":"msg_1","name":"Message"}]}"#,
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriptions_root_may_be_in_a_fragment() {
    let chat = Chat::open().await;
    let [ada, _] = two(&chat).await;
    for query in [
        "subscription Followed { ...OfFeed } fragment OfFeed on Subscription { feed(userId: 1) { kind user { name } } }",
        "subscription { ... on Subscription { feed(userId: 1) { kind user { name } } } }",
        "subscription { feed(userId: 1) { kind } feed(userId: 1) { user { name } } ...F }
         fragment F on Subscription { feed(userId: 1) { user { name } } }",
        "subscription { feed(userId: 1) { ...E } } fragment E on FeedEvent { ...K ...K } fragment K on FeedEvent { kind user { name } }",
    ] {
        let mut feed = Feed::follow(&chat, query, json!({})).await;
        let rename =
            "mutation ($id: ID!, $name: String) { updateUser(id: $id, input: { name: $name }) { user { name } } }";
        chat.data(rename, json!({ "id": ada, "name": query.get(..40).unwrap() })).await;
        let event = feed.next().await;
        assert_eq!(event, json!({ "kind": "USER_CHANGED", "user": { "name": query.get(..40).unwrap() } }), "{query}");
    }
    refuses(
        &chat,
        &[
            ("subscription { feed(userId: 1) { kind } signals(userId: 1) { kind } }", json!({})),
            ("subscription { ...A } fragment A on Subscription { feed(userId: 1) { kind } b: feed(userId: 1) { kind } }", json!({})),
            ("subscription { __typename }", json!({})),
        ],
        "GRAPHQL_VALIDATION_FAILED",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_paths_of_their_fields() {
    let chat = Chat::open().await;
    two(&chat).await;
    let query = "{ users(first: 1) { nodes { name bad: sentMessages(first: -1) { nodes { id } } } } }";
    let answer = chat.ask(query, json!({})).await;
    assert_eq!(answer["data"], json!(null));
    assert_eq!(answer["errors"][0]["path"], json!(["users", "nodes", 0, "bad"]));
    let query = r#"{ nodes(ids: ["usr_1", "cnv_1_2"]) { ... on Conversation {
        members { user { m: sentMessages(last: 101) { nodes { id } } } }
    } } }"#;
    let answer = chat.ask(query, json!({})).await;
    assert_eq!(answer["data"], json!({ "nodes": [{}, { "members": [{ "user": null }, { "user": null }] }] }));
    let paths: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["path"].clone()).collect();
    assert_eq!(paths, [0, 1].map(|member| json!(["nodes", 1, "members", member, "user", "m"])));
    assert_eq!(answer["errors"][0]["locations"], json!([{ "line": 2, "column": 26 }]));
    let mut socket = Socket::ready(&chat).await;
    socket.subscribes("1", "subscription { my: feed(userId: 99) { cursor } }", json!({})).await;
    let error = socket.hears().await["payload"][0].take();
    assert_eq!((&error["path"], &error["locations"]), (&json!(["my"]), &json!([{ "line": 1, "column": 16 }])));
}

/// <https://spec.graphql.org/October2021/#sec-Handling-Field-Errors>: what would follow may be left out.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_field_of_a_mutation_has_failed_the_others_are_not_run() {
    let chat = Chat::open().await;
    two(&chat).await;
    let send = |name: &str| {
        format!("{name}: sendMessage(input: {{ senderId: 1, receiverId: 2, content: \"{name}\" }}) {{ duplicate }}")
    };
    // Nobody has a session here.
    let failing = "bad: signOut { sessionId } worse: signOut { sessionId }";
    let mutation = format!("mutation {{ {} {failing} {} }}", send("before"), send("after"));
    let answer = chat.ask(&mutation, json!({})).await;
    assert_eq!((&answer["data"], answer["errors"].as_array().map(Vec::len)), (&Value::Null, Some(1)), "{answer}");
    let messages = chat.data("{ messages(last: 10) { nodes { content } } }", json!({})).await.to_string();
    assert!(messages.contains("before") && !messages.contains("after"), "{messages}");
}

/// While others write, an answer is of one moment: what stands in two places is the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_twice_is_read_once() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let query = "{ ...Ids ...Texts }
        fragment Ids on Query { conversation(user1: 1, user2: 2) { messages(last: 3) { nodes { id } } } }
        fragment Texts on Query { conversation(user1: 1, user2: 2) { messages(last: 3) { nodes { content } } } }";
    let writes = async {
        for number in 1..=60 {
            ada.sends(&format!("msg_{number}"), &bob).await;
        }
    };
    let reads = async {
        for _ in 0..60 {
            let data = chat.data(query, json!({})).await;
            for node in data["conversation"]["messages"]["nodes"].as_array().unwrap() {
                assert_eq!(node["id"], node["content"]);
            }
        }
    };
    tokio::join!(writes, reads);
}

/// Nothing in an answer is older or newer than the cursor in it, with and without `userId`.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_of_the_moment_of_its_answer() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let writes = async {
        for number in 0..40 {
            let input = json!({ "receiverId": bob.id, "content": number.to_string() });
            ada.asks(&chat, SEND, json!({ "input": input })).await;
        }
    };
    let reads = async {
        for round in 0..40 {
            let (whose, variables) =
                if round % 2 == 0 { ("", json!({})) } else { ("(userId: $id)", json!({ "id": bob.id })) };
            let declared = if whose.is_empty() { "" } else { "($id: ID)" };
            let query = format!(
                "query {declared} {{ conversation(user1: 1, user2: 2) {{ unreadCount messages(last: 100) {{ nodes {{ id }} }} }}
                 feedCursor{whose} me {{ unreadCount }} }}"
            );
            let page = bob.asks(&chat, &query, variables).await["data"].take();
            let ids =
                |nodes: &Value| nodes.as_array().unwrap().iter().map(|node| text(&node["id"])).collect::<Vec<_>>();
            let seen = ids(&page["conversation"]["messages"]["nodes"]);
            assert_eq!(page["conversation"]["unreadCount"], seen.len());
            assert_eq!(page["me"]["unreadCount"], seen.len());
            let events = "query ($after: String!) { feedEvents(after: $after) { events { id: messageId } } }";
            let later = bob.asks(&chat, events, json!({ "after": page["feedCursor"] })).await;
            let next = seen.len() + 1;
            let later = ids(&later["data"]["feedEvents"]["events"]);
            let expected: Vec<_> = (next..next + later.len()).map(|number| format!("msg_{number}")).collect();
            assert_eq!(later, expected);
        }
    };
    tokio::join!(writes, reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_hides_what_the_viewer_may_not_see() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let input = json!({ "receiverId": bob.id, "content": "Hello", "clientId": "secret" });
    ada.asks(&chat, SEND, json!({ "input": input })).await;
    let query = "{ conversation(user1: 1, user2: 2) { messages { nodes { clientId receiver { name email } } } } }";
    for (member, client_id, email) in
        [(&ada, json!("secret"), json!(null)), (&bob, json!(null), json!("bob@example.com"))]
    {
        let answer = member.asks(&chat, query, json!({})).await;
        let node = &answer["data"]["conversation"]["messages"]["nodes"][0];
        assert_eq!(node, &json!({ "clientId": client_id, "receiver": { "name": "Bob", "email": email } }));
    }
}
