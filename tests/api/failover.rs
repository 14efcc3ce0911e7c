//! Two servers on one PostgreSQL database, of which one dies under load: who used it goes on at the other one, and misses nothing.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    process::Command,
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::{Crowd, short_or_long},
    harness::{Database, Socket, signed_in, soon, text},
    program::{serve, server, started, terminate},
};

pub(crate) const PEOPLE: usize = 6;
const SENDERS: usize = 12;
const FEED: &str = "subscription ($user: ID!, $after: String) {
    feed(userId: $user, after: $after) { kind cursor message { content } }
}";

type Heard = Arc<Mutex<Vec<String>>>;

/// Follows the feed of a user; when the connection ends, goes on from the last cursor, where the server is now. Nothing else ends the
/// subscription: while the database is away the server waits for it.
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
            if said["type"] == "ping" {
                continue;
            }
            assert_eq!((&said["type"], said["payload"].get("errors")), (&json!("next"), None), "{said}");
            let event = said["payload"]["data"]["feed"].take();
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

/// All people, each of whom follows their own feed.
pub(crate) struct Followers {
    tasks: JoinSet<()>,
    heard: Vec<(usize, Heard)>,
    /// What was there when all had begun, by id.
    before: BTreeMap<u64, String>,
}

impl Followers {
    /// They begin at this server, and have caught up there.
    pub(crate) async fn at(place: &watch::Receiver<SocketAddr>, crowd: &Crowd) -> Self {
        let mut followers = Self { tasks: JoinSet::new(), heard: Vec::new(), before: BTreeMap::new() };
        for user in 1..=PEOPLE {
            let (heard, caught_up) = (Heard::default(), Arc::new(Notify::new()));
            followers.tasks.spawn(follow(user, place.clone(), heard.clone(), caught_up.clone()));
            soon(caught_up.notified()).await;
            followers.heard.push((user, heard));
        }
        followers.before = crowd.found().await;
        followers
    }

    /// Nobody has missed a message since they began, heard one twice or in another order, or was told to load everything again.
    pub(crate) async fn have_heard_everything(mut self, crowd: &Crowd) {
        let found = crowd.found().await;
        for (user, heard) in self.heard {
            let expected: Vec<&String> = found.values().filter(|name| concerns(user, name)).collect();
            let before = self.before.values().filter(|name| concerns(user, name)).count();
            soon(async {
                while heard.lock().unwrap().last() != expected.last().copied() {
                    assert!(self.tasks.try_join_next().is_none(), "all still follow");
                    tokio::task::yield_now().await;
                }
            })
            .await;
            let heard = heard.lock().unwrap();
            // They began to follow when some were sent already.
            let since = expected.len().checked_sub(heard.len()).expect("nothing is heard twice");
            assert_eq!(heard.iter().collect::<Vec<_>>(), expected[since..], "user {user}");
            assert!(since <= before && heard.len() > 20, "user {user}: {} after {before}", heard.len());
        }
        self.tasks.shutdown().await;
    }
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
    let followers = Followers::at(&current, &crowd).await;
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
    followers.have_heard_everything(&crowd).await;
}

/// A rolling upgrade, and the way back. The older program is of before the last migration.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_two_releases_are_replaced_by_each_other_and_clients_only_reconnect() {
    let database = Database::new().await;
    let Some(older) = std::env::var_os("DUOLOGUE_TEST_OLDER_PROGRAM").filter(|_| !signed_in()) else { return };
    if database.is_sqlite() {
        return;
    }
    let newer: &OsStr = env!("CARGO_BIN_EXE_duologue").as_ref();
    let same = server(&database, &["--database-connections", "8"]);
    let start = async |release: &OsStr| {
        let mut server = Command::new(release);
        server.args(same.as_std().get_args()).env_clear().kill_on_drop(true);
        server.envs([("DUOLOGUE_NO_EMBEDDINGS", "1"), ("DUOLOGUE_LOG", "warn")]);
        started(server).await
    };
    let mut running = start(&older).await;
    let (place, current) = watch::channel(running.1);
    let mut crowd = Crowd::gathers(&database, running.1, PEOPLE, SENDERS).await;
    let followers = Followers::at(&current, &crowd).await;
    for release in [newer, &older, newer, &older, newer] {
        crowd.until_answered(200).await;
        let next = start(release).await;
        crowd.until_answered(200).await;
        crowd.turns_to(next.1);
        place.send(next.1).unwrap();
        assert_eq!(terminate(running.0).await, Some(0));
        running = next;
    }
    crowd.rests_and_finds_everything().await;
    followers.have_heard_everything(&crowd).await;
    crowd.failed_only_with(&[]);
}
