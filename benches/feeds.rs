//! What feeds cost, measured from outside: the server is a process of its own, the clients are WebSockets over loopback.
//!
//! - Memory of an idle subscriber: what the server grows by from 1,000 to 10,000 of them, each with a feed of its own.
//! - Many feeds: 1,000 users follow their own, 5,000 messages go between random pairs.
//! - One feed: 1,000 followers of one user, who gets 100 messages.
//!
//! Prints a table, writes it to `target/feeds.json`, and ends with an error where a limit is not kept. Times are those of
//! the server's CPU, which other programs on the machine disturb less than those of a clock. Needs Linux (`/proc`) and
//! 20,000 open files (`ulimit -n`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::{SinkExt, StreamExt, future::join_all, stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::ClientRequestBuilder, protocol::WebSocketConfig},
};

const FEW: u64 = 1_000;
const MANY: u64 = 10_000;
const PAIR_MESSAGES: usize = 5_000;
const ONE_FEED_MESSAGES: usize = 100;
const SENDERS: usize = 8;
/// KiB for each idle subscriber.
const MAX_MEMORY: f64 = 20.0;
/// Microseconds of CPU for each delivery of one feed to many.
const MAX_CPU: f64 = 25.0;

const FEED: &str = "subscription Feed($user: ID!) {
    feed(userId: $user) { kind cursor messageId message { id content createdAt sender { id name } } }
}";
const SEND: &str = "mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";

/// The server. It ends with this.
struct Server {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// With 10,000 users.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("chat.db").display());
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_duologue"));
            command.env("DUOLOGUE_DATABASE", &url).stdout(Stdio::piped()).stderr(Stdio::inherit());
            command
        };
        let users = MANY.to_string();
        let made = program().args(["demo", "--messages", "0", "--users", &users]).status().unwrap();
        assert!(made.success());
        let mut child = program().args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let page = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
        Self { child, address: page.trim_end_matches('/').to_owned(), _folder: folder }
    }

    /// Seconds of CPU that the server has used. Linux counts them in hundredths.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    /// KiB of memory that the server has.
    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Followers of these users' feeds, each on a socket of its own.
    async fn followed(&self, users: impl Iterator<Item = u64>) -> Vec<Follower> {
        stream::iter(users.map(|user| Follower::of(&self.address, user))).buffer_unordered(64).collect().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that has caught up with a feed.
struct Follower {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Follower {
    async fn of(address: &str, user: u64) -> Self {
        let url = format!("ws://{address}/graphql").parse().unwrap();
        let request = ClientRequestBuilder::new(url).with_sub_protocol("graphql-transport-ws");
        let small = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
        let (mut socket, _) = tokio_tungstenite::connect_async_with_config(request, Some(small), true).await.unwrap();
        socket.send(Message::text(r#"{"type":"connection_init"}"#)).await.unwrap();
        let payload = json!({ "query": FEED, "variables": { "user": user } });
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
        let mut follower = Self { socket };
        while !follower.hears().await.contains("CAUGHT_UP") {}
        follower
    }

    async fn hears(&mut self) -> String {
        loop {
            if let Message::Text(text) = self.socket.next().await.unwrap().unwrap() {
                return text.to_string();
            }
        }
    }

    /// Notes when each message arrives.
    fn listen(mut self, board: Arc<Board>) -> JoinHandle<Vec<(usize, Instant)>> {
        tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let said = tokio::select! {
                    said = self.hears() => said,
                    () = board.all_here() => return heard,
                };
                if let Some(id) = said.split(r#""messageId":"msg_"#).nth(1) {
                    let id = id.split('"').next().unwrap().parse().unwrap();
                    heard.push((id, Instant::now()));
                    board.note_delivery();
                }
            }
        })
    }
}

/// What was answered and delivered so far.
struct Board {
    /// By message id.
    answered: Vec<OnceLock<Instant>>,
    missing: AtomicUsize,
    here: tokio::sync::Notify,
    last: OnceLock<Instant>,
}

impl Board {
    fn new(last_id: usize, deliveries: usize) -> Arc<Self> {
        let answered = (0..=last_id).map(|_| OnceLock::new()).collect();
        Arc::new(Self { answered, missing: deliveries.into(), here: tokio::sync::Notify::new(), last: OnceLock::new() })
    }

    fn note_delivery(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.last.set(Instant::now());
            self.here.notify_waiters();
        }
    }

    async fn all_here(&self) {
        let here = self.here.notified();
        if self.last.get().is_none() {
            here.await;
        }
    }
}

/// Sends messages between these pairs, several at a time.
async fn send(server: &Server, pairs: Vec<(u64, u64)>, board: &Board) {
    let http = reqwest::Client::new();
    let url = format!("http://{}/graphql", server.address);
    let next = AtomicUsize::new(0);
    let sender = async || {
        while let Some((from, to)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let input = json!({ "senderId": from, "receiverId": to, "content": "Lunch at noon? I know a place." });
            let body = json!({ "query": SEND, "variables": { "input": input } });
            let answer: Value = http.post(&url).json(&body).send().await.unwrap().json().await.unwrap();
            let now = Instant::now();
            let id = answer["data"]["sendMessage"]["message"]["id"].as_str().unwrap();
            let id: usize = id.strip_prefix("msg_").unwrap().parse().unwrap();
            board.answered[id].set(now).unwrap();
        }
    };
    join_all((0..SENDERS).map(|_| sender())).await;
}

