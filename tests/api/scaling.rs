//! What several servers cost, compared with one that has as many followers and as many sends.

use std::{
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::{process::Child, sync::Notify, task::JoinSet};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    harness::{Database, Socket, client, signed_in, soon},
    ports::own_port,
    program::{run, serve},
    servers::{nats_server, without_nats},
};

const FEED: &str = "subscription ($user: ID!) { feed(userId: $user) { kind message { content } } }";

/// Servers on a database of their own, with users, who tell each other over NATS.
struct Side {
    servers: Vec<(Child, SocketAddr)>,
    followers: JoinSet<()>,
    heard: Arc<AtomicUsize>,
    noted: Arc<Notify>,
    _nats: Child,
}

impl Side {
    async fn of(count: usize, users: usize) -> Self {
        let (database, port) = (Database::new().await, own_port());
        let users = users.to_string();
        let demo = ["demo", "--users", &users, "--messages", "1", "--database", &database.url];
        assert!(run(&demo).await.status.success());
        let (nats, url) = (nats_server(port), format!("nats://127.0.0.1:{port}"));
        let flags = ["--nats", &url, "--database-connections", "8"];
        let servers = join_all((0..count).map(|_| serve(&database, &flags))).await;
        let (heard, noted) = (Arc::default(), Arc::default());
        Self { servers, followers: JoinSet::new(), heard, noted, _nats: nats }
    }

    fn address(&self, number: usize) -> SocketAddr {
        self.servers[number % self.servers.len()].1
    }

    /// These users follow their feeds, and have caught up.
    async fn are_followed(&mut self, users: RangeInclusive<usize>) {
        let following = stream::iter(users).map(|user| {
            let address = self.address(user);
            async move {
                let mut socket = Socket::open(address, "graphql-transport-ws").await;
                socket.says(json!({ "type": "connection_init" })).await;
                assert_eq!(socket.hears().await["type"], "connection_ack");
                socket.subscribes("feed", FEED, json!({ "user": user })).await;
                assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
                socket
            }
        });
        let sockets: Vec<_> = following.buffer_unordered(8).collect().await;
        for mut socket in sockets {
            let (heard, noted) = (self.heard.clone(), self.noted.clone());
            self.followers.spawn(async move {
                while let Some(said) = socket.hears_or_ends().await {
                    let Message::Text(said) = said else { continue };
                    let said: Value = serde_json::from_str(&said).unwrap();
                    if said.pointer("/payload/data/feed/kind").is_some_and(|kind| kind == "MESSAGE_SENT") {
                        heard.fetch_add(1, Ordering::Relaxed);
                        noted.notify_waiters();
                    }
                }
            });
        }
    }

    /// So many senders send so many messages each, one after the other, and wait until all followers have them. Gives the milliseconds
    /// of CPU that the servers used for each delivery.
    async fn delivers(&self, users: usize, senders: usize, each: usize) -> f64 {
        let (cpu, heard) = (self.cpu(), self.heard.load(Ordering::Relaxed));
        let http = client(None);
        let sends = (0..senders).map(|sender| {
            let (http, url) = (http.clone(), format!("http://{}/graphql", self.address(sender)));
            async move {
                for number in 0..each {
                    let from = (sender * each + number) % users + 1;
                    let input = json!({ "senderId": from, "receiverId": from % users + 1, "content": "Hi" });
                    let query =
                        "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
                    let body = json!({ "query": query, "variables": { "input": input } });
                    let answer = soon(http.post(&url).json(&body).send()).await.unwrap();
                    assert_eq!(answer.status().as_u16(), 200);
                }
            }
        });
        join_all(sends).await;
        // Each to who sent it, and to who gets it.
        let deliveries = 2 * senders * each;
        soon(async {
            loop {
                let noted = self.noted.notified();
                if self.heard.load(Ordering::Relaxed) >= heard + deliveries {
                    return;
                }
                noted.await;
            }
        })
        .await;
        #[expect(clippy::cast_precision_loss, reason = "these are small")]
        let deliveries = deliveries as f64;
        (self.cpu() - cpu) * 1_000.0 / deliveries
    }

    fn sum(&self, of: impl Fn(u32) -> f64) -> f64 {
        self.servers.iter().map(|(child, _)| of(child.id().unwrap())).sum()
    }

    /// Seconds of CPU that the servers have used. Linux counts them in hundredths.
    fn cpu(&self) -> f64 {
        self.sum(|process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
            (ticks(11) + ticks(12)) / 100.0
        })
    }

    /// KiB of memory that the servers have.
    fn memory(&self) -> f64 {
        self.sum(|process| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        })
    }
}

async fn cannot_be_measured() -> bool {
    !short_or_long(false, true) || without_nats() || signed_in() || Database::new().await.is_sqlite()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_servers_use_less_than_thrice_the_cpu_of_one_for_a_delivery() {
    const USERS: usize = 200;
    if cannot_be_measured().await {
        return;
    }
    let mut sides = [Side::of(1, USERS).await, Side::of(4, USERS).await];
    for side in &mut sides {
        side.are_followed(1..=USERS).await;
        // What is done once only.
        side.delivers(USERS, 8, 25).await;
    }
    let mut sums = [0.0; 2];
    for _ in 0..3 {
        for (side, sum) in sides.iter().zip(&mut sums) {
            let cpu = side.delivers(USERS, 8, 250).await;
            *sum += cpu;
        }
    }
    // On two cores 1.7 of release builds, and 1.9 of others: four servers read their feeds in more and smaller batches.
    let ratio = sums[1] / sums[0];
    assert!(ratio < 2.5, "{ratio:.3} times as much: {sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_takes_little_more_memory_at_four_servers_than_at_one() {
    const USERS: usize = 8_000;
    /// They follow before the memory is measured.
    const FIRST: usize = 2_000;
    if cannot_be_measured().await {
        return;
    }
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: most.maximum, ..most };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let mut each = Vec::new();
    for count in [1, 4] {
        let mut side = Side::of(count, USERS).await;
        side.are_followed(1..=FIRST).await;
        let before = side.memory();
        side.are_followed(FIRST + 1..=USERS).await;
        #[expect(clippy::cast_precision_loss, reason = "these are small")]
        let more = (USERS - FIRST) as f64;
        let grown = (side.memory() - before) / more;
        each.push(grown);
    }
    let ratio = each[1] / each[0];
    assert!(ratio < 1.25, "{ratio:.3} times as much: {each:?}");
}
