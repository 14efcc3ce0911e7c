//! Two servers on one PostgreSQL database, of which one dies under load: who used it goes on at the other one, and misses nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::{Crowd, short_or_long},
    harness::{Database, Socket, signed_in, soon, text},
    program::serve,
};

const PEOPLE: usize = 6;
const SENDERS: usize = 12;
const FEED: &str = "subscription ($user: ID!, $after: String) {
    feed(userId: $user, after: $after) { kind cursor message { content } }
}";

type Heard = Arc<Mutex<Vec<String>>>;

/// Follows the feed of a user, and after each end goes on from the last cursor, where the server is now.
async fn follow(user: usize, mut place: watch::Receiver<SocketAddr>, heard: Heard, caught_up: Arc<Notify>) {
    let mut after = Value::Null;
    loop {
        let address = *place.borrow_and_update();
        let mut socket = Socket::open(address, "graphql-transport-ws").await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        socket.subscribes("feed", FEED, json!({ "user": user, "after": after })).await;
        while let Some(said) = socket.hears_or_ends().await {
            let Message::Text(said) = said else { continue };
            let mut said: Value = serde_json::from_str(&said).unwrap();
            let event = said["payload"]["data"]["feed"].take();
            if event.is_null() {
                continue;
            }
            assert_ne!(event["kind"], "RESET");
            after = event["cursor"].clone();
            if event["kind"] == "CAUGHT_UP" {
                caught_up.notify_one();
            }
            if event["kind"] == "MESSAGE_SENT" {
                heard.lock().unwrap().push(text(&event["message"]["content"]));
            }
        }
        if place.changed().await.is_err() {
            return;
        }
    }
}

/// Whether a message, named by its sender and its number, is in the feed of this user.
fn concerns(user: usize, name: &str) -> bool {
    let sender: usize = name.split('/').next().unwrap().parse().unwrap();
    [sender, sender + 1].iter().any(|one| one % PEOPLE + 1 == user)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_load_is_replaced_by_the_other_one() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    let flags = ["--database-connections", "8"];
    let (mut first, mut second) = (serve(&database, &flags).await, serve(&database, &flags).await);
    let (place, current) = watch::channel(first.1);
    let mut crowd = Crowd::gathers(&database, first.1, PEOPLE, SENDERS).await;
    let (mut followers, mut all_heard) = (JoinSet::new(), Vec::new());
    for user in 1..=PEOPLE {
        let (heard, caught_up) = (Heard::default(), Arc::new(Notify::new()));
        followers.spawn(follow(user, current.clone(), heard.clone(), caught_up.clone()));
        soon(caught_up.notified()).await;
        all_heard.push((user, heard));
    }
    for _ in 0..short_or_long(2, 10) {
        crowd.until_answered(100).await;
        first.0.kill().await.unwrap();
        let begun = Instant::now();
        crowd.turns_to(second.1);
        place.send(second.1).unwrap();
        crowd.until(|tally| tally.last.values().filter(|at| **at > begun).count() == SENDERS).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "all were answered again after {:?}", begun.elapsed());
        (first, second) = (second, serve(&database, &flags).await);
    }
    crowd.rests_and_finds_everything().await;
    assert!(followers.try_join_next().is_none(), "all still follow");
    let found = crowd.found().await;
    for (user, heard) in all_heard {
        let expected: Vec<&String> = found.values().filter(|name| concerns(user, name)).collect();
        soon(async {
            while heard.lock().unwrap().last() != expected.last().copied() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let heard = heard.lock().unwrap();
        // They began to follow when some were sent already.
        let since = expected.len().checked_sub(heard.len()).expect("nothing is heard twice");
        assert_eq!(heard.iter().collect::<Vec<_>>(), expected[since..], "user {user}");
        assert!(heard.len() > 50, "user {user}: {}", heard.len());
    }
    followers.shutdown().await;
}
