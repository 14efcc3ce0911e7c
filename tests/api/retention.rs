//! What is older than the retention is trimmed from all feeds: nobody misses anything in silence, and nobody waits for it.

use std::time::{Duration, Instant};

use duologue::{
    domain::{feed, nodes},
    model::timestamps::Timestamp,
    store,
};
use serde_json::{Value, json};

use crate::{
    crowd::short_or_long,
    harness::{Chat, soon},
    resume::{cursor, resumed},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_not_passed_over_in_silence() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let start = cursor(&bob).await;
    let id = ada.sends("Hi", &bob).await;
    for number in 0..600 {
        ada.edits(&id, &number.to_string()).await;
    }
    let middle = cursor(&bob).await;
    for number in 0..3 {
        ada.edits(&id, &number.to_string()).await;
    }
    // The clock goes on a second with each look: the last three edits are at most three seconds old.
    assert_eq!(feed::trim(&chat.app, Duration::from_secs(3)).await.unwrap(), 1_200);
    assert_eq!(resumed(&bob, &start).await.next().await["kind"], "RESET");
    let mut feed = resumed(&bob, &middle).await;
    for _ in 0..3 {
        assert_eq!(feed.next().await["kind"], "MESSAGE_UPDATED");
    }
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
    // Nothing is left at all: the cursor at the end still holds, the others do not.
    let end = cursor(&bob).await;
    feed::trim(&chat.app, Duration::ZERO).await.unwrap();
    assert_eq!(resumed(&bob, &middle).await.next().await["kind"], "RESET");
    let mut feed = resumed(&bob, &end).await;
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
    // The next id is a new one, although no message or event has the last one any more.
    let last = ada.sends("Hi", &bob).await;
    assert_eq!(feed.next().await["messageId"], last);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_clock_that_was_ahead_keeps_no_others() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hi", &bob).await;
    for number in 0..5 {
        ada.edits(&id, &number.to_string()).await;
    }
    let ahead = Timestamp::now().later(Duration::from_hours(100_000)).milliseconds();
    drop(chat.database.run(&format!("UPDATE events SET at = {ahead} WHERE id = (SELECT min(id) FROM events)")).await);
    assert_eq!(feed::trim(&chat.app, Duration::ZERO).await.unwrap(), 10);
}

/// More of them than are looked at together.
#[tokio::test(flavor = "multi_thread")]
async fn many_events_of_a_clock_that_was_ahead_keep_no_others() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hi", &bob).await;
    let start = cursor(&bob).await;
    for number in 0..110 {
        ada.edits(&id, &number.to_string()).await;
    }
    let ahead = Timestamp::now().later(Duration::from_hours(100_000)).milliseconds();
    drop(chat.database.run(&format!("UPDATE events SET at = {ahead}")).await);
    // As long as nothing came after them, nobody knows how old they are.
    assert_eq!(feed::trim(&chat.app, Duration::ZERO).await.unwrap(), 0);
    ada.edits(&id, "later").await;
    assert_eq!(feed::trim(&chat.app, Duration::from_hours(1)).await.unwrap(), 0);
    let end = cursor(&bob).await;
    assert_eq!(feed::trim(&chat.app, Duration::ZERO).await.unwrap(), 222);
    assert_eq!(resumed(&bob, &start).await.next().await["kind"], "RESET");
    assert_eq!(resumed(&bob, &end).await.next().await["kind"], "CAUGHT_UP");
}

