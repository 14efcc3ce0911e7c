//! What one ordinary account can make a server hold, and whom it can keep waiting: as much as the limits say, and nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    crowd::short_or_long,
    harness::{Chat, SEND, code, soon, text},
    world::{World, aliased, socket},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_would_be_too_large_is_refused_before_it_is_held() {
    let world = World::open(&[]).await;
    world.fill(100).await;
    let page = format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(29, "content"));
    world.data(&world.mallory.authorization, "{ server { version } }", json!({})).await;
    let before = world.resident();
    let mallory = &world.mallory.authorization;
    let one = json!({ "query": page });
    assert_eq!(code(&world.post(mallory, &one).await), "QUERY_TOO_COMPLEX");
    // A batch has no more room than a request.
    let half = json!({ "query": "{ messages(first: 100) { nodes { content } } }" });
    let batch = world.post(mallory, &json!(vec![half.clone(); 10])).await;
    let refused = batch.as_array().unwrap().iter().filter(|answer| answer.get("errors").is_some()).count();
    assert_eq!(refused, 9, "only the first one fits");
    // Many at a time, and nobody takes the answers.
    let many = short_or_long(4, 10);
    let batch = json!(vec![one; many]);
    let all = (0..many).map(|_| world.post(mallory, &batch));
    for answers in futures_util::future::join_all(all).await {
        let answers = answers.as_array().unwrap_or_else(|| panic!("{answers}"));
        assert!(answers.iter().all(|answer| code(answer) == "QUERY_TOO_COMPLEX"));
    }
    // Texts that do not come into the answer are read all the same.
    let pages: String = (81..=100).map(|n| format!("a{n}: messages(first: {n}) {{ nodes {{ id }} }} ")).collect();
    assert_eq!(code(&world.post(mallory, &json!({ "query": format!("{{ {pages} }}") })).await), "QUERY_TOO_COMPLEX");
    if let (Some(before), Some(after)) = (before, world.peak()) {
        assert!(after - before < 64, "from {before} to {after} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_would_be_too_large_is_refused_and_the_feed_goes_on() {
    let world = World::open(&["--max-answer", "100000"]).await;
    let mut feed = socket(&world, &world.bob).await;
    let query = format!("subscription {{ feed {{ message {{ {} }} }} }}", aliased(29, "content"));
    feed.subscribes("1", &query, json!({})).await;
    assert_eq!(feed.hears().await["payload"], json!({ "data": { "feed": { "message": null } } }), "it has caught up");
    world.fill(10).await;
    for _ in 0..10 {
        assert_eq!(code(&feed.hears().await["payload"]), "QUERY_TOO_COMPLEX");
    }
    let hello = json!({ "input": { "receiverId": world.bob.id, "content": "hello" } });
    world.data(&world.mallory.authorization, SEND, hello).await;
    assert_eq!(feed.hears().await["payload"]["data"]["feed"]["message"]["a28"], "hello");
}

/// A part of a feed has as many bytes as a follower may hold; nothing of it is left out.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_feed_are_bounded_in_bytes() {
    let world = World::open(&[]).await;
    let bob = &world.bob.authorization;
    let mut cursor = text(&world.data(bob, "{ feedCursor }", json!({})).await["feedCursor"]);
    world.fill(100).await;
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let query =
            "query ($after: String!) { feedEvents(after: $after, first: 100) { events { messageId } cursor hasMore } }";
        let page = world.data(bob, query, json!({ "after": cursor })).await["feedEvents"].take();
        let events = page["events"].as_array().unwrap();
        // Each message has 10,000 bytes.
        assert!(events.len() < 30, "{} at once", events.len());
        seen.extend(events.iter().map(|event| text(&event["messageId"])));
        (cursor, pages) = (text(&page["cursor"]), pages + 1);
        if page["hasMore"] == false {
            break;
        }
    }
    let all: Vec<_> = (1..=100).map(|id| format!("msg_{id}")).collect();
    assert_eq!((seen, pages), (all, 4));
}