/// What a load cost.
struct Load {
    deliveries: usize,
    seconds: f64,
    /// Milliseconds from the answer to the sender until the delivery.
    p50: f64,
    p99: f64,
    /// Microseconds of the server's CPU for each delivery, the sends included.
    cpu: f64,
}

/// Sends to followers until everything has arrived. Messages have ids from `first` on.
async fn load(
    server: &Server,
    followers: Vec<Follower>,
    pairs: Vec<(u64, u64)>,
    first: usize,
    deliveries: usize,
) -> Load {
    let board = Board::new(first + pairs.len(), deliveries);
    let listening: Vec<_> = followers.into_iter().map(|follower| follower.listen(board.clone())).collect();
    let (begun, cpu) = (Instant::now(), server.cpu());
    send(server, pairs, &board).await;
    let mut delays = Vec::with_capacity(deliveries);
    for heard in join_all(listening).await {
        let delay = |(id, at): (usize, Instant)| {
            at.saturating_duration_since(*board.answered[id].get().unwrap()).as_secs_f64() * 1e3
        };
        delays.extend(heard.unwrap().into_iter().map(delay));
    }
    let cpu = server.cpu() - cpu;
    assert_eq!(delays.len(), deliveries);
    delays.sort_by(f64::total_cmp);
    Load {
        deliveries,
        seconds: board.last.get().unwrap().duration_since(begun).as_secs_f64(),
        p50: delays[deliveries / 2],
        p99: delays[deliveries * 99 / 100],
        cpu: cpu * 1e6 / deliveries as f64,
    }
}

/// KiB for each idle subscriber.
async fn memory() -> f64 {
    let server = Server::start();
    let few = server.followed(1..=FEW).await;
    let before = server.resident();
    let more = server.followed(FEW + 1..=MANY).await;
    let after = server.resident();
    drop((few, more));
    (after - before) / (MANY - FEW) as f64
}

fn random_pairs(count: usize, seed: u64) -> Vec<(u64, u64)> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut pair = || {
        let from = dice.random_range(1..=FEW);
        let distance = dice.random_range(1..FEW);
        (from, (from - 1 + distance) % FEW + 1)
    };
    (0..count).map(|_| pair()).collect()
}

#[tokio::main]
async fn main() -> ExitCode {
    let memory = memory().await;

    let server = Server::start();
    // The sends alone, to know what they cost.
    let (begun, cpu) = (Instant::now(), server.cpu());
    send(&server, random_pairs(PAIR_MESSAGES, 1), &Board::new(PAIR_MESSAGES, 1)).await;
    let send_cpu = (server.cpu() - cpu) * 1e6 / PAIR_MESSAGES as f64;
    let send_rate = PAIR_MESSAGES as f64 / begun.elapsed().as_secs_f64();
    let followers = server.followed(1..=FEW).await;
    let pairs = random_pairs(PAIR_MESSAGES, 2);
    let many = load(&server, followers, pairs, PAIR_MESSAGES, PAIR_MESSAGES * 2).await;
    drop(server);

    let server = Server::start();
    let followers = server.followed((0..FEW).map(|_| 1)).await;
    let pairs = vec![(2, 1); ONE_FEED_MESSAGES];
    let deliveries = ONE_FEED_MESSAGES * usize::try_from(FEW).unwrap();
    let one = load(&server, followers, pairs, 0, deliveries).await;
    drop(server);

    println!("memory of an idle subscriber       {memory:8.1} KiB (at most {MAX_MEMORY})");
    println!("{PAIR_MESSAGES} sends, nobody follows         {send_rate:8.0} /s, {send_cpu:.0} us of CPU each");
    for (name, load) in [("1,000 feeds, 5,000 messages", &many), ("1,000 followers of one feed", &one)] {
        let Load { deliveries, seconds, p50, p99, cpu } = load;
        let rate = *deliveries as f64 / seconds;
        println!("{name}        {rate:8.0} deliveries/s, {p50:.1} ms p50, {p99:.1} ms p99, {cpu:.1} us of CPU each");
    }
    println!("at most {MAX_CPU} us for each delivery of one feed");
    let figures = |load: &Load| {
        json!({ "deliveriesPerSecond": load.deliveries as f64 / load.seconds, "p50Milliseconds": load.p50,
            "p99Milliseconds": load.p99, "cpuMicroseconds": load.cpu })
    };
    let all = json!({ "idleSubscriberKiB": memory, "sendsPerSecond": send_rate, "sendCpuMicroseconds": send_cpu,
        "manyFeeds": figures(&many), "oneFeed": figures(&one) });
    fs::write("target/feeds.json", format!("{all:#}\n")).unwrap();
    if memory <= MAX_MEMORY && one.cpu <= MAX_CPU { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