/// Who missed nothing goes on, whether they are there or away, however many events of others are trimmed.
#[tokio::test(flavor = "multi_thread")]
async fn who_missed_nothing_is_not_reset() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let (ann, ida) = (chat.person("Ann").await, chat.person("Ida").await);
    let first = ada.sends("Hi", &bob).await;
    let mut alone = ada.feed().await;
    let mut together = [bob.feed().await, bob.feed().await];
    let away = [cursor(&bob).await, cursor(&ida).await, cursor(&eve).await];
    let theirs = eve.sends("Hi", &ann).await;
    for _ in 0..10 {
        eve.edits(&theirs, "Hello").await;
    }
    feed::trim(&chat.app, Duration::ZERO).await.unwrap();
    // Bob had a message, Ida nothing at all; Eve has missed her own edits.
    for (person, cursor, expected) in
        [(&bob, &away[0], "CAUGHT_UP"), (&ida, &away[1], "CAUGHT_UP"), (&eve, &away[2], "RESET")]
    {
        assert_eq!(resumed(person, cursor).await.next().await["kind"], expected);
    }
    // A change of what was seen before, and something new.
    let mark = "mutation ($id: ID!) { markRead(messageId: $id, userId: 2) { userErrors { message } } }";
    chat.data(mark, json!({ "id": first })).await;
    ada.edits(&first, "Hello").await;
    let second = ada.sends("Hi again", &bob).await;
    for feed in [&mut alone].into_iter().chain(&mut together) {
        for (kind, id) in [("RECEIPT", &first), ("MESSAGE_UPDATED", &first), ("MESSAGE_SENT", &second)] {
            let event = feed.next().await;
            assert_eq!((&event["kind"], &event["messageId"]), (&json!(kind), &json!(id)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trimming_costs_the_same_however_many_have_feeds() {
    let chat = Chat::open().await;
    let ada = chat.person("Ada").await;
    let mut costs = Vec::new();
    for peers in [2, 30] {
        for number in 0..peers {
            let peer = chat.person(&format!("P{peers}of{number}")).await;
            let id = ada.sends("Hi", &peer).await;
            ada.edits(&id, "Hello").await;
        }
        let before = chat.app.store.statements();
        assert!(feed::trim(&chat.app, Duration::ZERO).await.unwrap() >= 2 * peers);
        costs.push(chat.app.store.statements() - before);
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trimming_holds_nobody_up() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("first", &bob).await;
    let number = short_or_long(20_000, 300_000);
    let columns =
        "INSERT INTO events (id, user_id, kind, message_id, peer_id, at) SELECT 10 + n, 1 + n % 2, 2, 1, 2 - n % 2, 0";
    let fill = if chat.database.is_sqlite() {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number}) {columns} FROM numbers"
        )
    } else {
        format!("{columns} FROM generate_series(1, {number}) AS n; SELECT setval('messages_id_seq', 10 + {number})")
    };
    drop(chat.database.run(&fill).await);
    let app = chat.app.clone();
    let trimming = tokio::spawn(async move { feed::trim(&app, Duration::ZERO).await.unwrap() });
    let mut longest = Duration::ZERO;
    let mut sent = 0;
    while !trimming.is_finished() || sent == 0 {
        let begun = Instant::now();
        ada.sends("meanwhile", &bob).await;
        longest = longest.max(begun.elapsed());
        sent += 1;
    }
    assert!(soon(trimming).await.unwrap() >= number);
    // On a machine that does other things too; a batch takes a few milliseconds.
    assert!(longest < Duration::from_millis(500), "{longest:?} for one of {sent} sends");
}

/// What somebody was told of and is not there any more begins a new epoch, but for what was taken away on purpose.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_deleted_or_erased_is_no_history_that_was_lost() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let mut feed = resumed(&bob, &Value::Null).await;
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
    let first = ada.sends("first", &bob).await;
    assert_eq!(feed.next().await["kind"], "MESSAGE_SENT");
    ada.edits(&first, "edited").await;
    assert_eq!(feed.next().await["kind"], "MESSAGE_UPDATED");
    let last = eve.sends("last", &bob).await;
    assert_eq!(feed.next().await["kind"], "MESSAGE_SENT");
    eve.deletes(&last).await;
    assert_eq!(feed.next().await["kind"], "MESSAGE_DELETED");
    let epoch = async || {
        nodes::check_history(&chat.app).await.unwrap();
        chat.app.store.read(store::server::epoch).await.unwrap()
    };
    let before = epoch().await;
    feed::trim(&chat.app, Duration::ZERO).await.unwrap();
    ada.leaves(true).await;
    assert_eq!(epoch().await, before);
    let newest = eve.sends("newest", &bob).await;
    while feed.next().await["messageId"] != newest {}
    drop(chat.database.run(&format!("DELETE FROM messages WHERE id = {}", &newest[4..])).await);
    assert_ne!(epoch().await, before);
}
