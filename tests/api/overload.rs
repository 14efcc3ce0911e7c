//! More connections than can be served: each request is done, or told in time to come again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    accounts::Member,
    crowd::{Crowd, short_or_long},
    harness::{ACCOUNTS, Chat, Database, signed_in},
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

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_are_looked_for_in_a_long_conversation_of_the_other_in_a_moment() {
    let chat = Chat::with(&ACCOUNTS).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    ada.asks(
        &chat,
        "mutation { sendMessage(input: { receiverId: 2, content: \"Hi\" }) { message { id } } }",
        json!({}),
    )
    .await;
    let number = short_or_long(200_000, 1_000_000);
    let columns = "INSERT INTO messages (id, sender_id, receiver_id, content, created_at)
        SELECT 10 + n, 1, 2, 'A text of the length that many messages have, more or less.', (SELECT max(created_at) FROM messages)";
    let fill = if chat.database.is_sqlite() {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number}) {columns} FROM numbers"
        )
    } else {
        format!("{columns} FROM generate_series(1, {number}) AS n; ANALYZE messages")
    };
    drop(chat.database.run(&fill).await);
    let begun = Instant::now();
    let query = "{ user(id: 1) { receivedMessages(first: 9) { nodes { id } } } }";
    let answer = bob.asks(&chat, query, json!({})).await;
    println!("{:?}", begun.elapsed());
    assert_eq!(answer, json!({ "data": { "user": { "receivedMessages": { "nodes": [] } } } }));
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}
