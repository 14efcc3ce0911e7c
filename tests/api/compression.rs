//! Answers are compressed for those who accept it, and streams never are.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::harness::{Chat, soon};

const SMALL: &str = "{ __typename }";
/// Its answer has more than 4 KiB.
const LARGE: &str = "{ __schema { types { name description } } }";
const SUBSCRIPTION: &str = "subscription { feed(userId: 1) { kind } }";

/// The headers of an answer, and its body as it was sent.
async fn answer(chat: &Chat, query: &str, accept: &str, coding: &str) -> (HeaderMap, Vec<u8>) {
    let request = chat.http.post(chat.url("/graphql")).json(&json!({ "query": query }));
    let mut answer = soon(request.header("accept", accept).header("accept-encoding", coding).send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = soon(answer.chunk()).await.unwrap() {
        body.extend_from_slice(&chunk);
        // A stream does not end: its first event is enough.
        if headers["content-type"] == "text/event-stream" && body.ends_with(b"\n\n") {
            break;
        }
    }
    (headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed_for_those_who_accept_it() {
    let chat = Chat::open().await;
    let (headers, plain) = answer(&chat, LARGE, "application/json", "identity").await;
    assert!(plain.len() > 4096 && headers["content-length"] == plain.len().to_string().as_str());
    // A cache between may not give the one who accepts it to another who does not, nor the other way round.
    let varies = |headers: &HeaderMap| {
        let all = headers.get_all("vary").iter().map(|vary| vary.to_str().unwrap().to_lowercase()).collect::<Vec<_>>();
        all.contains(&"accept".to_owned()) && all.contains(&"accept-encoding".to_owned())
    };
    assert!(varies(&headers), "{headers:?}");
    for coding in ["gzip", "gzip, deflate, br, zstd", "br, gzip;q=0.5", "*"] {
        for accept in ["application/json", "application/graphql-response+json"] {
            let (headers, packed) = answer(&chat, LARGE, accept, coding).await;
            assert_eq!(headers["content-encoding"], "gzip", "{coding}");
            assert!(headers["content-type"].to_str().unwrap().starts_with(accept));
            assert!(varies(&headers) && packed.len() < plain.len() / 2, "{headers:?}");
            let mut unpacked = Vec::new();
            GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
    }
    for (query, coding) in [
        (LARGE, "*;q=0"),
        (SMALL, "br, identity;q=0"),
        (LARGE, "br"),
        (LARGE, "gzip;q=0"),
        (LARGE, ""),
        (SMALL, "gzip"),
    ] {
        let (headers, body) = answer(&chat, query, "application/json", coding).await;
        assert_eq!(headers.get("content-encoding"), None, "{query} {coding}");
        assert_eq!(headers["content-length"], body.len().to_string().as_str());
    }
}

/// An event would wait until there is enough to compress.
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_never_compressed() {
    let chat = Chat::with(&["--compress-above", "0"]).await;
    chat.person("Ada").await;
    for query in [LARGE, SUBSCRIPTION] {
        let (headers, body) = answer(&chat, query, "text/event-stream", "gzip").await;
        assert_eq!(
            (&headers["content-type"], headers.get("content-encoding")),
            (&"text/event-stream".parse().unwrap(), None)
        );
        assert!(body.starts_with(b"event: next\n"));
    }
    assert_eq!(answer(&chat, SMALL, "application/json", "gzip").await.0["content-encoding"], "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_can_be_left_to_a_proxy() {
    let chat = Chat::with(&["--compress-above", "off"]).await;
    assert_eq!(answer(&chat, LARGE, "application/json", "gzip").await.0.get("content-encoding"), None);
}