/// As many followers as a user may have, all of them far behind, and none of them reads.
#[tokio::test(flavor = "multi_thread")]
async fn followers_that_are_far_behind_hold_a_bounded_part_of_the_feed() {
    let world = World::open(&[]).await;
    let bob = &world.bob;
    let start = text(&world.data(&bob.authorization, "{ feedCursor }", json!({})).await["feedCursor"]);
    world.fill(100).await;
    let before = world.resident();
    let query =
        "subscription ($after: String!) { feed(after: $after) { message { a: content b: content c: content } } }";
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut stalled = socket(&world, bob).await;
        for id in 0..10 {
            stalled.subscribes(&id.to_string(), query, json!({ "after": start })).await;
        }
        sockets.push(stalled);
    }
    // Another one is served meanwhile, and by then all of them have read what they may.
    let mut reader = socket(&world, &world.mallory).await;
    for number in 0..20 {
        reader.subscribes(&number.to_string(), "{ messages(last: 50) { nodes { id } } }", json!({})).await;
        assert_eq!(reader.hears().await["type"], "next");
        assert_eq!(reader.hears().await["type"], "complete");
    }
    if let (Some(before), Some(peak)) = (before, world.peak()) {
        assert!(peak - before < 128, "from {before} to {peak} MiB");
    }
}

/// An answer counts until it was taken: otherwise a client could have any number of them held for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_counts_as_a_request_in_hand() {
    let world = World::open(&["--max-user-requests", "2"]).await;
    world.fill(100).await;
    let mallory = &world.mallory.authorization;
    let mut stalled = Vec::new();
    for _ in 0..2 {
        stalled.push(stalled_request(&world, "{ messages(first: 100) { nodes { content } } }").await);
    }
    let small = json!({ "query": "{ server { version } }" });
    assert_eq!(code(&world.post(mallory, &small).await), "RATE_LIMITED");
    assert_eq!(world.post(&world.bob.authorization, &small).await.get("errors"), None);
    drop(stalled);
    while world.post(mallory, &small).await.get("errors").is_some() {}
}

/// Each is there once, and what it had is used again when its client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_nobody_takes_are_in_memory_once_and_only_so_long() {
    const CLIENTS: u64 = 6;
    for is_socket in [false, true] {
        // Those of the next round are not answered before those of the last one are gone.
        let world = World::open(&["--stall-timeout", "600", "--max-user-requests", &CLIENTS.to_string()]).await;
        world.fill(100).await;
        // As large as an answer may be: 139 texts of 60,000 bytes.
        let page = "{ a: messages(first: 100) { nodes { content } } b: messages(last: 39) { nodes { content } } }";
        world.data(&world.mallory.authorization, page, json!({})).await;
        let before = world.resident();
        for _ in 0..10 {
            let (mut streams, mut sockets) = (Vec::new(), Vec::new());
            for _ in 0..CLIENTS {
                if is_socket {
                    let mut stalled = socket(&world, &world.mallory).await;
                    stalled.subscribes("1", page, json!({})).await;
                    stalled.feels().await;
                    sockets.push(stalled);
                } else {
                    streams.push(stalled_request(&world, page).await);
                }
            }
        }
        if let (Some(before), Some(peak)) = (before, world.peak()) {
            assert!(peak - before < CLIENTS * 8 + 16, "from {before} to {peak} MiB");
        }
    }
}

