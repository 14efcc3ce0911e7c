//! A server that is told to stop: it says so first, and its sockets do not end all in the same moment.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Chat, Socket, soon};

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
