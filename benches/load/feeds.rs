//! What feeds cost.
//!
//! - Memory of an idle subscriber: what the server grows by from 1,000 to 10,000 of them, each with a feed of its own.
//! - Many feeds: 1,000 users follow their own, 5,000 messages go between random pairs.
//! - One feed: 1,000 followers of one user, who gets 100 messages.
//! - Catching up: a follower comes back after 10,000 messages.
//!
//! Times are those of the server's CPU, which other programs on the machine disturb less than those of a clock.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::{SinkExt, StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::ClientRequestBuilder, protocol::WebSocketConfig},
};

use crate::{
    client,
    limits::{CATCHING_UP_CPU, DELIVERY_CPU, IDLE_SUBSCRIBER},
    report::{Report, number},
    server::{Database, Server, duologue},
    works::pairs,
};

const FEW: u64 = 1_000;
const MANY: u64 = 10_000;
const PAIR_MESSAGES: usize = 5_000;
const ONE_FEED_MESSAGES: usize = 100;
const BACKLOG: usize = 10_000;
/// How often a follower comes back.
const RETURNS: usize = 5;
const SENDERS: usize = 8;
/// A socket for each subscriber, and some more.
pub(crate) const OPEN_FILES: u64 = 20_000;
const COLUMNS: [&str; 5] = ["feeds", "deliveries/s", "p50 ms", "p99 ms", "CPU us"];

const FEED: &str = "subscription Feed($user: ID!, $after: String) {
    feed(userId: $user, after: $after) { kind cursor messageId message { id content createdAt sender { id name } } }
}";
const SEND: &str = "mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";

/// A client that has caught up with a feed.
struct Follower {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// How many events came before it had caught up.
    missed: usize,
}

impl Follower {
    async fn of(address: SocketAddr, user: u64, after: Option<&str>) -> Self {
        let url = format!("ws://{address}/graphql").parse().unwrap();
        let request = ClientRequestBuilder::new(url).with_sub_protocol("graphql-transport-ws");
        let small = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
        let (mut socket, _) = tokio_tungstenite::connect_async_with_config(request, Some(small), true).await.unwrap();
        socket.send(Message::text(r#"{"type":"connection_init"}"#)).await.unwrap();
        let payload = json!({ "query": FEED, "variables": { "user": user, "after": after } });
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
        let mut follower = Self { socket, missed: 0 };
        assert!(follower.hears().await.contains("connection_ack"));
        while !follower.hears().await.contains("CAUGHT_UP") {
            follower.missed += 1;
        }
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

impl Load {
    fn rate(&self) -> f64 {
        self.deliveries as f64 / self.seconds
    }
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

/// A server with 10,000 users.
struct Crowd {
    server: Server,
    _database: Database,
}

impl Crowd {
    fn gather() -> Self {
        let database = Database::demo(MANY, 0);
        Self { server: Server::start(duologue(&database)), _database: database }
    }

    /// Followers of these users' feeds, each on a socket of its own.
    async fn followed(&self, users: impl Iterator<Item = u64>) -> Vec<Follower> {
        let followers = users.map(|user| Follower::of(self.server.address, user, None));
        stream::iter(followers).buffer_unordered(64).collect().await
    }
}

/// KiB for each idle subscriber.
async fn memory() -> f64 {
    let crowd = Crowd::gather();
    let few = crowd.followed(1..=FEW).await;
    let before = crowd.server.resident();
    let more = crowd.followed(FEW + 1..=MANY).await;
    let after = crowd.server.resident();
    drop((few, more));
    (after - before) / (MANY - FEW) as f64
}

/// Microseconds of CPU for each send while nobody follows, and what 1,000 feeds cost.
async fn many_feeds() -> (f64, Load) {
    let crowd = Crowd::gather();
    let random = |seed| pairs(PAIR_MESSAGES as u64, 1..=FEW, seed);
    let cpu = crowd.server.cpu();
    send(&crowd.server, random(1), &Board::new(PAIR_MESSAGES, 1)).await;
    let send_cpu = (crowd.server.cpu() - cpu) * 1e6 / PAIR_MESSAGES as f64;
    let followers = crowd.followed(1..=FEW).await;
    (send_cpu, load(&crowd.server, followers, random(2), PAIR_MESSAGES, PAIR_MESSAGES * 2).await)
}

/// Microseconds of CPU for each event of a backlog.
async fn catching_up() -> f64 {
    let database = Database::demo(2, 0);
    let server = Server::start(duologue(&database));
    let body = client::post("/graphql", r#"{"query":"{ feedCursor(userId: 1) }"}"#);
    let address = server.address;
    let answer = tokio::task::spawn_blocking(move || client::body(address, &body)).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let cursor = answer["data"]["feedCursor"].as_str().unwrap();
    send(&server, vec![(2, 1); BACKLOG], &Board::new(BACKLOG, 1)).await;
    let cpu = server.cpu();
    for _ in 0..RETURNS {
        let follower = Follower::of(address, 1, Some(cursor)).await;
        assert_eq!(follower.missed, BACKLOG);
    }
    (server.cpu() - cpu) * 1e6 / (BACKLOG * RETURNS) as f64
}

async fn one_feed() -> Load {
    let crowd = Crowd::gather();
    let followers = crowd.followed((0..FEW).map(|_| 1)).await;
    let pairs = vec![(2, 1); ONE_FEED_MESSAGES];
    let deliveries = ONE_FEED_MESSAGES * usize::try_from(FEW).unwrap();
    load(&crowd.server, followers, pairs, 0, deliveries).await
}

pub(crate) fn may_open_files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX)
}

#[tokio::main]
pub(crate) async fn measure(report: &mut Report) {
    let memory = memory().await;
    let (send_cpu, many) = many_feeds().await;
    let one = one_feed().await;
    let catching_up = catching_up().await;
    for (name, load) in [("1,000 feeds, 5,000 messages", &many), ("1,000 followers of one feed", &one)] {
        let numbers = [load.rate(), load.p50, load.p99, load.cpu].map(number);
        report.row("Feeds", &COLUMNS, [name.to_owned()].into_iter().chain(numbers).collect());
    }
    let figures = |load: &Load| {
        json!({ "deliveriesPerSecond": load.rate(), "p50Milliseconds": load.p50, "p99Milliseconds": load.p99,
            "cpuMicroseconds": load.cpu })
    };
    let all = json!({ "idleSubscriberKiB": memory, "sendCpuMicroseconds": send_cpu, "manyFeeds": figures(&many),
        "oneFeed": figures(&one), "catchingUpCpuMicroseconds": catching_up });
    report.figures("feeds", all);
    report.keep(IDLE_SUBSCRIBER, memory);
    report.keep(DELIVERY_CPU, one.cpu);
    report.keep(CATCHING_UP_CPU, catching_up);
}
