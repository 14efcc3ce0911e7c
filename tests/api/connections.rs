//! Connections byte by byte: what is sent by half, too much, or in a way that hides something.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Chat, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_not_read_to_its_end() {
    let chat = Chat::open().await;
    // Only the head is sent: who promises too much is not waited for.
    let head = "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    assert!(raw(&chat, head.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    // Without a promise it is cut off while it comes.
    let mut chunked =
        b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..9 {
        chunked.extend(b"8000\r\n");
        chunked.extend(" ".repeat(0x8000).as_bytes());
        chunked.extend(b"\r\n");
    }
    assert!(raw(&chat, &chunked).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let chat = Chat::with(&["--body-timeout", "0.2"]).await;
    let head =
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    assert!(raw_open(&chat, head.as_bytes(), false).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_half_is_let_go() {
    let chat = Chat::with(&["--header-timeout", "0.5", "--body-timeout", "0.5"]).await;
    let half = [
        "",
        "G",
        "GET /health/live HTTP/1.1\r\n",
        "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: ",
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{",
    ];
    let mute = futures_util::future::join_all((0..200).map(|n| raw_open(&chat, half[n % 5].as_bytes(), false)));
    let served = async {
        for _ in 0..20 {
            let begun = Instant::now();
            chat.data("{ users { nodes { id } } }", json!({})).await;
            assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        }
    };
    let (answers, ()) = tokio::join!(mute, served);
    assert!(answers.iter().all(|answer| !answer.contains(" 200 ")), "{answers:?}");
    // One that has had its answer is let go too.
    let polite = raw_open(&chat, b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", false).await;
    assert!(polite.contains(" 200 ") && polite.ends_with("ok\n"), "{polite}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_request_is_smuggled() {
    let chat = Chat::open().await;
    let hidden = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let post = "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for request in [
        format!("{post}content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("{post}content-length: 0, {}\r\n\r\n{hidden}", hidden.len()),
        format!("{post}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", hidden.len() + 5),
        format!("{post}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}content-length : 0\r\n\r\n{hidden}"),
        format!("GET /health/live HTTP/1.1\r\n{}\r\n{hidden}", "x: y\r\n".repeat(1_000)),
        format!("GET /health/live HTTP/1.1\r\nx: {}\r\n\r\n{hidden}", "y".repeat(1_000_000)),
    ] {
        let answer = raw(&chat, request.as_bytes()).await;
        let start: String = request.chars().take(150).collect();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{start}: {answer}");
        assert!(!answer.contains("HTTP/1.1 200"), "{start}: {answer}");
    }
}

/// What comes back on a connection of its own, until the server closes it or has nothing more to say.
async fn raw(chat: &Chat, request: &[u8]) -> String {
    raw_open(chat, request, true).await
}

/// The same; the client's side is ended after the request or kept open.
async fn raw_open(chat: &Chat, request: &[u8], end: bool) -> String {
    let mut stream = TcpStream::connect(chat.address).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // The server may close before it has read everything.
        let _ = writing.write_all(request).await;
        if end {
            let _ = writing.shutdown().await;
        }
    };
    let read = async {
        let _ = reading.read_to_end(&mut answer).await;
    };
    soon(async { tokio::join!(write, read) }).await;
    String::from_utf8_lossy(&answer).into_owned()
}
