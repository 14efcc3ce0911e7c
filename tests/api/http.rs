//! GraphQL over HTTP: media types, methods, bodies, and what is not a request at all.

use std::collections::HashSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Chat, Socket, code, soon};

const JSON: &str = "application/json; charset=utf-8";
const GRAPHQL: &str = "application/graphql-response+json; charset=utf-8";

/// Status, media type and body of the response.
async fn response(request: RequestBuilder) -> (u16, String, Value) {
    let response = soon(request.send()).await.unwrap();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.status().as_u16(), media_type, response.json().await.unwrap())
}

fn post(chat: &Chat, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    chat.http.post(chat.url("/graphql")).header("content-type", content_type).body(body)
}

fn get(chat: &Chat, parameters: &[(&str, &str)]) -> RequestBuilder {
    let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    chat.http.get(chat.url(&format!("/graphql?{query}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_has_the_media_type_that_was_asked_for() {
    let chat = Chat::open().await;
    for (accept, expected) in [
        (None, JSON),
        (Some("*/*"), JSON),
        (Some("application/*"), JSON),
        (Some("application/json"), JSON),
        (Some("application/graphql-response+json"), GRAPHQL),
        (Some("application/graphql-response+json, application/json;q=0.9"), GRAPHQL),
        (Some("application/json, application/graphql-response+json;q=0.9"), JSON),
        (Some("application/json, application/graphql-response+json"), GRAPHQL),
        (Some("text/plain, */*;q=0.1"), JSON),
        (Some("application/json, text/event-stream"), JSON),
        (Some("*/*, application/json;q=0"), GRAPHQL),
        (Some("application/*;q=0.9, application/json;q=0.1"), GRAPHQL),
        (Some("text/html, application/json"), JSON),
    ] {
        let mut request = post(&chat, "application/json", r#"{"query":"{ __typename }"}"#);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let (status, media_type, body) = response(request).await;
        assert_eq!((status, media_type.as_str()), (200, expected), "{accept:?}");
        assert_eq!(body, json!({ "data": { "__typename": "Query" } }));
    }
    let request = post(&chat, "application/json", r#"{"query":"{ __typename }"}"#).header("accept", "text/plain");
    let (status, _, body) = response(request).await;
    assert_eq!((status, code(&body).as_str()), (406, "BAD_REQUEST"));
}

/// Browsers name pages before all else; programs that happen to name them as well do not want one.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_answered_with_what_is_wanted_most_be_it_a_page() {
    let chat = Chat::open().await;
    let page = "text/html";
    for (accept, expected) in [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", page),
        ("text/html, */*", page),
        ("text/html;q=0.5, application/json;q=0.4", page),
        ("application/json, text/html;q=0.5", JSON),
        ("application/json, text/html", JSON),
        ("application/graphql-response+json, text/html;q=0.1", GRAPHQL),
        ("*/*, text/html;q=0.5", JSON),
        ("text/html;q=0, */*", JSON),
        ("*/*", JSON),
    ] {
        let request = get(&chat, &[("query", "{ __typename }")]).header("accept", accept);
        let answer = soon(request.send()).await.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(media_type.starts_with(expected), "{accept}: {media_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_goes_with_the_media_type() {
    let chat = Chat::open().await;
    for (query, as_json, as_graphql) in [
        ("{ __typename }", 200, 200),
        ("{", 200, 400),
        ("{ nothing }", 200, 400),
        ("query ($id: ID!) { user(id: $id) { id } }", 200, 400),
        (r#"{ user(id: "x") { id } }"#, 200, 200),
        ("query A { __typename } query B { __typename }", 200, 400),
        ("subscription { feed(userId: 1) { kind } }", 400, 400),
    ] {
        let body = json!({ "query": query }).to_string();
        let request = || post(&chat, "application/json", body.clone());
        let (status, _, answer) = response(request().header("accept", "application/json")).await;
        assert_eq!(status, as_json, "{query}");
        let (status, _, same) = response(request().header("accept", "application/graphql-response+json")).await;
        assert_eq!(status, as_graphql, "{query}");
        assert_eq!(answer, same);
        assert!(status == 200 || answer.get("data").is_none(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_reads_and_never_changes() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let query = "query A($id: ID!) { user(id: $id) { name } } query B { __typename }";
    let parameters = [("query", query), ("operationName", "A"), ("variables", r#"{"id":"usr_1"}"#)];
    let (status, _, body) = response(get(&chat, &parameters)).await;
    assert_eq!((status, body), (200, json!({ "data": { "user": { "name": "Ada" } } })));

    let mutation = r#"mutation { deleteUser(id: "usr_1") { deletedId } }"#;
    let answer = get(&chat, &[("query", mutation)]).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["message"], "A mutation needs POST: GET only reads.");
    assert_eq!(chat.data("{ user(id: 1) { name } }", json!({})).await["user"]["name"], "Ada");

    for (parameters, why) in [
        (vec![], "This is not a GraphQL request: missing field `query`."),
        (vec![("query", "{ __typename }"), ("variables", "{")], "The parameter `variables` is not JSON: "),
        (vec![("query", "{ __typename }"), ("variables", "[]")], "This is not a GraphQL request: "),
        (vec![("query", "subscription { feed(userId: 1) { kind } }")], "A subscription needs a WebSocket"),
        (vec![("query", "{ __typename }"), ("query", "{ __typename }")], "The parameter `query` is given twice."),
    ] {
        let (status, _, body) = response(get(&chat, &parameters)).await;
        assert_eq!((status, code(&body).as_str()), (400, "BAD_REQUEST"), "{parameters:?}");
        assert!(body["errors"][0]["message"].as_str().unwrap().starts_with(why), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_is_no_utf_8_is_refused() {
    let chat = Chat::open().await;
    let status = async |query: &str| response(chat.http.get(chat.url(&format!("/graphql?query={query}")))).await.0;
    assert_eq!(status("%7B__typename%20%23%FF%7D").await, 400);
    assert_eq!(status("%7B__typename%20%7D%23%ef%bf%bd").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_this_machine_answers_to_its_names_alone() {
    let chat = Chat::open_to_all(&[]).await;
    let status = async |chat: &Chat, host: &str| {
        let request = post(chat, "application/json", r#"{"query":"{ __typename }"}"#).header("host", host);
        soon(request.send()).await.unwrap().status().as_u16()
    };
    for host in ["localhost", "LOCALHOST:8000", "chat.localhost:1", "127.0.0.1", "127.0.0.9:80", "[::1]:8000"] {
        assert_eq!(status(&chat, host).await, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
        assert_eq!(status(&chat, host).await, 403, "{host}");
    }
    let open = Chat::with(&["--allow-open-network"]).await;
    assert_eq!(status(&open, "chat.example").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_not_allowed() {
    let chat = Chat::open().await;
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = chat.http.request(method.clone(), chat.url("/graphql")).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()),
            (405, "GET, POST"),
            "{method}"
        );
        assert_eq!(code(&answer.json().await.unwrap()), "BAD_REQUEST");
    }
    let elsewhere = response(chat.http.post(chat.url("/health/live"))).await;
    assert_eq!((elsewhere.0, code(&elsewhere.2).as_str()), (405, "BAD_REQUEST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_sends_without_asking_is_not_run() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let mutation = json!({ "query": r#"mutation { deleteUser(id: "usr_1") { deletedId } }"# }).to_string();
    for content_type in [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/graphql",
        "application/json; charset=latin1",
        "text/plain, application/json",
        "json",
        "",
    ] {
        let (status, _, body) = response(post(&chat, content_type, mutation.clone())).await;
        assert_eq!((status, code(&body).as_str()), (415, "BAD_REQUEST"), "{content_type}");
    }
    let packed = post(&chat, "application/json", mutation.clone()).header("content-encoding", "gzip");
    assert_eq!(response(packed).await.0, 415);
    let bare = chat.http.post(chat.url("/graphql")).body(mutation.clone());
    assert_eq!(response(bare).await.0, 415);
    let form =
        post(&chat, "application/x-www-form-urlencoded", "query=mutation%7BdeleteUser(id%3A1)%7BdeletedId%7D%7D");
    assert_eq!(response(form).await.0, 415);
    assert_eq!(chat.data("{ user(id: 1) { name } }", json!({})).await["user"]["name"], "Ada");
    for content_type in
        ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8"]
    {
        let (status, _, _) = response(post(&chat, content_type, r#"{"query":"{ __typename }"}"#)).await;
        assert_eq!(status, 200, "{content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_around_the_json_is_named() {
    let chat = Chat::open().await;
    let why = async |request: RequestBuilder| {
        let (status, _, body) = response(request).await;
        (status, body["errors"][0]["message"].as_str().unwrap().to_owned())
    };
    let query = r#"{"query":"{ __typename }"}"#;
    let charset = why(post(&chat, "application/json; charset=utf8", query)).await;
    assert!(charset.0 == 415 && charset.1.contains("charset \"utf8\""), "{charset:?}");
    let packed = why(post(&chat, "application/json", query).header("content-encoding", "gzip")).await;
    assert!(packed.0 == 415 && packed.1.contains("Content-Encoding"), "{packed:?}");
    let utf_16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (body, encoding) in [(format!("\u{feff}{query}").into_bytes(), "UTF-8"), (utf_16, "UTF-16")] {
        let marked = why(post(&chat, "application/json", body)).await;
        assert!(marked.0 == 400 && marked.1.contains("byte order mark") && marked.1.contains(encoding), "{marked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_body_is_explained() {
    let chat = Chat::open().await;
    for body in [
        "",
        "{",
        "null",
        "5",
        "\"{ __typename }\"",
        "{}",
        "[]",
        r#"{"query":"{ __typename }""#,
        r#"{"query":"{ __typename }"} trailing"#,
        r#"{"query":null}"#,
        r#"{"query":5}"#,
        r#"{"query":["{ __typename }"]}"#,
        r#"{"query":"{ __typename }","variables":[]}"#,
        r#"{"query":"{ __typename }","variables":"x"}"#,
        r#"{"query":"{ __typename }","variables":5}"#,
        r#"{"query":"{ __typename }","operationName":{}}"#,
        r#"{"query":"{ __typename }","extensions":[]}"#,
        r#"{"query":"{ __typename \ud800 }"}"#,
        r#"{"query":"{ __typename }","variables":{"a":"\ud800"}}"#,
        r#"{"query":"{ __typename }","variables":{"a":[{"$serde_json::private::RawValue":"1"}]}}"#,
        r#"{"query":"{ __typename }","variables":{"a":{"\u0024serde_json::private::RawValue":"1"}}}"#,
    ] {
        let (status, _, answer) = response(post(&chat, "application/json", body)).await;
        assert_eq!((status, code(&answer).as_str()), (400, "BAD_REQUEST"), "{body}");
    }
    let (status, _, answer) = response(post(&chat, "application/json", b"{\"query\":\"{ \xff }\"}".as_slice())).await;
    assert_eq!((status, code(&answer).as_str()), (400, "BAD_REQUEST"));
    let nested =
        format!("{{\"query\":\"{{ __typename }}\",\"variables\":{}{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(response(post(&chat, "application/json", nested)).await.0, 400);
    for body in [
        r#"{"query":"{ __typename }","variables":null,"operationName":null,"extensions":null}"#,
        // As some clients write that there is none.
        r#"{"query":"{ __typename }","operationName":""}"#,
        r#"{"query":"{ __typename }","extensions":{"any":1},"other":true}"#,
    ] {
        let (status, _, answer) = response(post(&chat, "application/json", body)).await;
        assert_eq!((status, answer), (200, json!({ "data": { "__typename": "Query" } })), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_in_its_order() {
    let chat = Chat::open().await;
    let create = r#"mutation { createUser(input: { name: "Ada", email: "ada@example.com" }) { user { id } } }"#;
    let batch = json!([
        { "query": create },
        { "query": "{ users { nodes { id } } }" },
        { "query": "{" },
        5,
        { "query": "query A { __typename } query B { users { nodes { name } } }", "operationName": "B" },
    ]);
    let (status, _, body) = response(post(&chat, "application/json", batch.to_string())).await;
    assert_eq!(status, 200);
    assert_eq!(body[0]["data"]["createUser"]["user"]["id"], "usr_1");
    assert_eq!(body[1]["data"]["users"]["nodes"], json!([{ "id": "usr_1" }]));
    assert_eq!((code(&body[2]).as_str(), code(&body[3]).as_str()), ("GRAPHQL_PARSE_FAILED", "BAD_REQUEST"));
    assert_eq!(body[4]["data"]["users"]["nodes"], json!([{ "name": "Ada" }]));

    let many = vec![json!({ "query": "{ __typename }" }); 11];
    let (status, _, body) = response(post(&chat, "application/json", json!(many).to_string())).await;
    assert_eq!((status, code(&body).as_str()), (400, "BAD_REQUEST"));
    assert_eq!(body["errors"][0]["message"], "The batch has 11 operations; 10 are allowed.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_as_json_or_not_run() {
    let chat = Chat::open().await;
    let create = r#"[{ "query": "mutation { createUser(input: { name: \"Ada\", email: \"ada@example.com\" }) { user { id } } }" }]"#;
    let with = |accept: &str, body: &'static str| post(&chat, "application/json", body).header("accept", accept);
    let (status, media_type, body) = response(with("text/event-stream", create)).await;
    assert_eq!((status, media_type.as_str(), code(&body).as_str()), (406, JSON, "BAD_REQUEST"));
    assert_eq!(chat.data("{ users { nodes { id } } }", json!({})).await["users"]["nodes"], json!([]));
    for (accept, expected) in [
        ("text/event-stream, application/json;q=0.1", JSON),
        ("text/event-stream, application/*;q=0.1", JSON),
        ("text/event-stream, application/graphql-response+json;q=0.1", GRAPHQL),
    ] {
        let (status, media_type, body) = response(with(accept, r#"[{ "query": "{ __typename }" }]"#)).await;
        assert_eq!((status, media_type.as_str()), (200, expected), "{accept}");
        assert_eq!(body, json!([{ "data": { "__typename": "Query" } }]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_refused_unread() {
    let chat = Chat::open().await;
    let body = |size: usize| {
        let padding = " ".repeat(size - r#"{"query":"{ __typename }"}"#.len());
        format!(r#"{{"query":"{{ __typename }}"{padding}}}"#)
    };
    assert_eq!(response(post(&chat, "application/json", body(256 * 1024))).await.0, 200);
    let (status, _, answer) = response(post(&chat, "application/json", body(256 * 1024 + 1))).await;
    assert_eq!((status, code(&answer).as_str()), (413, "PAYLOAD_TOO_LARGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told() {
    let chat = Chat::open().await;
    for path in ["/health/live", "/health/ready"] {
        let answer = chat.http.get(chat.url(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "ok\n"));
    }
    chat.app.close().await;
    // The database is asked a few times a second at most.
    let ready = soon(async {
        loop {
            let ready = chat.http.get(chat.url("/health/ready")).send().await.unwrap();
            if ready.status() != 200 {
                return ready;
            }
        }
    });
    let ready = ready.await;
    assert_eq!(
        (ready.status().as_u16(), ready.text().await.unwrap().as_str()),
        (503, "not ready: the database does not answer\n")
    );
    assert_eq!(chat.http.get(chat.url("/health/live")).send().await.unwrap().status(), 200);
    let answer = chat.ask("{ users { nodes { id } } }", json!({})).await;
    assert_eq!(code(&answer), "UNAVAILABLE");
    assert!(!answer.to_string().contains("pool"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_given_up() {
    let chat = Chat::with(&["--request-timeout", "2"]).await;
    let lock = chat.database.locked().await;
    let create =
        |name: &str| format!("createUser(input: {{ name: \"{name}\", email: \"{name}@x\" }}) {{ user {{ id }} }}");
    let query = format!("mutation {{ {} eve: {} }}", create("Ada"), create("Eve"));
    let (status, _, body) = response(post(&chat, "application/json", json!({ "query": query }).to_string())).await;
    assert_eq!((status, code(&body).as_str()), (504, "TIMEOUT"));
    // It has begun: https://spec.graphql.org/October2021/#sec-Data
    assert_eq!(body.get("data"), Some(&Value::Null));
    let mut socket = Socket::ready(&chat).await;
    socket.subscribes("1", &format!("mutation {{ {} }}", create("Dan")), json!({})).await;
    let answer = socket.hears().await;
    assert_eq!((answer["type"].as_str(), code(&answer["payload"]).as_str()), (Some("next"), "TIMEOUT"));
    assert_eq!(answer["payload"].get("data"), Some(&Value::Null));
    assert_eq!(socket.hears().await, json!({ "type": "complete", "id": "1" }));
    drop(lock);
    let users = async || soon(chat.data("{ users { nodes { name } } }", json!({}))).await["users"]["nodes"].take();
    if chat.database.is_sqlite() {
        // What still waits for its turn is not done any more when nobody waits for it.
        chat.person("Bob").await;
        assert_eq!(users().await, json!([{ "name": "Bob" }]));
    } else {
        // What was begun goes on to its end; the second field was not.
        while users().await.as_array().is_none_or(|users| users.len() < 2) {}
        let names = users().await.as_array().unwrap().iter().map(|user| user["name"].clone()).collect::<HashSet<_>>();
        // Both waited for the same lock, and either may have got it first.
        assert_eq!(names, HashSet::from([json!("Ada"), json!("Dan")]));
    }
}
