//! What several servers cost, compared with one that has as many followers and as many sends.

use std::{
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::{process::Child, sync::Notify, task::JoinSet};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    demo::fill,
    harness::{Database, Socket, client, signed_in, soon},
    outages::Cluster,
    ports::own_port,
    program::serve,
    servers::{nats_server, without_nats},
};

/// As many as two cores send and deliver without a queue, also in builds without optimization.
const SENDS_PER_SECOND: u32 = 100;
const FEED: &str = "subscription ($user: ID!) { feed(userId: $user) { kind message { content } } }";

/// Servers on a PostgreSQL server of their own, with users, who tell each other over NATS.
struct Side {
    servers: Vec<(Child, SocketAddr)>,
    followers: JoinSet<()>,
    heard: Arc<AtomicUsize>,
    noted: Arc<Notify>,
    postgresql: Cluster,
    _nats: Child,
}

impl Side {
    async fn of(count: usize, users: usize) -> Self {
        let (postgresql, port) = (Cluster::new().await, own_port());
        let database = Database::on(&postgresql.url);
        fill(&database, users, 1).await;
        let (nats, url) = (nats_server(port), format!("nats://127.0.0.1:{port}"));
        let flags = ["--nats", &url, "--database-connections", "8"];
        let servers = join_all((0..count).map(|_| serve(&database, &flags))).await;
        let (heard, noted) = (Arc::default(), Arc::default());
        Self { servers, followers: JoinSet::new(), heard, noted, postgresql, _nats: nats }
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

    /// Two users of a pair write to each other, at a steady rate over all pairs, until all followers have so many messages. Gives the
    /// milliseconds of CPU that the servers and PostgreSQL used for each delivery.
    async fn delivers(&self, users: usize, sends: usize) -> [f64; 2] {
        let (before, heard) = (self.cpu(), self.heard.load(Ordering::Relaxed));
        let (http, mut sending) = (client(None), JoinSet::new());
        let mut pace = tokio::time::interval(Duration::from_secs(1) / SENDS_PER_SECOND);
        for number in 0..sends {
            pace.tick().await;
            // Users 1 and 2 are a pair, 3 and 4 are one, and so on.
            let (from, to) = (number % users + 1, ((number % users) ^ 1) + 1);
            let (http, url) = (http.clone(), format!("http://{}/graphql", self.address(from)));
            let input = json!({ "senderId": from, "receiverId": to, "content": "Hi" });
            let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
            let body = json!({ "query": query, "variables": { "input": input } });
            sending.spawn(async move {
                let answer = soon(http.post(&url).json(&body).send()).await.unwrap();
                assert_eq!(answer.status().as_u16(), 200);
            });
        }
        sending.join_all().await;
        // Each to who sent it, and to who gets it.
        let deliveries = 2 * sends;
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
        let used = self.cpu();
        #[expect(clippy::cast_precision_loss, reason = "these are small")]
        let deliveries = deliveries as f64;
        [0, 1].map(|part| (used[part] - before[part]) * 1_000.0 / deliveries)
    }

    fn sum(&self, of: impl Fn(u32) -> f64) -> f64 {
        self.servers.iter().map(|(child, _)| of(child.id().unwrap())).sum()
    }

    /// Seconds of CPU that the servers have used, and PostgreSQL.
    fn cpu(&self) -> [f64; 2] {
        let file = fs::read_to_string(self.postgresql.folder().join("data/postmaster.pid")).unwrap();
        let postmaster: u32 = file.lines().next().unwrap().parse().unwrap();
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let used = processes.filter_map(|process| {
            let (parent, used) = parent_and_cpu_of(process)?;
            (process == postmaster || parent == postmaster).then_some(used)
        });
        [self.sum(|server| parent_and_cpu_of(server).unwrap().1), used.sum()]
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

/// The parent of a process, and the seconds of CPU that it and its children that have ended used. Linux counts them in hundredths.
fn parent_and_cpu_of(process: u32) -> Option<(u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u32 = fields[11..15].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    Some((fields[1].parse().unwrap(), f64::from(ticks) / 100.0))
}

async fn cannot_be_measured() -> bool {
    !short_or_long(false, true) || without_nats() || signed_in() || Database::new().await.is_sqlite()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_servers_use_less_than_twice_the_cpu_of_one_for_a_delivery() {
    const USERS: usize = 2_000;
    if cannot_be_measured().await {
        return;
    }
    let mut sides = [Side::of(1, USERS).await, Side::of(4, USERS).await];
    for side in &mut sides {
        side.are_followed(1..=USERS).await;
        // What is done once only.
        side.delivers(USERS, USERS).await;
    }
    let mut sums = [[0.0; 2]; 2];
    for _ in 0..5 {
        for (side, sums) in sides.iter().zip(&mut sums) {
            let used = side.delivers(USERS, USERS).await;
            for (sum, used) in sums.iter_mut().zip(used) {
                *sum += used;
            }
        }
    }
    let [servers, postgresql] = [0, 1].map(|part| sums[1][part] / sums[0][part]);
    // On two cores 1.4 and 1.2; 1.5 and 1.3 of release builds with three times as many sends. The two of a pair are at different
    // servers: each reads what one server would read once for both, and each message over NATS is taken by all.
    assert!(servers < 1.75, "{servers:.3} times as much CPU of the servers: {sums:?}");
    assert!(postgresql < 1.5, "{postgresql:.3} times as much CPU of PostgreSQL: {sums:?}");
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
