//! Documents that are named by their hashes, and a server that runs only those of a list.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Chat, Database, Socket, code};

const QUERY: &str = "{ server { features } }";
/// `printf '{ server { features } }' | sha256sum`
const HASH: &str = "cd195c4c5f5e76c34139219a2426a4930751b587e94b26d3715fd8422c666dd0";

fn named(hash: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } })
}

async fn ask(chat: &Chat, body: Value) -> Value {
    chat.http.post(chat.url("/graphql")).json(&body).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_was_sent_once_may_be_named_by_its_hash() {
    let chat = Chat::open().await;
    let unknown = ask(&chat, json!({ "extensions": named(HASH) })).await;
    // Clients look for these words.
    assert_eq!(unknown["errors"][0]["message"], "PersistedQueryNotFound");
    assert_eq!(code(&unknown), "PERSISTED_QUERY_NOT_FOUND");
    let told = ask(&chat, json!({ "query": QUERY, "extensions": named(HASH) })).await;
    let answer = told["data"].clone();
    assert!(answer["server"]["features"].is_array(), "{told}");
    assert_eq!(ask(&chat, json!({ "extensions": named(HASH) })).await["data"], answer);
    // Also by GET, where proxies can keep the answer, and in a socket.
    let query: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("extensions", &named(HASH).to_string()).finish();
    let get = chat.http.get(chat.url(&format!("/graphql?{query}"))).send().await.unwrap();
    assert_eq!(get.json::<Value>().await.unwrap()["data"], answer);
    let mut socket = Socket::ready(&chat).await;
    // Libraries for sockets may send an empty text where there is none.
    let payload = json!({ "query": "", "extensions": named(HASH) });
    socket.says(json!({ "type": "subscribe", "id": "1", "payload": payload })).await;
    assert_eq!(socket.hears().await["payload"]["data"], answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hash_is_refused_and_nothing_is_kept() {
    let chat = Chat::open().await;
    for body in [
        json!({ "query": "{ __typename }", "extensions": named(HASH) }),
        json!({ "query": QUERY, "extensions": { "persistedQuery": { "version": 2, "sha256Hash": HASH } } }),
        json!({ "query": QUERY, "extensions": { "persistedQuery": true } }),
        json!({}),
        json!({ "extensions": { "persistedQuery": null } }),
    ] {
        assert_eq!(code(&ask(&chat, body).await), "BAD_REQUEST");
    }
    assert_eq!(code(&ask(&chat, json!({ "extensions": named(HASH) })).await), "PERSISTED_QUERY_NOT_FOUND");
    let null = ask(&chat, json!({ "query": QUERY, "extensions": { "persistedQuery": null } })).await;
    assert!(null["data"].is_object(), "{null}");
    // On a socket it is one operation that fails, and not all of them.
    let mut socket = Socket::ready(&chat).await;
    let extensions = json!({ "persistedQuery": { "version": 2, "sha256Hash": HASH } });
    socket
        .says(json!({ "type": "subscribe", "id": "1", "payload": { "query": QUERY, "extensions": extensions } }))
        .await;
    assert_eq!(socket.hears().await["type"], "error");
}

/// The answer to a request with a document and its hash, and the hash.
async fn tell(chat: &Chat, query: &str) -> (Value, String) {
    let hash = sha256(query);
    (ask(chat, json!({ "query": query, "extensions": named(&hash) })).await, hash)
}

async fn is_known(chat: &Chat, hash: &str) -> bool {
    let answer = ask(chat, json!({ "extensions": named(hash) })).await;
    assert!(answer["data"].is_object() || code(&answer) == "PERSISTED_QUERY_NOT_FOUND", "{answer}");
    answer["data"].is_object()
}

/// Padded with a string: a comment or blanks would do too.
fn of_size(bytes: usize, name: &str) -> String {
    let fixed = format!("query {name} {{ server {{ version }} users(search: \"\", first: 1) {{ nodes {{ id }} }} }}");
    fixed.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - fixed.len())))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_document_that_can_be_run_is_kept_and_none_of_any_size() {
    let chat = Chat::open().await;
    for (query, is_kept) in [
        (of_size(32_000, "Q"), true),
        (of_size(32_001, "Q"), false),
        ("{ server { nothing } }".into(), false),
        ("{ server ".into(), false),
        ("rubbish ".repeat(20_000), false),
        ("{ server { version } } query Second { __typename }".into(), false),
    ] {
        let (answer, hash) = tell(&chat, &query).await;
        assert_eq!(is_known(&chat, &hash).await, is_kept, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_come_once_drive_out_none_that_are_used() {
    let chat = Chat::open().await;
    ask(&chat, json!({ "query": QUERY, "extensions": named(HASH) })).await;
    for number in 0..3_000 {
        if number % 10 == 0 {
            assert!(is_known(&chat, HASH).await, "{number}");
        }
        let large = number % 100 == 0;
        let name = format!("Q{number}");
        let query = if large { of_size(32_000, &name) } else { format!("query {name} {{ server {{ version }} }}") };
        assert!(tell(&chat, &query).await.0["data"].is_object());
        if large {
            tell(&chat, &format!("rubbish {number} {}", "x".repeat(250_000))).await;
        }
    }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_list_runs_no_other_document() {
    let plain = json!({ "server-mode": QUERY });
    let operation = json!({ "id": "server-mode", "name": "Mode", "type": "query", "body": QUERY });
    let apollo = json!({ "format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation] });
    for list in [plain, apollo] {
        let database = Database::new().await;
        let file = database.folder().join("documents.json");
        fs::write(&file, list.to_string()).unwrap();
        let chat = Chat::on(database, &["--trusted-documents", file.to_str().unwrap()]).await;
        let by_id = ask(&chat, json!({ "extensions": named("server-mode") })).await;
        assert!(by_id["data"]["server"].is_object(), "{by_id}");
        assert_eq!(ask(&chat, json!({ "query": QUERY })).await, by_id);
        let other = "{ server { version } }";
        assert_eq!(code(&ask(&chat, json!({ "query": other })).await), "FORBIDDEN");
        let mixed = json!({ "query": other, "extensions": named("server-mode") });
        assert_eq!(code(&ask(&chat, mixed).await), "BAD_REQUEST");
        assert_eq!(
            code(&ask(&chat, json!({ "query": other, "extensions": named(&sha256(other)) })).await),
            "FORBIDDEN"
        );
        assert_eq!(code(&ask(&chat, json!({ "extensions": named(HASH) })).await), "PERSISTED_QUERY_NOT_FOUND");
    }
}
