//! The older protocol for WebSockets, graphql-ws of subscriptions-transport-ws: what it has, and that the limits and ends are those
//! of the newer one.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    accounts::{Member, accounts},
    harness::{Chat, Socket, code, soon},
    world::{World, aliased},
};

async fn initialized(chat: &Chat, payload: Value) -> Socket {
    let mut socket = Socket::open_with(chat.address, "graphql-ws", chat.authorization.as_deref()).await;
    socket.says(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(socket.hears().await, json!({ "type": "connection_ack" }));
    socket
}

async fn starts(socket: &mut Socket, id: &str, query: &str) {
    socket.says(json!({ "type": "start", "id": id, "payload": { "query": query } })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_mutations_and_subscriptions_are_answered_in_the_older_protocol() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut socket = initialized(&chat, json!({})).await;
    let query = "{ b: user(id: 2) { name } a: user(id: 1) { id name missing: email } none: message(id: 9) { id } }";
    let over_http = chat.ask(query, json!({})).await;
    starts(&mut socket, "1", query).await;
    let heard = socket.hears().await;
    assert_eq!(heard, json!({ "type": "data", "id": "1", "payload": over_http }));
    // Also the order is the same.
    assert!(heard.to_string().contains(&over_http["data"].to_string()), "{heard}");
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "1" }));

    starts(&mut socket, "feed", "subscription { feed(userId: 2) { kind message { content } } }").await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    ada.sends("Hi 👋 \"there\"", &bob).await;
    let event = json!({ "feed": { "kind": "MESSAGE_SENT", "message": { "content": "Hi 👋 \"there\"" } } });
    assert_eq!(socket.hears().await, json!({ "type": "data", "id": "feed", "payload": { "data": event } }));
    socket.says(json!({ "type": "stop", "id": "feed" })).await;
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "feed" }));

    for (query, expected) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { feed(userId: 9) { kind } }", "BAD_USER_INPUT"),
        ("{ users(first: 100) { nodes { sentMessages(first: 100) { nodes { id } } } } }", "QUERY_TOO_COMPLEX"),
    ] {
        starts(&mut socket, "x", query).await;
        assert_eq!(code(&socket.hears().await["payload"]), expected, "{query}");
        assert_eq!(socket.hears().await["type"], "complete");
    }
    socket.says(json!({ "type": "connection_terminate" })).await;
    assert_eq!(socket.hears_close().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_protocol_has_the_limits_of_the_newer_one() {
    let chat = Chat::with(&["--max-socket-operations", "2", "--init-timeout", "0.5"]).await;
    chat.person("Ada").await;
    let mut socket = initialized(&chat, json!({})).await;
    for id in ["1", "2"] {
        starts(&mut socket, id, "subscription { feed(userId: 1) { kind } }").await;
        assert_eq!(socket.hears().await["type"], "data");
    }
    for number in 0..100 {
        // The library takes the name of the newer protocol, too.
        let kind = ["start", "subscribe"][number % 2];
        socket.says(json!({ "type": kind, "id": "3", "payload": { "query": "{ __typename }" } })).await;
        let refused = socket.hears().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("3")), "{refused}");
    }
    socket.says(json!({ "type": "stop", "id": "2" })).await;
    assert_eq!(socket.hears().await["type"], "complete");
    starts(&mut socket, "3", "{ __typename }").await;
    assert_eq!(socket.hears().await["type"], "data");

    let mut silent = Socket::open(chat.address, "graphql-ws").await;
    assert_eq!(silent.hears_close().await, 4408);
    let named = |kind: &str| json!({ "type": kind, "id": "x".repeat(129), "payload": { "query": "{a}" } }).to_string();
    let raw =
        r#"{"type":"start","id":"1","payload":{"query":"{a}","variables":{"$serde_json::private::RawValue":"1"}}}"#;
    let without_id = r#"{"type":"start","payload":{"query":"{a}"}}"#;
    let no_text = r#"{"type":"start","id":5,"payload":{"query":"{a}"}}"#;
    for wrong in [
        "{",
        "5",
        "{\"type\":\"nonsense\"}",
        &named("start"),
        &named("subscribe"),
        &named("nonsense"),
        raw,
        without_id,
        no_text,
    ] {
        let mut socket = initialized(&chat, json!({})).await;
        socket.says_raw(Message::text(wrong)).await;
        assert_eq!(socket.hears_close().await, 4400, "{wrong}");
    }
    // Its fields are read by the library.
    for wrong in [
        json!({ "type": "start", "id": "1" }),
        json!({ "type": "start", "id": "1", "payload": 5 }),
        json!({ "type": "stop" }),
    ] {
        let mut socket = initialized(&chat, json!({})).await;
        socket.says(wrong.clone()).await;
        assert_eq!(socket.hears_close().await, 1002, "{wrong}");
    }
    let mut empty = initialized(&chat, json!({})).await;
    empty.says(json!({ "type": "start", "id": "1", "payload": {} })).await;
    assert_eq!(code(&empty.hears().await["payload"]), "GRAPHQL_PARSE_FAILED");
    let mut large = initialized(&chat, json!({})).await;
    large.says_raw(Message::text("x".repeat(256 * 1024 + 1))).await;
    assert_eq!(large.hears_close().await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_said_as_the_older_protocol_has_it() {
    let chat = Chat::with(&["--max-socket-operations", "1"]).await;
    chat.person("Ada").await;
    let mut early = Socket::open(chat.address, "graphql-ws").await;
    starts(&mut early, "1", "{ __typename }").await;
    assert_eq!(early.hears_close().await, 1011);

    let mut socket = initialized(&chat, json!({})).await;
    let feed = "subscription { feed(userId: 1) { kind } }";
    // The second one replaces the first.
    for _ in 0..2 {
        starts(&mut socket, "1", feed).await;
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    }
    starts(&mut socket, "2", feed).await;
    let refused = socket.hears().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("2")));
    assert_eq!(refused["payload"]["extensions"], json!({ "code": "BAD_REQUEST" }));
    socket.says(json!({ "type": "stop", "id": "1" })).await;
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "1" }));
    starts(&mut socket, "3", "{ nothing }").await;
    let refused = socket.hears().await;
    assert_eq!((&refused["type"], refused["payload"].get("data")), (&json!("data"), Some(&Value::Null)));
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "3" }));

    socket.says(json!({ "type": "connection_init" })).await;
    let why = json!({ "message": "Too many initialisation requests." });
    assert_eq!(socket.hears().await, json!({ "type": "connection_error", "payload": why }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_protocol_does_not_take_the_names_of_the_older_one() {
    let chat = Chat::open().await;
    let start = json!({ "type": "start", "id": "1", "payload": { "query": "{ __typename }" } });
    for message in [start, json!({ "type": "stop", "id": "1" }), json!({ "type": "connection_terminate" })] {
        let mut socket = Socket::open(chat.address, "graphql-transport-ws").await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await, json!({ "type": "connection_ack" }));
        socket.says(message).await;
        assert_eq!(socket.hears_close().await, 4400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_the_older_protocol_is_a_users_and_ends_with_the_session() {
    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let bearer = json!({ "Authorization": format!("Bearer {}", ada.access) });
    let me = "{ me { user { id } } }";
    for (payload, expected) in [
        (bearer.clone(), json!({ "user": { "id": ada.id } })),
        (json!({ "headers": bearer }), json!({ "user": { "id": ada.id } })),
        (json!({ "authorization": null }), Value::Null),
    ] {
        let mut socket = initialized(&chat, payload).await;
        starts(&mut socket, "1", me).await;
        assert_eq!(socket.hears().await["payload"]["data"]["me"], expected);
    }
    let mut forged = Socket::open(chat.address, "graphql-ws").await;
    forged.says(json!({ "type": "connection_init", "payload": { "authorization": "Bearer x" } })).await;
    assert_eq!(forged.hears().await["type"], "connection_error");

    let mut socket = initialized(&chat, bearer).await;
    starts(&mut socket, "1", "subscription { feed { kind } }").await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    ada.asks(&chat, "mutation { signOut { sessionId } }", json!({})).await;
    assert_eq!(socket.hears_close().await, 4403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_tells_sockets_of_the_older_protocol() {
    let chat = Chat::open().await;
    let mut socket = initialized(&chat, json!({})).await;
    let (database, close) = tokio::join!(chat.stop(), socket.hears_close());
    assert_eq!(close, 1012);
    drop(database);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_are_stopped_and_started_again_at_once_are_counted() {
    let chat = Chat::with(&["--max-socket-operations", "2"]).await;
    chat.person("Ada").await;
    let mut socket = initialized(&chat, json!({})).await;
    for id in ["1", "2", "3"] {
        let feed = "subscription { feed(userId: 1) { kind } }";
        starts(&mut socket, id, feed).await;
        socket.says(json!({ "type": "stop", "id": id })).await;
        starts(&mut socket, id, feed).await;
    }
    for _ in 0..2 {
        let refused = async {
            loop {
                let said = socket.hears().await;
                if said["type"] == "error" {
                    break said;
                }
            }
        };
        assert_eq!(refused.await["id"], "3");
    }
}

/// As over HTTP: otherwise a client could have any number of answers held for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_counts_in_the_older_protocol_as_well() {
    let world = World::open(&["--max-user-requests", "2", "--max-answer", "100000000"]).await;
    world.fill(100).await;
    let mallory = &world.mallory.authorization;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open_with(world.address, "graphql-ws", Some(mallory)).await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        starts(&mut socket, "1", &format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(4, "content")))
            .await;
        socket.feels().await;
        stalled.push(socket);
    }
    let small = json!({ "query": "{ server { version } }" });
    assert_eq!(code(&world.post(mallory, &small).await), "RATE_LIMITED");
    drop(stalled);
    soon(async { while world.post(mallory, &small).await.get("errors").is_some() {} }).await;
}
