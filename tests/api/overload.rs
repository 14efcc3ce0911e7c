//! More connections than can be served: each request is done, or told in time to come again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    accounts::Member,
    crowd::{Crowd, short_or_long},
    harness::{ACCOUNTS, Chat, Database, signed_in, soon},
    program::serve,
};

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_served_or_told_to_come_again() {
    if signed_in() {
        return;
    }
    let database = Database::new().await;
    let (mut child, address) = serve(&database, &[]).await;
    let senders = short_or_long(300, 1_000);
    let mut crowd = Crowd::patient(&database, address, 100, senders).await;
    // This is how long they go on, and nothing that is waited for.
    tokio::time::sleep(short_or_long(Duration::from_secs(2), Duration::from_secs(20))).await;
    let (mut delays, rude) = crowd.tally(|tally| (tally.delays.clone(), tally.rude));
    delays.sort();
    let slow = delays[delays.len() * 99 / 100];
    assert!(slow < Duration::from_secs(3), "{} were served, of 100 one after {slow:?}", delays.len());
    assert_eq!(rude, 0, "were not told when to come again");
    crowd.failed_only_with(&[(503, "UNAVAILABLE"), (503, "DATABASE_BUSY"), (429, "RATE_LIMITED")]);
    crowd.rests().await;
    let rested = Instant::now();
    // As fast as ever, soon.
    let mut quick = 0;
    while quick < 10 {
        let begun = Instant::now();
        assert!(crowd.sends_one_more().await);
        quick = if begun.elapsed() < Duration::from_millis(100) { quick + 1 } else { 0 };
        assert!(rested.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    crowd.finds_everything().await;
    child.kill().await.unwrap();
}

/// On PostgreSQL, where a lock shows it: whoever reads much at a time does not take all connections.
#[tokio::test(flavor = "multi_thread")]
async fn the_reads_of_one_user_leave_connections_to_others() {
    let chat = Chat::with(&ACCOUNTS).await;
    if chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let lock = chat.database.run("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await;
    let waiting = (0..16).map(|_| ada.asks(&chat, "{ messages { nodes { id } } }", json!({})));
    let waiting = futures_util::future::join_all(waiting);
    let others = async {
        for _ in 0..20 {
            let answer = bob.asks(&chat, "{ users { nodes { name } } }", json!({})).await;
            assert_eq!(answer.get("errors"), None, "{answer}");
        }
        drop(lock);
    };
    let (answers, ()) = tokio::join!(waiting, others);
    assert!(answers.iter().all(|answer| answer.get("errors").is_none()), "{answers:?}");
}

/// A long conversation of two, in which the first one alone has written. Its rows lie far from each other: between them is what the
/// second one has written to somebody else, which is more.
async fn one_sided_conversation(chat: &Chat, number: usize) -> [Member; 2] {
    let (ada, bob) = (Member::signs_up(chat, "Ada").await, Member::signs_up(chat, "Bob").await);
    Member::signs_up(chat, "Eve").await;
    let send = "mutation { sendMessage(input: { receiverId: 2, content: \"Hi\" }) { message { id } } }";
    ada.asks(chat, send, json!({})).await;
    let columns = "INSERT INTO messages (id, sender_id, receiver_id, content, created_at)
        SELECT 10 + n, CASE n % 8 WHEN 0 THEN 1 ELSE 2 END, CASE n % 8 WHEN 0 THEN 2 ELSE 3 END,
            CASE n % 8 WHEN 0 THEN 'A text of the length that many messages have, more or less.' ELSE (SELECT text FROM long) END,
            (SELECT max(created_at) FROM messages)";
    let (long, all) = ("x".repeat(300), number * 8);
    let fill = if chat.database.is_sqlite() {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {all}),
                long (text) AS (SELECT '{long}') {columns} FROM numbers"
        )
    } else {
        format!("WITH long (text) AS (SELECT '{long}') {columns} FROM generate_series(1, {all}) AS n; ANALYZE messages")
    };
    drop(chat.database.run(&fill).await);
    [ada, bob]
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_are_looked_for_in_a_long_conversation_of_the_other_in_a_moment() {
    let chat = Chat::with(&ACCOUNTS).await;
    let [_, bob] = one_sided_conversation(&chat, short_or_long(40_000, 150_000)).await;
    let quickest = async || {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let query = "{ user(id: 1) { receivedMessages(first: 9) { nodes { id } } } }";
            let answer = bob.asks(&chat, query, json!({})).await;
            assert_eq!(answer, json!({ "data": { "user": { "receivedMessages": { "nodes": [] } } } }));
            quickest = quickest.min(begun.elapsed());
        }
        quickest
    };
    let with_sender = quickest().await;
    // Without the sender in the index each row is looked at.
    let former = "DROP INDEX messages_conversation;
        CREATE INDEX messages_conversation ON messages (low_id, high_id, id) WHERE deleted_at IS NULL";
    drop(chat.database.run(former).await);
    let without = quickest().await;
    assert!(with_sender < Duration::from_millis(200) && with_sender * 2 < without, "{with_sender:?} {without:?}");
}

/// On SQLite the readers are few: however many heavy reads of one user wait, light ones of others are not behind them.
#[tokio::test(flavor = "multi_thread")]
async fn the_heavy_reads_of_one_user_do_not_keep_light_ones_of_others_waiting() {
    let chat = Arc::new(Chat::with(&ACCOUNTS).await);
    let [ada, bob] = one_sided_conversation(&chat, 10_000).await;
    let lists = (0..20).map(|n| format!("a{n}: receivedMessages(first: {}) {{ nodes {{ id }} }} ", 60 + n));
    let heavy = format!("{{ user(id: 1) {{ {} }} }}", lists.collect::<String>());
    let answered = Arc::new(AtomicUsize::new(0));
    let mut reading = JoinSet::new();
    for _ in 0..16 {
        let (chat, bob, heavy, answered) = (chat.clone(), bob.clone(), heavy.clone(), answered.clone());
        reading.spawn(async move {
            loop {
                let answer = bob.asks(&chat, &heavy, json!({})).await;
                assert_eq!(answer.get("errors"), None, "{answer}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    soon(async {
        while answered.load(Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let before = answered.load(Ordering::Relaxed);
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = ada.asks(&chat, "{ users { nodes { name } } }", json!({})).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        times.push(begun.elapsed());
    }
    let meanwhile = answered.load(Ordering::Relaxed) - before;
    if let Some(ended) = reading.try_join_next() {
        ended.unwrap();
    }
    // Behind those that wait, each light one would see a dozen of them answered.
    assert!(meanwhile < 120, "{meanwhile} heavy reads were answered before 20 light ones: {times:?}");
}
