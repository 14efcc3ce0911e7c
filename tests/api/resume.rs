//! Resuming a feed: after any disconnect it goes on without a gap, and says so when it cannot.

use std::collections::{BTreeMap, BTreeSet};

use duologue::{
    domain::{Viewer, admin},
    execution::{Answer, Request},
    graphql::Api,
    model::{feed::Cursor, ids::UserId},
    store,
};
use futures_util::{StreamExt, stream::BoxStream};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::harness::{Chat, Feed, Person, Socket, code, text};

const FEED: &str = "subscription ($user: ID!, $after: String) {
    feed(userId: $user, after: $after) { kind cursor messageId message { content } }
}";
const EVENTS: &str = "query ($user: ID!, $after: String!, $first: Int) {
    feedEvents(userId: $user, after: $after, first: $first) { events { kind cursor messageId } cursor hasMore }
}";

/// A feed from a cursor on; nothing of it was heard yet.
pub(crate) async fn resumed(person: &Person<'_>, after: &Value) -> Feed {
    let mut feed = Feed { socket: Socket::ready(person.chat).await };
    feed.socket.subscribes("feed", FEED, json!({ "user": person.id, "after": after })).await;
    feed
}

pub(crate) async fn cursor(person: &Person<'_>) -> Value {
    let data = person.chat.data("query ($user: ID!) { feedCursor(userId: $user) }", json!({ "user": person.id })).await;
    data["feedCursor"].clone()
}

