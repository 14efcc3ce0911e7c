//! Documents that nobody would write, over every transport: each is answered, and none makes the server panic.

use std::{net::SocketAddr, process::Stdio};

use duologue::execution::Code;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use strum::VariantArray;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    harness::{Database, Socket, authorization, client, soon},
    program::{server, started},
    stopping::PROTOCOLS,
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

/// Whether it may be a subscription, which has no end.
fn may_go_on(document: &str) -> bool {
    document.contains("subscription")
}

async fn over_http(request: RequestBuilder, document: &str) -> Value {
    let answer = soon(request.send()).await.unwrap_or_else(|why| panic!("{document}: {why}"));
    soon(answer.json()).await.unwrap_or_else(|why| panic!("{document}: {why}"))
}

/// All events, or the first one of what may go on.
async fn over_a_stream(request: RequestBuilder, document: &str) -> Vec<Value> {
    let mut response = soon(request.header("accept", "text/event-stream").send()).await.unwrap();
    let mut text = String::new();
    if response.headers()["content-type"] != "text/event-stream" {
        return vec![soon(response.json()).await.unwrap_or_else(|why| panic!("{document}: {why}"))];
    }
    let enough = if may_go_on(document) { "\n\n" } else { "event: complete\ndata:\n\n" };
    while !text.ends_with(enough) {
        let chunk = soon(response.chunk()).await.unwrap_or_else(|why| panic!("{document}: {why}"));
        let chunk = chunk.unwrap_or_else(|| panic!("{document}: it broke off after {text}"));
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|why| panic!("{document}: {why}: {data}"))).collect()
}

/// All answers, or what is said first of what may go on.
async fn over_a_socket(
    address: SocketAddr,
    (protocol, start): (&str, &str),
    authorization: Option<&str>,
    request: &Value,
    document: &str,
) -> Vec<Value> {
    let mut socket = Socket::open_with(address, protocol, authorization).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.says(json!({ "type": start, "id": "1", "payload": request })).await;
    let mut answers = Vec::new();
    loop {
        let said = match socket.hears_or_ends().await {
            Some(Message::Text(said)) => serde_json::from_str::<Value>(&said).unwrap(),
            Some(Message::Ping(_)) => json!({ "type": "ping" }),
            other => panic!("{document}: {protocol}: {other:?}"),
        };
        let (payload, is_over) = (&said["payload"], said["type"] == "complete");
        match said["type"].as_str().unwrap() {
            "next" | "data" => answers.push(payload.clone()),
            "error" => answers.push(if payload.is_array() { json!({ "errors": payload }) } else { payload.clone() }),
            "complete" | "ping" | "ka" => {}
            other => panic!("{document}: {protocol}: {other}"),
        }
        // In the older protocol an operation that has failed is complete, too.
        let is_error = said["type"] == "error" && start == "subscribe";
        if is_over || is_error || may_go_on(document) {
            return answers;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_document_makes_the_server_panic_over_any_transport() {
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    // Some subscriptions have nothing to say: then the next ping is what comes.
    let mut command = server(&database, &["--max-sends", "off", "--ping-interval", "0.2"]);
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
    for number in 0..short_or_long(450, 45_000) {
        let mut text = document(&mut random);
        let variables = [json!({}), json!({ "a": "usr_1", "t": "x\ny" }), json!({ "a": [1, null], "t": 7 })];
        let request = json!({ "query": text, "variables": variables[number % 3] });
        let answers = match number % 6 {
            0 => vec![over_http(http.post(&url).json(&request), &text).await],
            1 => {
                let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                vec![over_http(http.get(format!("{url}?query={query}")), &text).await]
            }
            2 => {
                let other = document(&mut random);
                let batch = [request.clone(), json!({ "query": other }), request];
                text = format!("{text} and {other}");
                let answers = over_http(http.post(&url).json(&batch), &text).await;
                assert_eq!(answers.as_array().map(Vec::len), Some(batch.len()), "{text}: {answers}");
                answers.as_array().unwrap().clone()
            }
            3 => over_a_stream(http.post(&url).json(&request), &text).await,
            4 => over_a_socket(address, PROTOCOLS[0], authorization.as_deref(), &request, &text).await,
            _ => over_a_socket(address, PROTOCOLS[1], authorization.as_deref(), &request, &text).await,
        };
        for answer in &answers {
            check_errors(&text, answer);
        }
    }
    child.kill().await.unwrap();
    let log = log.await.unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
