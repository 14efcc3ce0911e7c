//! What small requests make a server hold in its memory: little more than they have bytes.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    harness::{ACCOUNTS, Socket, code, soon},
    issuers::{Key, claims, issuer, jwks},
    jwks::Jwks,
    world::{World, aliased, socket},
};

const HELD: &str = "bytes of memory";

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// Selections that reach each other twice: the last of them is there so often as 2 to the power of `depth`.
fn doubled(depth: usize, arguments: &str, last: &str) -> String {
    let fragment = |n: usize| {
        let next = if n + 1 < depth { format!("...F{}", n + 1) } else { last.to_owned() };
        let lists = ["receivedMessages", "sentMessages"]
            .map(|list| format!("{list}{arguments} {{ nodes {{ sender {{ {next} }} }} }} "));
        format!("fragment F{n} on User {{ {} }} ", lists.concat())
    };
    format!("{{ user(id: 1) {{ ...F0 }} }} {}", (0..depth).map(fragment).collect::<String>())
}

impl World {
    /// Checks that the server had at no time many more MiB than before.
    fn held_little_since(&self, before: Option<u64>) {
        if let (Some(before), Some(peak)) = (before, self.peak()) {
            assert!(peak - before < 64, "from {before} to {peak} MiB");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_aliases_are_counted_before_they_are_copied() {
    let world = World::open(&[]).await;
    let before = world.resident();
    let refused = async |why: &str, query: String, variables: Value| {
        let answer = world.post("", &json!({ "query": query, "variables": variables })).await;
        assert_eq!(code(&answer), "QUERY_TOO_COMPLEX", "{answer}");
        assert!(answer.to_string().contains(why), "{answer}");
    };
    let in_arguments = format!("query ($x: String!) {}", doubled(10, "(after: $x, before: $x)", "id"));
    refused(HELD, in_arguments, json!({ "x": long(250_000) })).await;
    let in_literals = doubled(10, &format!("(after: \"{}\")", long(10_000)), "id");
    refused(HELD, in_literals, json!({})).await;
    let in_a_list = format!("query ($x: ID!) {{ nodes(ids: [{}]) {{ id }} }}", "$x ".repeat(970));
    refused(HELD, in_a_list, json!({ "x": long(250_000) })).await;
    let in_aliases = format!("{} fragment Last on User {{ {}: id }}", doubled(9, "", "...Last"), "A".repeat(240_000));
    refused("An alias", in_aliases, json!({})).await;
    // All of a batch have no more room than one of them.
    let part = format!("query ($x: String!) {{ {} }}", aliased(9, "users(after: $x) { nodes { id } }"));
    let part = json!({ "query": part, "variables": { "x": long(25_000) } });
    let plan = json!({ "query": format!("{{ server {{ {} }} }}", "version ".repeat(1_500)) });
    for (large, fitting) in [(part, 4), (plan, 1)] {
        let small = json!({ "query": "{ server { version } }" });
        let batch = world.post("", &json!([vec![large; 9], vec![small]].concat())).await;
        let of_batch = |answer: &&Value| answer.to_string().contains("of this batch would hold more");
        let batch = batch.as_array().unwrap();
        assert_eq!(batch.iter().filter(of_batch).count(), 9 - fitting, "{batch:?}");
        assert!(batch[9]["data"]["server"].is_object(), "what has room is run: {batch:?}");
    }
    world.held_little_since(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_hold_no_more_as_event_streams_than_on_sockets() {
    let world = World::open(&[]).await;
    let lists = aliased(29, "receivedMessages(first: 0, after: $x, before: $x) { pageInfo { hasNextPage } }");
    let arguments = format!("subscription ($x: String!) {{ feed {{ user {{ {lists} }} }} }}");
    let plan = format!("subscription {{ feed {{ message {{ {} }} }} }} # {}", "id ".repeat(1_900), long(150_000));
    for (query, variables) in [(arguments, json!({ "x": long(200_000) })), (plan, json!({}))] {
        let body = json!({ "query": query, "variables": variables });
        let request = world.http.post(&world.url).header("authorization", &world.mallory.authorization);
        let answer = soon(request.header(ACCEPT, "text/event-stream").json(&body).send()).await.unwrap();
        let answer = soon(answer.text()).await.unwrap();
        assert!(answer.contains("QUERY_TOO_COMPLEX") && answer.contains(HELD), "{answer}");
    }
}

/// As JSON values, objects take a hundred times as much as their text.
fn objects(bytes: usize) -> Value {
    json!({ "objects": vec![json!({ "": 0 }); bytes / 7] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_of_a_ping_is_not_kept_for_a_client_that_does_not_read() {
    let world = World::open(&["--stall-timeout", "600"]).await;
    let (before, mut stalled) = (world.resident(), Vec::new());
    let ping = |payload: &Value| json!({ "type": "ping", "payload": payload });
    let (filling, large) = (ping(&json!({ "text": long(250_000) })), ping(&objects(100_000)));
    for _ in 0..20 {
        let mut socket = Socket::open_with(world.address, "graphql-transport-ws", None).await;
        for _ in 0..8 {
            socket.says(filling.clone()).await;
        }
        // Until the server reads no more.
        while timeout(Duration::from_millis(500), socket.says(large.clone())).await.is_ok() {}
        stalled.push(socket);
    }
    world.held_little_since(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_of_connection_init_is_not_kept_while_the_keys_of_an_issuer_are_read() {
    let known = Key::new("known", Algorithm::ES256);
    let served = Jwks::serve(&jwks(&[&known])).await;
    let world = World::open(&issuer(&served.url, &[])[ACCOUNTS.len()..]).await;
    served.hold();
    let before = world.resident();
    let token = Key::new("unknown", Algorithm::ES256).signs(&claims("ada"));
    let mut payload = objects(60_000);
    payload["authorization"] = json!(format!("Bearer {token}"));
    let mut waiting = Vec::new();
    for number in 0..40 {
        let protocol = if number % 2 == 0 { "graphql-transport-ws" } else { "graphql-ws" };
        let mut socket = Socket::open_with(world.address, protocol, None).await;
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        waiting.push(socket);
    }
    // The server waits for the keys no longer than for some seconds.
    for mut socket in waiting {
        soon(async { while socket.hears_or_ends().await.is_some_and(|said| !said.is_close()) {} }).await;
    }
    assert_eq!(served.asked(), 2);
    world.held_little_since(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_are_not_declared_are_not_kept() {
    let world = World::open(&[]).await;
    let (before, mut sockets) = (world.resident(), Vec::new());
    for _ in 0..3 {
        let mut socket = socket(&world, &world.mallory).await;
        for id in 0..10 {
            let variables = json!({ "unused": vec![1; 120_000] });
            socket.subscribes(&id.to_string(), "subscription { feed { cursor } }", variables).await;
            assert_eq!(socket.hears().await["type"], "next");
        }
        sockets.push(socket);
    }
    if let (Some(before), Some(after)) = (before, world.resident()) {
        assert!(after.saturating_sub(before) < 48, "from {before} to {after} MiB");
    }
    // What is kept has a bound on each socket: here it is the text of the document.
    let mut socket = socket(&world, &world.mallory).await;
    let mut said = json!({ "type": "next" });
    let mut started = 0;
    while said["type"] == "next" {
        let document = format!("subscription {{ feed {{ cursor }} }} # {}", "x".repeat(200_000));
        socket.subscribes(&started.to_string(), &document, json!({})).await;
        said = socket.hears().await;
        started += 1;
    }
    assert_eq!(said["payload"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX", "{said}");
    assert!((2..=6).contains(&started), "{started} were started");
}
