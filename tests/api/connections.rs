//! Connections byte by byte: what is sent by half, too much, or in a way that hides something.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{
    harness::{Chat, Database, soon},
    program::started,
};

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

/// As browsers and curl do it: they read while they send, and stop when they are answered.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_arrives_also_while_the_client_sends_on() {
    let chat = Chat::open().await;
    let head = "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 20000000\r\n\r\n";
    for _ in 0..5 {
        let mut stream = TcpStream::connect(chat.address).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut start = [0; 13];
        let body = vec![b' '; 64 * 1024];
        soon(async {
            writing.write_all(head.as_bytes()).await.unwrap();
            let send = async {
                while writing.write_all(&body).await.is_ok() {}
                // The server may close when it has waited; the answer must have come before that.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                read = reading.read_exact(&mut start) => drop(read.unwrap()),
                () = send => {}
            }
        })
        .await;
        assert_eq!(&start, b"HTTP/1.1 413 ");
    }
    // It also arrives if the client first sends for a while.
    let mut stream = TcpStream::connect(chat.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 900_000]).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_query_strings_have_a_bound() {
    let chat = Chat::open().await;
    let head = |bytes: usize| {
        format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(bytes))
    };
    let answer = raw_open(&chat, head(30_000).as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(raw_open(&chat, head(40_000).as_bytes(), false).await.starts_with("HTTP/1.1 431 "));
    let query = |bytes: usize| {
        format!(
            "GET /graphql?query=%7B__typename%7D&x={} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            "y".repeat(bytes)
        )
    };
    assert!(raw_open(&chat, query(16_000).as_bytes(), false).await.starts_with("HTTP/1.1 200 "));
    assert!(raw_open(&chat, query(17_000).as_bytes(), false).await.starts_with("HTTP/1.1 414 "));
    // Each parameter is looked at once.
    let many = "x=%EF%BF%BD&".repeat(1_200);
    let begun = Instant::now();
    for _ in 0..20 {
        let request = format!(
            "GET /graphql?{many}query=%7B__typename%7D HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        assert!(raw_open(&chat, request.as_bytes(), false).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A server that may have so many files open.
async fn with_descriptors(database: &Database, most: u32) -> (Child, SocketAddr) {
    let mut limited = Command::new("sh");
    let flags = "--header-timeout 600 --keep-alive-timeout 600 --body-timeout 600";
    let url = &database.url;
    let serve = format!("ulimit -n {most} && exec \"$0\" serve {flags} --listen 127.0.0.1:0 --database '{url}'");
    limited.args(["-c", &serve, env!("CARGO_BIN_EXE_duologue")]).kill_on_drop(true);
    started(limited).await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_oldest_who_says_nothing_makes_room_and_nobody_with_a_request() {
    let database = Database::new().await;
    // 64 are not for connections.
    let (_server, address) = with_descriptors(&database, 64 + 4).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    for oldest in &mut open {
        let next = TcpStream::connect(address).await.unwrap();
        assert_eq!(soon(oldest.read(&mut [0])).await.unwrap(), 0);
        *oldest = next;
    }
    let body = r#"{"query":"{ __typename }"}"#;
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    for stream in &mut open {
        stream.write_all(head.as_bytes()).await.unwrap();
        // Its head was read.
        let mut said = [0; 25];
        soon(stream.read_exact(&mut said)).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut fifth = TcpStream::connect(address).await.unwrap();
    assert_eq!(soon(fifth.read(&mut [0])).await.unwrap(), 0);
    for stream in &mut open {
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut said = [0; 12];
        soon(stream.read_exact(&mut said)).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_say_nothing_take_no_place_from_those_who_speak() {
    let database = Database::new().await;
    let (server, address) = with_descriptors(&database, 256).await;
    let mut mute = Vec::new();
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    for number in 0..330 {
        mute.push(TcpStream::connect(address).await.unwrap());
        if number % 10 == 0 {
            let answer = soon(client.get(format!("http://{address}/health/ready")).send()).await.unwrap();
            assert_eq!(answer.status(), 200, "after {number}");
        }
    }
    drop(server);
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
    let chat = Chat::with(&["--header-timeout", "0.5", "--keep-alive-timeout", "0.5", "--body-timeout", "0.5"]).await;
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

/// Proxies keep connections for 60 seconds and more, and would send a request into one that is being closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_stays_between_two_requests_and_is_let_go_later() {
    const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chat = Chat::with(&["--header-timeout", "0.4", "--keep-alive-timeout", "2"]).await;
    let mut stream = TcpStream::connect(chat.address).await.unwrap();
    let answered = async |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            assert_ne!(soon(stream.read_buf(&mut answer)).await.unwrap(), 0, "it was closed");
        }
    };
    let closed = async |stream: &mut TcpStream| soon(stream.read(&mut [0])).await.unwrap() == 0;
    // Each is later than a head may take.
    for _ in 0..2 {
        stream.write_all(REQUEST).await.unwrap();
        answered(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    stream.write_all(REQUEST).await.unwrap();
    answered(&mut stream).await;
    // A head that has begun must be complete soon.
    let begun = Instant::now();
    stream.write_all(&REQUEST[..10]).await.unwrap();
    assert!(closed(&mut stream).await);
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());

    let mut idle = TcpStream::connect(chat.address).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    answered(&mut idle).await;
    let begun = Instant::now();
    assert!(closed(&mut idle).await);
    assert!(begun.elapsed() > Duration::from_millis(1_500), "{:?}", begun.elapsed());

    let mut mute = TcpStream::connect(chat.address).await.unwrap();
    let begun = Instant::now();
    assert!(closed(&mut mute).await);
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

/// RFC 9112, 3.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_or_with_two_is_refused() {
    let chat = Chat::with(&["--allow-open-network"]).await;
    let body = r#"{"query":"{__typename}"}"#;
    let rest =
        format!("content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    for (start, status) in [
        ("POST /graphql HTTP/1.1\r\n", "400"),
        ("POST /graphql HTTP/1.1\r\nhost: a\r\nhost: b\r\n", "400"),
        ("POST /graphql HTTP/1.1\r\nhost: a\r\n", "200"),
        ("POST /graphql HTTP/1.0\r\n", "200"),
    ] {
        let answer = raw_open(&chat, format!("{start}{rest}").as_bytes(), false).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{start}: {answer}");
    }
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
