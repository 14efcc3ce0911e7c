//! Server-sent events: the protocol graphql-sse, and resuming by `Last-Event-ID`.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, header::HeaderValue};
use serde_json::{Value, json};

use crate::{
    accounts::{Member, accounts},
    crowd::short_or_long,
    harness::{Chat, code, soon},
};

const FEED: &str = "subscription ($after: String) { feed(userId: 2, after: $after) { kind cursor messageId } }";

/// The events of a response, as they come.
struct Stream {
    response: Response,
    text: String,
}

/// Name, id and data of an event.
type Event = (String, Option<String>, String);

impl Stream {
    async fn open(request: RequestBuilder) -> Self {
        let response = soon(request.header("accept", "text/event-stream").send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` when the server has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
                };
                if let Some(name) = field("event:") {
                    return Some((name, field("id:"), field("data:").unwrap_or_default()));
                }
                continue;
            }
            let chunk = soon(self.response.chunk()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of a feed, and its id.
    async fn hears(&mut self) -> (Value, String) {
        let (name, id, data) = self.next().await.unwrap();
        assert_eq!(name, "next", "{data}");
        let mut answer: Value = serde_json::from_str(&data).unwrap();
        (answer["data"]["feed"].take(), id.unwrap())
    }
}

fn post(chat: &Chat, query: &str) -> RequestBuilder {
    chat.http.post(chat.url("/graphql")).json(&json!({ "query": query }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_streamed_to_whoever_names_event_streams() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let query = "subscription { feed(userId: 1) { kind } }";
    let streamed = async |request: RequestBuilder, accept: &str| {
        let response = soon(request.header("accept", accept).send()).await.unwrap();
        response.headers()["content-type"] == "text/event-stream"
    };
    let by_get = chat.url("/graphql?query=subscription%7Bfeed(userId:1)%7Bkind%7D%7D");
    for accept in [
        "text/event-stream",
        "text/event-stream, */*",
        "text/event-stream, application/json",
        "application/graphql-response+json, application/json, text/event-stream;q=0.1, multipart/mixed",
        "text/html, text/event-stream",
    ] {
        assert!(streamed(post(&chat, query), accept).await, "{accept}");
        assert!(streamed(chat.http.get(&by_get), accept).await, "{accept}");
    }
    for accept in ["*/*", "application/json", "text/*;q=0.1, application/json", "text/event-stream;q=0, */*"] {
        assert!(!streamed(post(&chat, query), accept).await, "{accept}");
    }
    // A query is one answer, in the form that is wanted most.
    assert!(!streamed(post(&chat, "{ __typename }"), "application/json, text/event-stream").await);
    assert!(streamed(post(&chat, "{ __typename }"), "text/event-stream, */*").await);
}

/// A proxy must neither keep events back to compress them nor to fill a buffer.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_proxies_to_pass_it_on_as_it_comes() {
    let chat = Chat::open().await;
    let response = Stream::open(post(&chat, "{ __typename }")).await.response;
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-cache, no-transform", "no"));
    assert!(response.headers().get_all("vary").iter().any(|vary| vary == "Accept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_streams_and_resumes_by_the_last_event_id() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut stream = Stream::open(post(&chat, FEED)).await;
    assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    ada.sends("one", &bob).await;
    let (event, last) = stream.hears().await;
    assert_eq!((&event["messageId"], &event["cursor"]), (&json!("msg_1"), &json!(last)));
    drop(stream);
    ada.sends("two", &bob).await;

    // By POST and by GET, with the cursor as a variable, as text, or not at all.
    let url = |query: &str| {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        chat.url(&format!("/graphql?{query}"))
    };
    for request in [
        post(&chat, FEED),
        post(&chat, r#"subscription { feed(userId: 2, after: "nonsense") { kind cursor messageId } }"#),
        chat.http.get(url(FEED)),
        chat.http.get(url("subscription { feed(userId: 2) { kind cursor messageId } }")),
    ] {
        let mut stream = Stream::open(request.header("last-event-id", &last)).await;
        assert_eq!(stream.hears().await.0["messageId"], "msg_2");
        assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    }
    // An empty one is none; what is no cursor does not begin the feed somewhere else.
    let mut stream = Stream::open(post(&chat, FEED).header("last-event-id", "")).await;
    assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    let wrong = HeaderValue::from_bytes("é".as_bytes()).unwrap();
    let (_, _, answer) = Stream::open(post(&chat, FEED).header("last-event-id", wrong)).await.next().await.unwrap();
    assert!(answer.contains("BAD_USER_INPUT"), "{answer}");
}

/// A client would send it back as if it were a place in a feed.
#[tokio::test(flavor = "multi_thread")]
async fn only_events_of_feeds_have_ids() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let cursor = chat.data("{ feedCursor(userId: 1) }", json!({})).await["feedCursor"].take();
    for query in [
        r#"{ __type(name: "__Type") { cursor: description } }"#,
        "{ cursor: feedCursor(userId: 1) }",
        &format!("{{ feed: feedEvents(userId: 1, after: {cursor}) {{ cursor events {{ cursor }} }} }}"),
        "{ users(first: 2) { edges { cursor } } }",
        "mutation { feed: updateUser(id: 1, input: { name: \"Eve\" }) { user { cursor: name } } }",
    ] {
        let mut response = Stream::open(post(&chat, query)).await.response;
        let mut events = String::new();
        while let Some(chunk) = soon(response.chunk()).await.unwrap() {
            events.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(events.contains(r#""cursor":"#) && events.ends_with("event: complete\ndata:\n\n"), "{query}: {events}");
        assert_eq!(events.lines().find(|line| line.starts_with("id")), None, "{query}: {events}");
    }
    let mut feed = Stream::open(post(&chat, FEED)).await;
    let (event, id) = feed.hears().await;
    assert_eq!(event["cursor"], json!(id));
    let mut signals = Stream::open(post(&chat, "subscription { signals(userId: 2) { kind cursor: expiresAt } }")).await;
    let conversation = format!("cnv_{}_{}", &ada.id[4..], &bob.id[4..]);
    let typing = "mutation ($in: ID!) { setTyping(userId: 1, conversationId: $in) { ok } }";
    let heard = async {
        loop {
            chat.data(typing, json!({ "in": conversation })).await;
            // It is not known when the subscription has begun.
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(200), signals.next()).await {
                return event.unwrap();
            }
        }
    };
    let (name, id, data) = soon(heard).await;
    assert!(name == "next" && id.is_none() && data.contains("cursor"), "{name} {id:?} {data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resumes_beside_others_goes_on_from_their_own_cursor() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    // The same document for all, without a word about cursors.
    let query = "subscription { feed(userId: 2) { kind cursor messageId } }";
    let mut first = Stream::open(post(&chat, query)).await;
    let (_, start) = first.hears().await;
    for number in 1..=3 {
        ada.sends(&number.to_string(), &bob).await;
    }
    let mut resumed = Stream::open(post(&chat, query).header("last-event-id", &start)).await;
    let mut fresh = Stream::open(post(&chat, query)).await;
    assert_eq!(fresh.hears().await.0["kind"], "CAUGHT_UP");
    for stream in [&mut first, &mut resumed] {
        for number in 1..=3 {
            assert_eq!(stream.hears().await.0["messageId"], format!("msg_{number}"));
        }
    }
    assert_eq!(resumed.hears().await.0["kind"], "CAUGHT_UP");
    ada.sends("4", &bob).await;
    for stream in [&mut first, &mut resumed, &mut fresh] {
        assert_eq!(stream.hears().await.0["messageId"], "msg_4");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_what_is_wrong_are_one_event_and_the_end() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    for (query, expected) in [
        ("{ user(id: 1) { name } }", None),
        ("{", Some("GRAPHQL_PARSE_FAILED")),
        ("subscription { nothing }", Some("GRAPHQL_VALIDATION_FAILED")),
        ("subscription { feed(userId: 9) { kind } }", Some("BAD_USER_INPUT")),
    ] {
        let mut stream = Stream::open(post(&chat, query)).await;
        let (name, _, data) = stream.next().await.unwrap();
        let answer: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(name, "next");
        match expected {
            Some(expected) => assert_eq!(code(&answer), expected),
            None => assert_eq!(answer, json!({ "data": { "user": { "name": "Ada" } } })),
        }
        assert_eq!(stream.next().await.unwrap(), ("complete".into(), None, String::new()));
        assert_eq!(stream.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session() {
    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let follow = |token: &str| post(&chat, "subscription { feed { kind cursor } }").bearer_auth(token);
    let mut stream = Stream::open(follow(&ada.access)).await;
    assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    ada.asks(&chat, "mutation { signOut { sessionId } }", json!({})).await;
    assert_eq!(stream.next().await, None);
    let refused = soon(follow(&ada.access).header("accept", "text/event-stream").send()).await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_changes_nothing_by_get_and_ends_with_the_server() {
    let chat = Chat::open().await;
    let _ada = chat.person("Ada").await;
    let mutation = "/graphql?query=mutation%7BdeleteUser(id:1)%7BdeletedId%7D%7D";
    let refused = chat.http.get(chat.url(mutation)).header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(refused.status(), 405);
    let mut stream = Stream::open(post(&chat, "subscription { feed(userId: 1) { kind cursor } }")).await;
    assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    let (database, end) = tokio::join!(chat.stop(), stream.next());
    assert_eq!(end, None);
    drop(database);
}

/// A feed with what has to be loaded for its events, of which two were missed; `None` on SQLite: there a read waits for nobody.
async fn missed_events(chat: &Chat) -> Option<impl AsyncFn() -> Stream> {
    if chat.database.is_sqlite() {
        return None;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let feed = "subscription { feed(userId: 2) { kind conversation { unreadCount(userId: 2) } } }";
    let (_, seen) = Stream::open(post(chat, feed)).await.hears().await;
    ada.sends("1", &bob).await;
    ada.sends("2", &bob).await;
    Some(async move || Stream::open(post(chat, feed).header("last-event-id", &seen)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_for_a_moment_is_waited_for() {
    let chat = Chat::open().await;
    let Some(goes_on) = missed_events(&chat).await else { return };
    let lock = chat.database.run("BEGIN; LOCK TABLE members").await;
    let mut stream = goes_on().await;
    // A read gives up after 5 seconds.
    let early = tokio::time::timeout(Duration::from_secs(6), stream.next()).await;
    assert!(early.is_err(), "{early:?}");
    drop(lock);
    for _ in 0..2 {
        assert_eq!(stream.hears().await.0["conversation"]["unreadCount"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_cannot_be_read_for_a_moment_goes_on() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut stream = Stream::open(post(&chat, "subscription { feed(userId: 2) { kind message { content } } }")).await;
    assert_eq!(stream.hears().await.0["kind"], "CAUGHT_UP");
    let lock = chat.database.run("BEGIN; LOCK TABLE events").await;
    // All feeds are read again.
    chat.app.notifier.invalidate_all();
    let early = tokio::time::timeout(Duration::from_secs(6), stream.next()).await;
    assert!(early.is_err(), "{early:?}");
    drop(lock);
    ada.sends("Hi", &bob).await;
    assert_eq!(stream.hears().await.0["message"]["content"], "Hi");
}

/// A client that goes on after the last id would miss it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_could_not_be_loaded_for_a_minute_has_no_id_and_is_the_last_one() {
    let chat = Chat::open().await;
    if !short_or_long(false, true) {
        return;
    }
    let Some(goes_on) = missed_events(&chat).await else { return };
    let lock = chat.database.run("BEGIN; LOCK TABLE members").await;
    let mut stream = goes_on().await;
    let (name, id, data) = stream.next().await.unwrap();
    assert!(name == "next" && id.is_none() && data.contains("DATABASE_BUSY"), "{name} {id:?} {data}");
    assert_eq!(stream.next().await.unwrap().0, "complete");
    drop(lock);
    let mut stream = goes_on().await;
    for _ in 0..2 {
        assert_eq!(stream.hears().await.0["conversation"]["unreadCount"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_too_large_for_one_answer_only_together_come_one_by_one() {
    let chat = Chat::with(&["--max-answer", "100000"]).await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let feed = "subscription { feed(userId: 2) { conversation { messages(last: 9) { nodes { content } } } } }";
    let (_, seen) = Stream::open(post(&chat, feed)).await.hears().await;
    for sender in [&ada, &eve] {
        for n in 0..8 {
            sender.sends(&n.to_string().repeat(9_000), &bob).await;
        }
    }
    let mut stream = Stream::open(post(&chat, feed).header("last-event-id", &seen)).await;
    for _ in 0..16 {
        let (event, _) = stream.hears().await;
        assert_eq!(event["conversation"]["messages"]["nodes"].as_array().map(Vec::len), Some(8));
    }
}