/// Several followers are read by one statement.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_for_one_follower_takes_nothing_from_the_next() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (eve, pal) = (chat.person("Eve").await, chat.person("Pal").await);
    for _ in 0..30 {
        ada.sends(&"x".repeat(10_000), &bob).await;
    }
    eve.sends("Hi", &pal).await;
    let wanted = [&bob, &pal, &ada, &eve].map(|person| (person.id.parse::<UserId>().unwrap(), 0));
    let slices = chat.app.store.read(move |conn| store::feed::after_each(conn, &wanted, 100)).await.unwrap();
    let found: Vec<_> =
        slices.into_iter().map(Option::unwrap).map(|slice| (slice.entries.len(), slice.is_end)).collect();
    assert_eq!(found, [(27, false), (1, true), (27, false), (1, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_comes_first_and_once() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut feed = resumed(&bob, &Value::Null).await;
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
    ada.sends("one", &bob).await;
    let last = feed.next().await["cursor"].take();
    drop(feed);

    // More than one page of the log.
    let missed: Vec<String> = (0..250).map(|number| format!("missed {number}")).collect();
    for content in &missed {
        ada.sends(content, &bob).await;
    }
    ada.edits("msg_2", "edited").await;
    ada.deletes("msg_3").await;
    let mut feed = resumed(&bob, &last).await;
    let mut seen = Vec::new();
    loop {
        let event = feed.next().await;
        if event["kind"] == "CAUGHT_UP" {
            break;
        }
        seen.push(event);
    }
    // Of the message that was deleted there is only its deletion.
    assert_eq!(seen.len(), 251);
    assert_eq!(seen[0]["message"]["content"], "edited");
    assert_eq!(seen[1]["message"]["content"], "missed 2");
    assert_eq!((&seen[249]["kind"], &seen[250]["kind"]), (&json!("MESSAGE_UPDATED"), &json!("MESSAGE_DELETED")));
    assert_eq!((&seen[250]["messageId"], &seen[250]["message"]), (&json!("msg_3"), &json!(null)));
    ada.sends("live", &bob).await;
    assert_eq!(feed.next().await["message"]["content"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_does_not_fit_says_reset() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("one", &bob).await;
    let other = Chat::open().await;
    // There they have other ids, or the same.
    let foreign = [cursor(&other.person("Eve").await).await, cursor(&other.person("Eva").await).await];
    // Cursors are opaque; these are made as the server makes them.
    let epoch = chat.app.epoch().clone();
    let ahead = Cursor { epoch: epoch.clone(), user: UserId::new(2), position: 99 }.to_string();
    let of_an_earlier_version = Cursor { epoch, user: None, position: 0 }.to_string();
    for wrong in foreign.into_iter().chain([json!(ahead), json!(of_an_earlier_version)]) {
        let mut feed = resumed(&bob, &wrong).await;
        let reset = feed.next().await;
        assert_eq!(reset["kind"], "RESET");
        assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
        let id = ada.sends("live", &bob).await;
        assert_eq!(feed.next().await["messageId"], id);
        // The fresh cursor is one to go on from.
        let mut again = resumed(&bob, &reset["cursor"]).await;
        assert_eq!(again.next().await["messageId"], id);

        let page = chat.data(EVENTS, json!({ "user": bob.id, "after": wrong })).await["feedEvents"].take();
        assert_eq!((&page["events"][0]["kind"], &page["hasMore"]), (&json!("RESET"), &json!(false)));
        assert_eq!(page["cursor"], page["events"][0]["cursor"]);
    }
    let adas = cursor(&ada).await;
    let adas = adas.as_str().unwrap();
    for bogus in [adas, "", "x", "Zjo6LTE", "ZjphOi0x", "bWVzc2FnZTox"] {
        assert_eq!(chat.code(EVENTS, json!({ "user": bob.id, "after": bogus })).await, "BAD_USER_INPUT", "{bogus}");
        let mut feed = resumed(&bob, &json!(bogus)).await;
        let refused = feed.socket.hears().await;
        assert_eq!(code(&json!({ "errors": refused["payload"] })), "BAD_USER_INPUT", "{bogus}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_without_a_socket_too() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut after = cursor(&bob).await;
    for number in 0..5 {
        ada.sends(&number.to_string(), &bob).await;
    }
    let mut seen = Vec::new();
    for (expected, more) in [(2, true), (2, true), (1, false), (0, false)] {
        let page = chat.data(EVENTS, json!({ "user": bob.id, "after": after, "first": 2 })).await["feedEvents"].take();
        let events = page["events"].as_array().unwrap();
        assert_eq!((events.len(), &page["hasMore"]), (expected, &json!(more)));
        seen.extend(events.iter().map(|event| text(&event["messageId"])));
        after = page["cursor"].clone();
    }
    assert_eq!(seen, ["msg_1", "msg_2", "msg_3", "msg_4", "msg_5"]);
    for first in [0, 101, -1] {
        assert_eq!(
            chat.code(EVENTS, json!({ "user": bob.id, "after": after, "first": first })).await,
            "BAD_USER_INPUT"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_makes_every_cursor_old() {
    let chat = Chat::open().await;
    let bob = chat.person("Bob").await;
    let old = cursor(&bob).await;
    let id = bob.id.clone();
    admin::begin_new_epoch(&chat.app, &Viewer::operator(&chat.app)).await.unwrap();
    let chat = Chat::on(chat.stop().await, &[]).await;
    let bob = Person { chat: &chat, id };
    assert_eq!(resumed(&bob, &old).await.next().await["kind"], "RESET");
    // Over an ordinary restart a cursor holds.
    let new = cursor(&bob).await;
    let id = bob.id.clone();
    let chat = Chat::on(chat.stop().await, &[]).await;
    let bob = Person { chat: &chat, id };
    assert_eq!(resumed(&bob, &new).await.next().await["kind"], "CAUGHT_UP");
}

/// What was read before a deletion, and not sent yet, is read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_text_is_not_told_any_more() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let start = cursor(&bob).await;
    for number in 1..=4 {
        ada.sends(&number.to_string(), &bob).await;
    }
    let api = Api::open(&chat.app, &chat.database.settings(&[]).limits).unwrap();
    let query =
        "subscription ($id: ID!, $after: String!) { feed(userId: $id, after: $after) { kind message { content } } }";
    let request = json!({ "query": query, "variables": { "id": bob.id, "after": start } });
    let request: Request = serde_json::from_value(request).unwrap();
    let follow = || {
        let prepared = api.prepare(&request).ok().unwrap();
        api.stream(&Viewer::operator(&chat.app).into(), prepared)
    };
    let mut followers = [follow(), follow()];
    let event = async |follower: &mut BoxStream<'static, Answer>| {
        let json = follower.next().await.unwrap().into_json().into_bytes();
        let answer: Value = serde_json::from_slice(&json).unwrap();
        answer["data"]["feed"].clone()
    };
    for follower in &mut followers {
        assert_eq!(event(follower).await["message"]["content"], "1");
    }
    ada.deletes("msg_2").await;
    ada.edits("msg_3", "edited").await;
    for follower in &mut followers {
        for expected in [json!("edited"), json!("4"), json!(null), json!("edited")] {
            assert_eq!(event(follower).await["message"]["content"], expected);
        }
        assert_eq!(event(follower).await["kind"], "CAUGHT_UP");
    }
}

/// The page of a conversation and the feed's cursor in one request, then the feed: the recipe for a client.
#[test]
fn a_snapshot_and_the_feed_are_the_whole_truth() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 4..40);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&cases, |steps| {
            runtime.block_on(snapshot_and_feed(&steps));
            Ok(())
        })
        .unwrap();
}

async fn snapshot_and_feed(steps: &[(u8, prop::sample::Index)]) {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (before, meanwhile) = steps.split_at(steps.len() / 2);
    let mut sent = Vec::new();
    change(before, &ada, &bob, &mut sent).await;
    // The snapshot is taken while things go on.
    let ((mut state, after), ()) = tokio::join!(snapshot(&bob), change(meanwhile, &ada, &bob, &mut sent));
    let mut feed = resumed(&bob, &after).await;
    loop {
        let event = feed.next().await;
        match event["kind"].as_str().unwrap() {
            "CAUGHT_UP" => break,
            "RESET" => panic!("{event}"),
            _ => match event["message"]["content"].as_str() {
                Some(content) => state.insert(text(&event["messageId"]), content.to_owned()),
                None => state.remove(event["messageId"].as_str().unwrap()),
            },
        };
    }
    assert_eq!(state, snapshot(&bob).await.0);
}

async fn snapshot(bob: &Person<'_>) -> (BTreeMap<String, String>, Value) {
    let query = "query ($bob: ID!) {
        conversation(user1: 1, user2: 2) { messages(last: 100) { nodes { id content } } }
        feedCursor(userId: $bob)
    }";
    let data = bob.chat.data(query, json!({ "bob": bob.id })).await;
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap();
    let state = nodes.iter().map(|node| (text(&node["id"]), text(&node["content"]))).collect();
    (state, data["feedCursor"].clone())
}

async fn change(steps: &[(u8, prop::sample::Index)], ada: &Person<'_>, bob: &Person<'_>, sent: &mut Vec<String>) {
    for (number, (step, index)) in steps.iter().enumerate() {
        match step {
            0 if !sent.is_empty() => drop(ada.deletes(index.get::<String>(&*sent)).await),
            1 if !sent.is_empty() => drop(ada.edits(index.get::<String>(&*sent), &format!("edit {number}")).await),
            2 => sent.push(bob.sends(&format!("from Bob {number}"), ada).await),
            _ => sent.push(ada.sends(&format!("from Ada {number}"), bob).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_in_order_and_once_however_many_write() {
    // On SQLite there is one that writes, whatever this says.
    let chat = Chat::with(&["--database-connections", "4"]).await;
    let bob = chat.person("Bob").await;
    let mut writers = Vec::new();
    for number in 0..16 {
        writers.push(chat.person(&format!("W{number}")).await);
    }
    let start = cursor(&bob).await;
    let mut live = resumed(&bob, &start).await;
    assert_eq!(live.next().await["kind"], "CAUGHT_UP");
    let write = async |writer: &Person<'_>| {
        let mut expected = BTreeSet::new();
        for number in 0..12 {
            let id = writer.sends("Hi", &bob).await;
            match number % 3 {
                0 => drop(writer.edits(&id, "Hello").await),
                1 => drop(writer.deletes(&id).await),
                _ => {}
            }
            let kinds: &[&str] = match number % 3 {
                0 => &["MESSAGE_SENT", "MESSAGE_UPDATED"],
                // The send is not there any more once it was deleted.
                1 => &["MESSAGE_DELETED"],
                _ => &["MESSAGE_SENT"],
            };
            expected.extend(kinds.iter().map(|kind| ((*kind).to_owned(), id.clone())));
        }
        expected
    };
    let mut expected: BTreeSet<_> =
        futures_util::future::join_all(writers.iter().map(write)).await.into_iter().flatten().collect();
    let mut last = 0;
    while !expected.is_empty() {
        let event = live.next().await;
        let position = text(&event["cursor"]).parse::<Cursor>().unwrap().position;
        assert!(position > last, "{position} after {last}");
        last = position;
        let heard = (text(&event["kind"]), text(&event["messageId"]));
        assert!(expected.remove(&heard) || heard.0 == "MESSAGE_SENT", "{heard:?}");
    }
    // The same once more for who comes late, without the sends that were deleted.
    let mut late = resumed(&bob, &start).await;
    let mut count = 0;
    while late.next().await["kind"] != "CAUGHT_UP" {
        count += 1;
    }
    assert_eq!(count, 16 * (8 + 4 + 4));
}
