//! Documents that nobody would write, over every transport: each is answered, and none makes the server panic.

use std::process::Stdio;

use duologue::execution::Code;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use strum::VariantArray;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    harness::{Database, Socket, authorization, client, soon},
    program::{server, started},
};

const SEED: u64 = 20_261_126;

/// What documents are put together from.
const PARTS: &[&str] = &[
    "{ __type(name: \"__Type\") { cursor: description } }",
    "{ messages(first: 3) { nodes { cursor: content id sender { cursor: name } replyTo { content } } pageInfo { endCursor } } }",
    "{ users(first: 2, search: \"a\") { edges { cursor node { cursor: name email conversations(first: 1) { nodes { id } } } } } }",
    "query Q($a: ID = 1) { a: user(id: $a) { ...F } } fragment F on User { id name ...G } fragment G on User { createdAt }",
    "{ nodes(ids: [\"usr_1\", \"msg_1\", \"cnv_1_2\", 7]) { __typename id ... on Message { content } ... on User { name } } }",
    "{ conversation(user1: 1, user2: 2) { messages { nodes { status version } } unreadCount(userId: 1) members { user { id } } } }",
    "{ feedCursor(userId: 1) feedEvents(userId: 1, after: \"x\") { events { kind } } }",
    "mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: \"line\\nfeed \\u0000 \\u2028\" }) { duplicate } }",
    "mutation M($t: String!) { updateMessage(id: 1, input: { content: $t }) { message { content } userErrors { code field } } }",
    "mutation { setTyping(conversationId: \"cnv_1_2\", userId: 1) { ok } markRead(messageId: 1, userId: 2) { userErrors { code } } }",
    "mutation { signIn(input: { email: \"a@x\", password: \"x\" }) { accessToken } signOut { sessionId } }",
    "mutation { refreshSession(refreshToken: \"\") { accessToken } renewConnection(accessToken: \"\") { expiresAt } }",
    "subscription { cursor: feed(userId: 1) { cursor kind message { content } member { user { name } } } }",
    "subscription S { signals(userId: 2) { kind user { id } expiresAt } }",
    "{ server { version features maxPageSize } __schema { types { name fields { name args { defaultValue } } } } }",
];
/// What is put into them.
const BITS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\"\"\"",
    "\\",
    "...",
    "@skip(if: true)",
    "@include(if: $a)",
    "$a",
    "null",
    "-1",
    "1e999",
    "9007199254740993",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "𝒳",
    "#",
    "\n",
    "cursor:",
    "first: -1",
    "last: 101",
    "on User",
    "&",
    "fragment F on User { ...F }",
    "\\u{110000}",
    "\\ud800",
    "usr_99999999999999999999",
    "__typename",
    ",,,",
    "!",
    "=",
];

fn document(random: &mut ChaCha8Rng) -> String {
    let mut text = PARTS[random.random_range(0..PARTS.len())].to_owned();
    for _ in 0..random.random_range(0..4) {
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        let (from, to) = (places[random.random_range(0..places.len())], places[random.random_range(0..places.len())]);
        match random.random_range(0..4) {
            0 => text.insert_str(from, BITS[random.random_range(0..BITS.len())]),
            1 => text.replace_range(from.min(to)..from.max(to), ""),
            2 => text = format!("{}{}", &text[..from], &PARTS[random.random_range(0..PARTS.len())]),
            _ => text.replace_range(from.min(to)..from.max(to), BITS[random.random_range(0..BITS.len())]),
        }
        if text.is_empty() {
            break;
        }
    }
    text
}

/// Each error has a code of the list, and tells nothing of the inside.
fn check_errors(document: &str, answer: &Value) {
    for error in answer["errors"].as_array().into_iter().flatten() {
        let code = error["extensions"]["code"].as_str().unwrap();
        let is_known = Code::VARIANTS.iter().any(|known| known.to_string() == code);
        assert!(is_known && code != Code::Internal.to_string(), "{document}: {error}");
        let message = error["message"].as_str().unwrap();
        for inside in ["SELECT", "INSERT", ".rs:", "diesel", "sqlite", "::"] {
            assert!(!message.contains(inside) || document.contains(inside), "{document}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_document_makes_the_server_panic_over_any_transport() {
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    let mut command = server(&database, &["--max-sends", "off"]);
    command.stderr(Stdio::piped());
    let (mut child, address) = started(command).await;
    let mut log = child.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut text = Vec::new();
        log.read_to_end(&mut text).await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let (http, url) = (client(authorization.as_deref()), format!("http://{address}/graphql"));
    for email in ["a@x", "b@x"] {
        let create =
            format!("mutation {{ createUser(input: {{ name: \"a\\nb\", email: \"{email}\" }}) {{ user {{ id }} }} }}");
        soon(http.post(&url).json(&json!({ "query": create })).send()).await.unwrap();
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    for number in 0..short_or_long(300, 30_000) {
        let text = document(&mut random);
        let variables = [json!({}), json!({ "a": "usr_1", "t": "x\ny" }), json!({ "a": [1, null], "t": 7 })];
        let request = json!({ "query": text, "variables": variables[number % 3] });
        match number % 4 {
            way @ (0 | 1) => {
                let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let by_get = http.get(format!("{url}?query={query}"));
                let asking = if way == 0 { http.post(&url).json(&request) } else { by_get };
                let answer = soon(asking.send()).await.unwrap_or_else(|why| panic!("{text}: {why}"));
                check_errors(&text, &answer.json().await.unwrap());
            }
            2 => {
                let mut answer = soon(http.post(&url).header("accept", "text/event-stream").json(&request).send())
                    .await
                    .unwrap_or_else(|why| panic!("{text}: {why}"));
                // A stream that goes on has begun; one that broke would fail here.
                soon(answer.chunk()).await.unwrap_or_else(|why| panic!("{text}: {why}"));
            }
            _ => {
                let mut socket = Socket::open_with(address, "graphql-transport-ws", authorization.as_deref()).await;
                socket.says(json!({ "type": "connection_init" })).await;
                socket.says(json!({ "type": "subscribe", "id": "1", "payload": request })).await;
                socket.hears().await;
                match socket.hears_or_ends().await {
                    Some(Message::Text(said)) => {
                        let said: Value = serde_json::from_str(&said).unwrap();
                        let payload = &said["payload"];
                        check_errors(
                            &text,
                            &if payload.is_array() { json!({ "errors": payload }) } else { payload.clone() },
                        );
                    }
                    other => panic!("{text}: {other:?}"),
                }
            }
        }
    }
    child.kill().await.unwrap();
    let log = log.await.unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
