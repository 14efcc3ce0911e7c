//! A server that is told to stop: it says so first, and its sockets do not end all in the same moment.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    harness::{Chat, Database, SEND, Socket, authorization, client, soon, text},
    program::{serve, server, started, terminate},
    storage::started_by,
};

/// The protocols for WebSockets, and what begins an operation.
pub(crate) const PROTOCOLS: [(&str, &str); 2] = [("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")];
const FEED: &str = "subscription ($id: ID!) { feed(userId: $id) { kind } }";

async fn initialized(chat: &Chat, protocol: &str) -> Socket {
    let mut socket = Socket::open_with(chat.address, protocol, chat.authorization.as_deref()).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket
}

async fn starts(socket: &mut Socket, start: &str, id: &str, query: &str, variables: &Value) {
    socket.says(json!({ "type": start, "id": id, "payload": { "query": query, "variables": variables } })).await;
}

async fn streams(chat: &Chat, query: &str, variables: &Value) -> Response {
    let request = chat.http.post(chat.url("/graphql")).header("accept", "text/event-stream");
    let response = soon(request.json(&json!({ "query": query, "variables": variables })).send()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// All that is said until the server closes because it stops.
async fn hears_all(socket: &mut Socket) -> Vec<Value> {
    let mut said = Vec::new();
    loop {
        match socket.hears_or_ends().await {
            Some(Message::Text(text)) => said.push(serde_json::from_str(&text).unwrap()),
            Some(Message::Close(Some(frame))) => {
                assert_eq!(u16::from(frame.code), 1012);
                return said;
            }
            Some(_) => {}
            None => panic!("it was not closed"),
        }
    }
}

async fn stored(chat: &Chat) -> usize {
    let messages = chat.data("{ messages(last: 100) { nodes { id } } }", json!({})).await["messages"]["nodes"].take();
    messages.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_for_a_while_and_is_not_ready() {
    let chat = Chat::with(&["--drain-delay", "5"]).await;
    let mut socket = Socket::ready(&chat).await;
    let (http, address, graphql, ready) =
        (chat.http.clone(), chat.address, chat.url("/graphql"), chat.url("/health/ready"));
    let authorization = chat.authorization.clone();
    let stopping = tokio::spawn(async move { drop(chat.stop().await) });
    soon(async { while http.get(&ready).send().await.unwrap().status() != 503 {} }).await;
    let answer: Value =
        http.post(graphql).json(&json!({ "query": "{ __typename }" })).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["__typename"], "Query");
    let mut late = Socket::open_with(address, "graphql-transport-ws", authorization.as_deref()).await;
    late.says(json!({ "type": "connection_init" })).await;
    assert_eq!(late.hears().await["type"], "connection_ack");
    for socket in [&mut socket, &mut late] {
        assert_eq!(socket.hears_close().await, 1012);
    }
    soon(stopping).await.unwrap();
    http.get(&ready).send().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sockets_are_closed_one_after_the_other() {
    let chat = Chat::open().await;
    let mut sockets = Vec::new();
    for _ in 0..200 {
        sockets.push(Socket::ready(&chat).await);
    }
    let begun = Instant::now();
    let closes = sockets.into_iter().map(async |mut socket| {
        assert_eq!(socket.hears_close().await, 1012);
        begun.elapsed()
    });
    let (_database, mut times) = tokio::join!(chat.stop(), join_all(closes));
    times.sort();
    // 400 in a second.
    let between = times[199].saturating_sub(times[0]);
    assert!(between > Duration::from_millis(300), "{between:?}");
}

/// What was received is answered before a server stops.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_on_a_socket_is_answered_before_the_server_stops() {
    for (protocol, start) in PROTOCOLS {
        let chat = Chat::open_to_all(&[]).await;
        let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
        let mut socket = initialized(&chat, protocol).await;
        starts(&mut socket, start, "feed", FEED, &json!({ "id": bob.id })).await;
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
        for id in 0..30 {
            let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": "on the way" });
            starts(&mut socket, start, &id.to_string(), SEND, &json!({ "input": input })).await;
        }
        // The first answer: the others are on their way.
        socket.hears().await;
        let database = chat.stop().await;
        let said = hears_all(&mut socket).await;
        let answered = said.iter().filter(|said| said["payload"]["data"].get("sendMessage").is_some()).count();
        let stored = stored(&Chat::on(database, &["--auth", "open"]).await).await;
        assert!(stored <= answered + 1, "{protocol}: {stored} were stored, {answered} answered");
    }
}

/// Over every transport, changes that wait for the database are answered, subscriptions and idle connections end at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_answered_over_every_transport_before_the_server_stops() {
    const EACH: usize = 10;
    let chat = Chat::open_to_all(&[]).await;
    let (ada, bob) = (chat.person("Ada").await.id, chat.person("Bob").await.id);
    let input = json!({ "senderId": ada, "receiverId": bob, "content": "on the way" });
    let (send, follow) = (json!({ "input": input }), json!({ "id": bob }));
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for (protocol, start) in PROTOCOLS {
        for _ in 0..EACH {
            let mut following = initialized(&chat, protocol).await;
            let mut sending = initialized(&chat, protocol).await;
            for socket in [&mut following, &mut sending] {
                starts(socket, start, "feed", FEED, &follow).await;
                assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
            }
            idle.extend([following, initialized(&chat, protocol).await]);
            busy.push((sending, protocol, start));
        }
    }
    let mut feed = streams(&chat, FEED, &follow).await;
    assert!(soon(feed.chunk()).await.unwrap().is_some());

    let lock = chat.database.locked().await;
    for (socket, _, start) in &mut busy {
        starts(socket, start, "send", SEND, &send).await;
        // Messages are taken in one after the other: once this one is answered, that one is under way.
        starts(socket, start, "query", "{ __typename }", &json!({})).await;
        assert_eq!(socket.hears().await["payload"]["data"]["__typename"], "Query");
        assert_eq!(socket.hears().await["type"], "complete");
    }
    let mut streamed = Vec::new();
    for _ in 0..EACH {
        streamed.push(streams(&chat, SEND, &send).await);
    }
    let stopping = tokio::spawn(chat.stop());
    for socket in &mut idle {
        // Nothing says `complete`: their clients begin the feeds again when they reconnect.
        assert_eq!(socket.hears_close().await, 1012);
    }
    while let Some(chunk) = soon(feed.chunk()).await.unwrap() {
        let chunk = String::from_utf8_lossy(&chunk);
        assert!(!chunk.contains("complete"), "{chunk}");
    }

    drop(lock);
    for (mut socket, protocol, _) in busy {
        let said = hears_all(&mut socket).await;
        let of = |id: &str, kind: &str| said.iter().filter(|said| said["id"] == id && said["type"] == kind).count();
        let answers = said.iter().filter(|said| said["payload"]["data"]["sendMessage"]["message"]["id"].is_string());
        assert_eq!(
            (answers.count(), of("send", "complete"), of("feed", "complete")),
            (1, 1, 0),
            "{protocol}: {said:?}"
        );
    }
    for response in streamed {
        let said = soon(response.text()).await.unwrap();
        assert!(said.contains(r#""sendMessage":{"message":{"id":"#), "{said:?}");
        assert!(said.ends_with("event: complete\ndata:\n\n"), "{said:?}");
    }
    let database = soon(stopping).await.unwrap();
    assert_eq!(stored(&Chat::on(database, &["--auth", "open"]).await).await, 3 * EACH);
}

/// Of a program that is told to stop while very many follow their feeds and some wait for their answers.
#[tokio::test(flavor = "multi_thread")]
async fn every_socket_of_a_program_is_closed_in_time_and_it_ends_well() {
    let _ = duologue::http::raise_descriptor_limit();
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    let (child, address) = serve(&database, &[]).await;
    let http = client(authorization.as_deref());
    let url = format!("http://{address}/graphql");
    let ask = async |query: &str, variables: &Value| -> Value {
        let request = http.post(&url).json(&json!({ "query": query, "variables": variables }));
        soon(request.send()).await.unwrap().json().await.unwrap()
    };
    let mut people = Vec::new();
    for name in ["Ada", "Bob"] {
        let create = "mutation ($name: String!) { createUser(input: { name: $name, email: $name }) { user { id } } }";
        let created = ask(create, &json!({ "name": format!("{name}@x") })).await;
        people.push(text(&created["data"]["createUser"]["user"]["id"]));
    }
    let follow = json!({ "id": people[1] });
    let follows = async || {
        let mut socket = Socket::open_with(address, PROTOCOLS[0].0, authorization.as_deref()).await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        starts(&mut socket, PROTOCOLS[0].1, "feed", FEED, &follow).await;
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
        socket
    };
    let mut sockets = Vec::new();
    while sockets.len() < short_or_long(300, 2_000) {
        sockets.extend(join_all((0..100).map(|_| follows())).await);
    }
    let mut sending = follows().await;
    let lock = database.locked().await;
    let input = json!({ "senderId": people[0], "receiverId": people[1], "content": "on the way" });
    starts(&mut sending, PROTOCOLS[0].1, "send", SEND, &json!({ "input": input })).await;
    starts(&mut sending, PROTOCOLS[0].1, "query", "{ __typename }", &json!({})).await;
    assert_eq!(sending.hears().await["payload"]["data"]["__typename"], "Query");
    let streamed = http.post(&url).header("accept", "text/event-stream");
    let streamed =
        soon(streamed.json(&json!({ "query": SEND, "variables": { "input": input } })).send()).await.unwrap();

    let begun = Instant::now();
    let stopping = tokio::spawn(terminate(child));
    let mut closing = JoinSet::new();
    for mut socket in sockets {
        closing.spawn(async move {
            hears_all(&mut socket).await;
            begun.elapsed()
        });
    }
    closing.join_next().await.unwrap().unwrap();
    drop(lock);
    let said = hears_all(&mut sending).await;
    let sent = |said: &&Value| said["payload"]["data"]["sendMessage"]["message"]["id"].is_string();
    assert_eq!(said.iter().filter(sent).count(), 1, "{said:?}");
    let said = soon(streamed.text()).await.unwrap();
    assert!(said.contains(r#""sendMessage":{"message":{"id":"#) && said.contains("event: complete"), "{said}");
    let last = closing.join_all().await.into_iter().max().unwrap();
    // Within 5 seconds, but some of so many clients hear of it later.
    assert!(last < Duration::from_secs(short_or_long(8, 15)), "{last:?}");
    assert_eq!(stopping.await.unwrap(), Some(0));
    assert_eq!(stored(&Chat::on(database, &["--auth", "open"]).await).await, 2);
}

/// As when its terminal is closed. Other systems than Linux do not tell whether it was told to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_terminal_is_gone_stops_unless_it_was_told_to_go_on() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let database = Database::new().await;
    let hang_up = async |server: &Child| {
        let id = server.id().unwrap().to_string();
        soon(Command::new("kill").args(["-HUP", &id]).stderr(Stdio::null()).status()).await.unwrap();
    };
    // Whatever it is for the tests themselves.
    let (mut child, _) = started(started_by(&["env", "--default-signal=HUP"], &server(&database, &[]))).await;
    // The second time changes nothing.
    hang_up(&child).await;
    hang_up(&child).await;
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));

    // As `nohup` starts it.
    let (child, address) = started(started_by(&["env", "--ignore-signal=HUP"], &server(&database, &[]))).await;
    hang_up(&child).await;
    let ready = soon(reqwest::get(format!("http://{address}/health/ready"))).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(terminate(child).await, Some(0));
}