/// A request of mallory's that is being answered, and whose answer nobody reads.
async fn stalled_request(world: &World, query: &str) -> TcpStream {
    let body = json!({ "query": query }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        world.mallory.authorization,
        body.len()
    );
    soon(async {
        loop {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            if status == *b"HTTP/1.1 200" {
                return stream;
            }
            assert_eq!(status, *b"HTTP/1.1 429");
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_of_a_user_wait_on_a_socket_and_are_refused_over_http() {
    let world = World::open(&["--max-user-requests", "1"]).await;
    world.fill(100).await;
    let page = json!({ "query": format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(2, "version")) });
    let all = futures_util::future::join_all((0..40).map(|_| world.post(&world.mallory.authorization, &page))).await;
    let refused: Vec<_> = all.iter().filter(|answer| answer.get("errors").is_some()).collect();
    assert!(!refused.is_empty() && refused.len() < 40, "{} refused", refused.len());
    for answer in refused {
        assert_eq!(code(answer), "RATE_LIMITED");
        assert!(answer["errors"][0]["extensions"]["retryAfterMs"].as_u64().unwrap() > 0);
    }
    // On a socket all of them are answered, one after the other.
    let mut socket = socket(&world, &world.mallory).await;
    for id in 0..40 {
        socket.subscribes(&id.to_string(), page["query"].as_str().unwrap(), json!({})).await;
    }
    let mut complete = 0;
    while complete < 40 {
        let said = socket.hears().await;
        assert_eq!(said["payload"].get("errors"), None, "{said}");
        complete += usize::from(said["type"] == "complete");
    }
    // A program and an admin have no such limit, nor has anyone on an open server.
    world.makes_admin("mallory").await;
    for authorization in [&world.program, &world.signs_in("mallory").await] {
        let all = (0..40).map(|_| world.post(authorization, &page));
        assert!(futures_util::future::join_all(all).await.iter().all(|answer| answer.get("errors").is_none()));
    }
    let open = Chat::open_to_all(&["--max-user-requests", "1"]).await;
    let all = (0..40).map(|_| open.data("{ users { nodes { id } } }", json!({})));
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_user_have_a_number_and_a_budget() {
    let world = World::open(&["--max-user-subscriptions", "5", "--max-user-subscribed-fields", "1000"]).await;
    let mut socket = socket(&world, &world.mallory).await;
    for id in ["1", "2", "3", "4", "5"] {
        socket.subscribes(id, "subscription { feed { cursor } }", json!({})).await;
        assert_eq!(socket.hears().await["type"], "next");
    }
    let refused = |said: Value| {
        assert_eq!(said["payload"][0]["extensions"]["code"], "FORBIDDEN", "{said}");
    };
    socket.subscribes("6", "subscription { signals { kind } }", json!({})).await;
    refused(socket.hears().await);
    socket.says(json!({ "type": "complete", "id": "5" })).await;
    // What an event of it would fill is more than all of them may.
    let heavy = "subscription { feed { conversation { messages(first: 100) { nodes { content createdAt } } } } }";
    for id in ["7", "8", "9", "10", "11", "12"] {
        socket.subscribes(id, heavy, json!({})).await;
        assert_eq!(socket.hears().await["type"], "next", "each by itself is allowed");
        socket.says(json!({ "type": "complete", "id": id })).await;
    }
    let heavier = heavy.replace("content", &aliased(20, "content"));
    socket.subscribes("17", &heavier, json!({})).await;
    refused(socket.hears().await);
}

/// All that one signed-in stranger can do at once: the sends and pages of others go on, and memory stays bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_does_everything_at_once_keeps_nobody_waiting() {
    let world = Arc::new(World::open(&["--max-sign-ups", "off"]).await);
    world.fill(100).await;
    let eve = world.account("eve").await;
    let going = Arc::new(AtomicBool::new(true));
    let [me, to] = [&world.mallory, &world.bob].map(|account| account.id.clone());
    let mallory = world.mallory.authorization.clone();
    let large = format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(29, "content"));
    let searches = format!(
        "{{ {} }}",
        (0..9).map(|n| format!("a{n}: users(search: \"{n}\") {{ nodes {{ id }} }} ")).collect::<String>()
    );
    let pages = "{ users(first: 100) { nodes { conversations(first: 40) { nodes { id messages(first: 1) { nodes { content } } } } } } }";
    let rename = "mutation ($me: ID!) { updateUser(id: $me, input: { name: \"another\" }) { userErrors { code } } }";
    let many = "nodes { sender { id name createdAt } receiver { id name } id content } ".repeat(20);
    let requests = [
        json!({ "query": large }),
        json!(vec![json!({ "query": large }); 4]),
        json!({ "query": searches }),
        json!({ "query": pages }),
        json!({ "query": rename, "variables": { "me": me } }),
        json!({ "query": "mutation { refreshSession(refreshToken: \"x\") { userErrors { code } } }" }),
        json!({ "query": SEND, "variables": { "input": { "receiverId": to, "content": "x".repeat(9_000) } } }),
        json!({ "query": "{ messages(first: 100) { nodes { content } } }" }),
        json!({ "query": format!("{{ me {{ {} }} }}", aliased(29, "unreadCount")) }),
        json!({ "query": format!("{{ n%: messages {{ ...A ...A }} }} fragment A on MessageConnection {{ {many} }}") }),
    ];
    let (http, url, bearer, goes_on) = (world.http.clone(), world.url.clone(), mallory.clone(), going.clone());
    let crude = tokio::spawn(async move {
        while goes_on.load(Ordering::Relaxed) {
            let body = http.post(&url).header("content-type", "application/json").body(" ".repeat(20 << 20));
            let head = http.get(&url).header("x-large", "x".repeat(40_000));
            let address = http.get(format!("{url}?query={}", "x".repeat(20_000)));
            for request in [body, head, address] {
                // Refused, with an answer or without.
                let _ = request.header("authorization", &bearer).timeout(Duration::from_secs(10)).send().await;
            }
        }
    });
    let attack = requests.into_iter().cycle().take(short_or_long(20, 40)).map(|request| {
        let (world, mallory, going) = (world.clone(), mallory.clone(), going.clone());
        tokio::spawn(async move {
            for number in 0.. {
                if !going.load(Ordering::Relaxed) {
                    break;
                }
                let query = request.to_string().replace("n%", &format!("n{number}"));
                let asked = world.http.post(&world.url).header("authorization", &mallory).body(query);
                let asked = asked.header("content-type", "application/json");
                // How long the stranger waits for her own requests does not matter.
                let Ok(answer) = asked.timeout(Duration::from_secs(10)).send().await else { continue };
                let Ok(answers) = answer.json::<Value>().await else { continue };
                for answer in answers.as_array().into_iter().flatten().chain([&answers]) {
                    for error in answer["errors"].as_array().into_iter().flatten() {
                        let code = error["extensions"]["code"].as_str().unwrap();
                        // In a debug build the stranger may wait for too long for her own requests.
                        let is_slow = cfg!(debug_assertions) && code == "TIMEOUT";
                        assert!(is_slow || ["RATE_LIMITED", "QUERY_TOO_COMPLEX"].contains(&code), "{error}");
                    }
                }
            }
        })
    });
    let attack: Vec<_> = attack.collect();
    // Sockets that follow and do not read.
    let mut stalled = Vec::new();
    for _ in 0..short_or_long(4, 10) {
        let mut socket = socket(&world, &world.mallory).await;
        for id in 0..10 {
            let feed = "subscription { feed { cursor message { a: content b: content content } } }";
            socket.subscribes(&id.to_string(), feed, json!({ "unused": vec![1; 50_000] })).await;
        }
        stalled.push(socket);
    }
    let (mut delays, mut pace) = (Vec::new(), tokio::time::interval(Duration::from_millis(50)));
    let newest = "{ messages(last: 50) { nodes { id content sender { name } } } }";
    let send = json!({ "input": { "receiverId": world.bob.id, "content": "hello" } });
    let until = Instant::now() + Duration::from_secs(short_or_long(5, 60));
    while Instant::now() < until {
        for (query, variables) in [(newest, json!({})), (SEND, send.clone())] {
            let begun = Instant::now();
            world.data(&eve.authorization, query, variables).await;
            delays.push(begun.elapsed());
        }
        pace.tick().await;
    }
    going.store(false, Ordering::Relaxed);
    for attacker in attack.into_iter().chain([crude]) {
        attacker.await.unwrap();
    }
    delays.sort();
    // In a debug build, beside other tests, all takes longer.
    let bound = if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::from_millis(500) };
    assert!(delays[delays.len() * 99 / 100] < bound, "{delays:?}");
    if let Some(peak) = world.peak() {
        assert!(peak < 256, "{peak} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_signed_in_can_ask_for_the_schema_and_little_more() {
    let world = World::open(&[]).await;
    let asks = async |query: &str| world.post("", &json!({ "query": query })).await;
    let schema = asks(include_str!("introspection.graphql")).await;
    assert!(schema["data"]["__schema"].is_object(), "{schema}");
    let often =
        format!("{{ __schema {{ types {{ fields {{ type {{ fields {{ {} }} }} }} }} }} }}", aliased(29, "description"));
    let batch = world.post("", &json!(vec![json!({ "query": often }); 10])).await;
    let refused = batch.as_array().unwrap().iter().filter(|answer| answer.get("errors").is_some()).count();
    assert!(refused > 5, "{refused}");
    assert!(asks("{ server { version } }").await["data"]["server"].is_object());
}
