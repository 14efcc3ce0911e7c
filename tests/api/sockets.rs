//! The protocol graphql-transport-ws: what is answered, and with which code a wrong turn ends.

use reqwest::Version;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Control, Data, OpCode},
        },
    },
};

use crate::{
    harness::{Chat, Socket, code, soon, text},
    world::{World, socket},
};

const QUERY: &str = "{ __typename }";

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_mutations_are_answered_on_a_socket() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let create = r#"mutation { createUser(input: { name: "Ada", email: "ada@example.com" }) { user { id } } }"#;
    socket.subscribes("1", create, json!({})).await;
    let payload = json!({ "data": { "createUser": { "user": { "id": "usr_1" } } } });
    assert_eq!(socket.hears().await, json!({ "type": "next", "id": "1", "payload": payload }));
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "1" }));
    // The id is free again.
    socket.subscribes("1", QUERY, json!({})).await;
    assert_eq!(socket.hears().await["payload"], json!({ "data": { "__typename": "Query" } }));
    assert_eq!(socket.hears().await["type"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_it_runs_is_an_error() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    for (query, expected) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { a: feed(userId: 1) { kind } b: feed(userId: 1) { kind } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { feed(userId: 9) { kind } }", "BAD_USER_INPUT"),
        ("{ users(first: 100) { nodes { sentMessages(first: 100) { nodes { id } } } } }", "QUERY_TOO_COMPLEX"),
        ("{ ...A } fragment A on Query { ...A }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        socket.subscribes("x", query, json!({})).await;
        let message = socket.hears().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("x")), "{query}");
        assert_eq!(code(&json!({ "errors": message["payload"] })), expected, "{query}");
    }
    socket.subscribes("x", QUERY, json!({})).await;
    assert_eq!(socket.hears().await["type"], "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_comes_back_with_its_payload() {
    let chat = Chat::open().await;
    let mut socket = chat.socket().await;
    socket.says(json!({ "type": "ping" })).await;
    assert_eq!(socket.hears().await, json!({ "type": "pong" }));
    socket.says(json!({ "type": "ping", "payload": { "a": [1] } })).await;
    assert_eq!(socket.hears().await, json!({ "type": "pong", "payload": { "a": [1] } }));
    socket.says(json!({ "type": "pong" })).await;
    socket.says(json!({ "type": "connection_init", "payload": { "anything": true } })).await;
    assert_eq!(socket.hears().await, json!({ "type": "connection_ack" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_pings_and_lets_the_dead_go() {
    let chat = Chat::with(&["--ping-interval", "0.1", "--dead-after", "0.5"]).await;
    let mut socket = Socket::ready(&chat).await;
    // One that answers stays for longer than the dead do.
    for _ in 0..8 {
        let ping = socket.hears().await;
        assert_eq!(ping["type"], "ping");
        assert!(ping["payload"]["at"].is_string(), "{ping}");
        socket.says(json!({ "type": "pong", "payload": { "any": 1 } })).await;
    }
    // One that neither reads nor says anything is gone, without a word.
    let key = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let request = format!(
        "GET /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n{key}\r\n\
         sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
    );
    let mut dead = tokio::net::TcpStream::connect(chat.address).await.unwrap();
    dead.write_all(request.as_bytes()).await.unwrap();
    soon(dead.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(socket.hears().await["type"], "ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_turn_closes_with_its_code() {
    let chat = Chat::with(&["--init-timeout", "0.2"]).await;
    chat.person("Ada").await;

    let mut eager = chat.socket().await;
    eager.subscribes("1", QUERY, json!({})).await;
    assert_eq!(eager.hears_close().await, 4401);

    let mut silent = chat.socket().await;
    assert_eq!(silent.hears_close().await, 4408);

    let mut twice = Socket::ready(&chat).await;
    twice.says(json!({ "type": "connection_init" })).await;
    assert_eq!(twice.hears_close().await, 4429);

    let mut same = Socket::ready(&chat).await;
    let id = "🦀".repeat(32);
    let feed = "subscription { feed(userId: 1) { kind } }";
    same.subscribes(&id, feed, json!({})).await;
    assert_eq!(same.hears().await["type"], "next");
    same.subscribes(&id, feed, json!({})).await;
    assert_eq!(same.hears_close().await, 4409);

    for wrong in [
        "",
        "{",
        "null",
        "[]",
        "5",
        "{}",
        r#"{"type":"start"}"#,
        r#"{"type":5}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","id":"","payload":{"query":"{ __typename }"}}"#,
        r#"{"type":"subscribe","id":5,"payload":{"query":"{ __typename }"}}"#,
        r#"{"type":"subscribe","id":"1","payload":{}}"#,
        r#"{"type":"subscribe","id":"1","payload":"{ __typename }"}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}"#,
        r#"{"type":"complete"}"#,
        r#"{"type":"ping","payload":[]}"#,
        r#"{"type":"ping","payload":{"a":{"$serde_json::private::RawValue":"1"}}}"#,
        r#"{"type":"connection_init","payload":"x"}"#,
    ] {
        let mut socket = Socket::ready(&chat).await;
        socket.says_raw(Message::text(wrong)).await;
        assert_eq!(socket.hears_close().await, 4400, "{wrong}");
    }
    let mut binary = Socket::ready(&chat).await;
    binary.says_raw(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(binary.hears_close().await, 4400);

    for protocol in ["", "soap"] {
        let request =
            tungstenite::client::ClientRequestBuilder::new(format!("ws://{}/graphql", chat.address).parse().unwrap());
        let request = if protocol.is_empty() { request } else { request.with_sub_protocol(protocol) };
        let connected = soon(tokio_tungstenite::connect_async(request)).await;
        // A client that offered something else sees that nothing was chosen, and gives up by itself.
        if protocol.is_empty() {
            drop(connected);
            assert_eq!(Socket::open(chat.address, "").await.hears_close().await, 4406);
        } else {
            assert!(connected.is_err(), "{protocol}");
        }
    }
}

/// RFC 6455, 7.1.7: the client is told what it did, also if it goes on sending.
#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_protocol_of_websocket_is_told_so() {
    let chat = Chat::open().await;
    let frame = |payload: &[u8], opcode: OpCode, last: bool| {
        let mut frame = Frame::message(payload.to_vec(), OpCode::Data(Data::Text), last);
        frame.header_mut().opcode = opcode;
        frame
    };
    let mut reserved = frame(b"x", OpCode::Data(Data::Text), true);
    reserved.header_mut().rsv1 = true;
    for (frames, code) in [
        (vec![frame(b"\xff\xfe", OpCode::Data(Data::Text), true)], 1007),
        (vec![frame(b"{", OpCode::Data(Data::Text), false), frame(b"\xff", OpCode::Data(Data::Continue), true)], 1007),
        (vec![frame(b"x", OpCode::Control(Control::Close), true)], 1002),
        (vec![reserved], 1002),
        (vec![frame(b"x", OpCode::Data(Data::Continue), true)], 1002),
        (vec![frame(b"x", OpCode::Data(Data::Reserved(3)), true)], 1002),
        (vec![frame(&[b'x'; 126], OpCode::Control(Control::Ping), true)], 1002),
        (vec![frame(b"x", OpCode::Control(Control::Ping), false)], 1002),
    ] {
        let mut socket = Socket::ready(&chat).await;
        for frame in frames {
            socket.says_raw(Message::Frame(frame)).await;
        }
        for _ in 0..20 {
            socket.says_raw(Message::text("x".repeat(10_000))).await;
        }
        assert_eq!(socket.hears_close().await, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_cannot_be_is_told_what_is_missing() {
    let chat = Chat::open().await;
    let ask_over = async |http: Version, drop: &str, version: Option<&str>| {
        let request = chat.http.get(chat.url("/graphql")).version(http);
        let mut request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in [("upgrade", "websocket"), ("connection", "Upgrade")] {
            if !drop.contains(name) {
                request = request.header(name, value);
            }
        }
        if let Some(version) = version {
            request = request.header("sec-websocket-version", version);
        }
        let response = soon(request.send()).await.unwrap();
        let headers = response.headers().clone();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let told = (response.status().as_u16(), header("sec-websocket-version"), header("upgrade"));
        assert_eq!(told, (426, Some("13".into()), Some("websocket".into())), "{drop} {version:?}");
        let body: Value = response.json().await.unwrap();
        body["errors"][0]["message"].as_str().unwrap().to_owned()
    };
    let ask = async |drop: &str, version: Option<&str>| ask_over(Version::HTTP_11, drop, version).await;
    assert!(ask_over(Version::HTTP_10, "", Some("13")).await.contains("a proxy on the way speaks HTTP/1.0"));
    for version in [None, Some("8"), Some("0")] {
        assert!(ask("", version).await.contains("version 13"), "{version:?}");
    }
    for dropped in ["upgrade", "connection", "upgrade connection"] {
        assert!(ask(dropped, Some("13")).await.contains("A proxy on the way has dropped them"), "{dropped}");
    }
    for key in ["", "x", "c2hvcnQ="] {
        let handshake = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", key),
        ];
        let request = chat.http.get(chat.url("/graphql"));
        let request = handshake.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        assert_eq!(soon(request.send()).await.unwrap().status(), 400, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_is_answered() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let frame = CloseFrame { code: 1000.into(), reason: "Normal Closure".into() };
    socket.says_raw(Message::Close(Some(frame))).await;
    assert_eq!(socket.hears_close().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_closes() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    socket.says_raw(Message::text("x".repeat(256 * 1024 + 1))).await;
    assert_eq!(socket.hears_close().await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_mute_sockets_stand_in_nobodys_way() {
    let chat = Chat::with(&["--init-timeout", "1"]).await;
    let mut mute = futures_util::future::join_all((0..200).map(|_| chat.socket())).await;
    let mut served = Socket::ready(&chat).await;
    served.subscribes("1", QUERY, json!({})).await;
    assert_eq!(served.hears().await["type"], "next");
    for socket in &mut mute {
        assert_eq!(socket.hears_close().await, 4408);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_has_so_many_operations_at_most() {
    let chat = Chat::with(&["--max-socket-operations", "3"]).await;
    chat.person("Ada").await;
    let mut socket = Socket::ready(&chat).await;
    for id in ["1", "2", "3"] {
        socket.subscribes(id, "subscription { feed(userId: 1) { kind } }", json!({})).await;
        assert_eq!(socket.hears().await["type"], "next");
    }
    socket.subscribes("4", QUERY, json!({})).await;
    let refused = socket.hears().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("4")));
    socket.says(json!({ "type": "complete", "id": "2" })).await;
    socket.subscribes("4", QUERY, json!({})).await;
    assert_eq!(socket.hears().await["type"], "next");
}

/// Each is far below what all may fill together, and they are on several sockets.
#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_all_subscriptions_of_a_user_count_together() {
    let world = World::open(&["--max-user-subscribed-fields", "1000"]).await;
    let query = "subscription { feed { conversation { messages(first: 50) { nodes { content createdAt } } } } }";
    let mut sockets = [socket(&world, &world.mallory).await, socket(&world, &world.mallory).await];
    let mut accepted = 0;
    let refused = loop {
        let socket = &mut sockets[accepted % 2];
        socket.subscribes(&accepted.to_string(), query, json!({})).await;
        let said = socket.hears().await;
        if said["type"] != "next" {
            break said;
        }
        accepted += 1;
        assert!(accepted < 20, "nothing is refused");
    };
    assert!(accepted >= 4, "only {accepted} were accepted");
    let error = &refused["payload"][0];
    assert_eq!((&refused["type"], &error["extensions"]["code"]), (&json!("error"), &json!("FORBIDDEN")), "{refused}");
    assert!(error["message"].as_str().unwrap().contains("too many fields"), "{refused}");
    // Another user has a budget of their own.
    let mut of_bob = socket(&world, &world.bob).await;
    of_bob.subscribes("1", query, json!({})).await;
    assert_eq!(of_bob.hears().await["type"], "next");
    // One that has ended makes room for one, and for no more.
    sockets[0].says(json!({ "type": "complete", "id": "0" })).await;
    sockets[0].subscribes("another", query, json!({})).await;
    assert_eq!(sockets[0].hears().await["type"], "next");
    for socket in &mut sockets {
        socket.subscribes("too many", query, json!({})).await;
        assert_eq!(socket.hears().await["type"], "error");
    }
    // So does a socket that is closed.
    let [first, mut second] = sockets;
    drop(first);
    soon(async {
        loop {
            second.subscribes("again", query, json!({})).await;
            if second.hears().await["type"] == "next" {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_operations_of_a_socket_run_at_a_time_and_the_others_wait() {
    let chat = Chat::with(&["--max-socket-requests", "2"]).await;
    let mut socket = Socket::ready(&chat).await;
    let lock = chat.database.locked().await;
    let create = async |socket: &mut Socket, id: &str| {
        let create =
            format!("mutation {{ createUser(input: {{ name: \"x\", email: \"{id}@x\" }}) {{ user {{ id }} }} }}");
        socket.subscribes(id, &create, json!({})).await;
    };
    create(&mut socket, "first").await;
    // One is left.
    socket.subscribes("at once", QUERY, json!({})).await;
    for kind in ["next", "complete"] {
        let said = socket.hears().await;
        assert_eq!((&said["type"], &said["id"]), (&json!(kind), &json!("at once")));
    }
    create(&mut socket, "second").await;
    socket.subscribes("waits", QUERY, json!({})).await;
    for id in ["third", "fourth", "fifth"] {
        create(&mut socket, id).await;
    }
    socket.says(json!({ "type": "ping" })).await;
    assert_eq!(socket.hears().await, json!({ "type": "pong" }), "something was answered that has to wait");
    drop(lock);
    let mut answered = Vec::new();
    while answered.len() < 6 {
        let said = socket.hears().await;
        assert_eq!(said["payload"].get("errors"), None, "{said}");
        if said["type"] == "next" {
            answered.push(text(&said["id"]));
        }
    }
    assert!(["first", "second"].contains(&answered[0].as_str()), "{answered:?}");
    answered.sort_unstable();
    assert_eq!(answered, ["fifth", "first", "fourth", "second", "third", "waits"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let hears = async { socket.hears_close().await };
    let (database, close) = tokio::join!(chat.stop(), hears);
    assert_eq!(close, 1012);
    drop(database);
}
