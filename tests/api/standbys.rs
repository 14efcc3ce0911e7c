//! A PostgreSQL server whose standby takes over from it, under two Duologue servers that know both: what is kept, what is lost
//! and what the servers then tell their clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use diesel::{
    dsl::sql,
    sql_types::{BigInt, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    crowd::{Crowd, Tally, short_or_long},
    failover::{Followers, PEOPLE},
    harness::{Database, Socket, client, signed_in, soon, text},
    outages::Cluster,
    program::{server, started},
};

const SENDERS: usize = 6;
/// From the promotion on.
const DEADLINE: Duration = Duration::from_secs(10);

/// A PostgreSQL server, and one that follows it.
struct Pair {
    cluster: Cluster,
    /// The data of the standby, and a URL of it alone.
    data: PathBuf,
    standby: String,
}

impl Pair {
    /// `None` where this was tried already, or cannot be.
    async fn new() -> Option<Self> {
        if signed_in() || Database::new().await.is_sqlite() {
            return None;
        }
        let cluster = Cluster::new().await;
        let folder = cluster.folder().canonicalize().unwrap();
        let (data, standby) = (folder.join("standby"), cluster.url.replace(":5432/", ":5433/"));
        let pair = Self { cluster, data, standby };
        let bin = sql::<Text>("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
        let bin: String = bin.get_result(&mut connected(&pair.cluster.url).await).await.unwrap();
        // It refuses to run as root, as the server does.
        let (owner, place) = (std::fs::metadata(&folder).unwrap(), folder.display().to_string());
        let mut backup = std::process::Command::new(Path::new(&bin).join("pg_basebackup"));
        backup.args(["--host", &place, "--username", "postgres", "--checkpoint", "fast", "--no-sync", "--pgdata"]);
        backup.arg(&pair.data).arg("--write-recovery-conf").current_dir(&folder);
        if owner.uid() != rustix::process::getuid().as_raw() {
            backup.gid(owner.gid()).uid(owner.uid());
        }
        assert!(soon(Command::from(backup).status()).await.unwrap().success());
        let options =
            format!("-c listen_addresses='' -c unix_socket_directories='{place}' -c max_connections=300 -c port=5433");
        pair.commands_standby(&["start", "-o", &options]).await;
        Some(pair)
    }

    /// What is committed is on the standby, too, before it is acknowledged.
    async fn is_synchronous(&self) {
        set(&self.cluster.url, "synchronous_standby_names = '*'").await;
        let count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        counts(&self.cluster.url, count, 1).await;
    }

    /// The standby hears nothing more of the primary, as when the network between them fails.
    async fn parts(&self) {
        set(&self.standby, "primary_conninfo = ''").await;
        counts(&self.cluster.url, "SELECT count(*) FROM pg_stat_replication", 0).await;
    }

    async fn primary_dies(&self) {
        let mut stop = Command::new(&self.cluster.pg_ctl);
        assert!(soon(stop.args(["stop", "--mode", "immediate"]).status()).await.unwrap().success());
    }

    /// Gives when it took changes.
    async fn standby_is_promoted(&self) -> Instant {
        self.commands_standby(&["promote"]).await;
        Instant::now()
    }

    async fn commands_standby(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.cluster.pg_ctl);
        command.args(arguments).arg("--pgdata").arg(&self.data).arg("--log").arg(self.data.join("log"));
        assert!(soon(command.status()).await.unwrap().success(), "{arguments:?}");
    }

    /// A server that knows both, and takes the one that takes changes; the primary is the first or the second one of the two.
    async fn serve(&self, is_primary_first: bool) -> (Child, SocketAddr) {
        let rest = self.cluster.url.strip_prefix("postgres://postgres@").unwrap();
        let host = rest.strip_suffix(":5432/postgres").unwrap();
        let [one, other] = if is_primary_first { [5432, 5433] } else { [5433, 5432] };
        let both = format!("postgres://postgres@{host}:{one},{host}:{other}/postgres?target_session_attrs=read-write");
        let mut server = server(&Database::on(&both), &["--database-connections", "8"]);
        // It has a lot to complain about.
        server.stderr(std::process::Stdio::null());
        started(server).await
    }
}

async fn connected(url: &str) -> AsyncPgConnection {
    soon(async {
        loop {
            match AsyncPgConnection::establish(url).await {
                Ok(conn) => break conn,
                Err(_starting) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// A setting of a server, from now on.
async fn set(url: &str, setting: &str) {
    let mut operator = connected(url).await;
    operator.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

/// Waits until a query gives this number.
async fn counts(url: &str, query: &str, expected: i64) {
    let mut operator = connected(url).await;
    soon(async { while sql::<BigInt>(query).get_result::<i64>(&mut operator).await.unwrap() != expected {} }).await;
}

/// The status of a server's readiness.
async fn readiness(address: SocketAddr) -> u16 {
    soon(reqwest::get(format!("http://{address}/health/ready"))).await.unwrap().status().as_u16()
}

/// Waits until a server is ready, or not any more.
pub(crate) async fn readiness_is(address: SocketAddr, expected: u16) {
    soon(async { while readiness(address).await != expected {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_when_a_synchronous_standby_takes_over() {
    let Some(pair) = Pair::new().await else { return };
    pair.is_synchronous().await;
    let (mut a, mut b) = (pair.serve(true).await, pair.serve(false).await);
    let mut crowd = Crowd::gathers(&Database::on(&pair.standby), a.1, PEOPLE, SENDERS).await;
    crowd.is_joined_at(b.1, SENDERS..2 * SENDERS);
    let (_place_a, at_a) = watch::channel(a.1);
    let (_place_b, at_b) = watch::channel(b.1);
    let followers = [Followers::at(&at_a, &crowd).await, Followers::at(&at_b, &crowd).await];
    crowd.until_answered(short_or_long(200, 3_000)).await;
    // What is committed from now on is on the primary alone, and is not to be answered.
    pair.parts().await;
    let waiting = "SELECT least(count(*), 1) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    counts(&pair.cluster.url, waiting, 1).await;
    pair.primary_dies().await;
    let promoted = pair.standby_is_promoted().await;
    let all = 2 * SENDERS;
    crowd.until(|tally| tally.last.values().filter(|at| **at > promoted).count() == all).await;
    assert!(promoted.elapsed() < DEADLINE, "all were answered again after {:?}", promoted.elapsed());
    crowd.failed_only_with(&[(503, "UNAVAILABLE"), (503, "DATABASE_BUSY")]);
    crowd.until_answered(200).await;
    crowd.rests_and_finds_everything().await;
    for followers in followers {
        followers.have_heard_everything(&crowd).await;
    }
    a.0.kill().await.unwrap();
    b.0.kill().await.unwrap();
}

/// As long as the old primary lives on, a server that is connected to it stays there: synchronous replication keeps it from
/// acknowledging anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_lives_on_without_its_synchronous_standby_answers_no_sends() {
    let Some(pair) = Pair::new().await else { return };
    pair.is_synchronous().await;
    let mut a = pair.serve(true).await;
    let mut crowd = Crowd::gathers(&Database::on(&pair.standby), a.1, PEOPLE, SENDERS).await;
    let (_place, at_a) = watch::channel(a.1);
    let followers = Followers::at(&at_a, &crowd).await;
    crowd.until_answered(200).await;
    pair.parts().await;
    let parted = Instant::now();
    let promoted = pair.standby_is_promoted().await;
    readiness_is(a.1, 503).await;
    assert!(parted.elapsed() < DEADLINE, "it was not ready any more after {:?}", parted.elapsed());
    // The other servers are at the new primary already.
    let mut b = pair.serve(false).await;
    crowd.is_joined_at(b.1, SENDERS..2 * SENDERS);
    let at_b = |tally: &Tally| tally.last.range(SENDERS..).filter(|(_, at)| **at > parted).count();
    crowd.until(|tally| at_b(tally) == SENDERS).await;
    let last = crowd.tally(|tally| tally.last.range(..SENDERS).map(|(_, at)| *at).max()).unwrap();
    assert!(last < promoted, "the old primary answered {:?} after the promotion", last - promoted);
    pair.primary_dies().await;
    let died = Instant::now();
    crowd.until(|tally| tally.last.values().filter(|at| **at > died).count() == 2 * SENDERS).await;
    assert!(died.elapsed() < DEADLINE, "all were answered again after {:?}", died.elapsed());
    readiness_is(a.1, 200).await;
    crowd.rests_and_finds_everything().await;
    followers.have_heard_everything(&crowd).await;
    a.0.kill().await.unwrap();
    b.0.kill().await.unwrap();
}

/// What a client holds, by id, and when it was told to load everything again.
#[derive(Default)]
struct Held {
    messages: BTreeMap<String, String>,
    resets: Vec<Instant>,
}

/// Follows the feed of a user as a good client does it, at one server.
async fn follow(address: SocketAddr, user: usize, held: Arc<Mutex<Held>>, caught_up: Arc<Notify>) {
    let query = "subscription ($user: ID!) { feed(userId: $user) { kind messageId message { content } } }";
    let mut socket = Socket::open(address, "graphql-transport-ws").await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("feed", query, json!({ "user": user })).await;
    loop {
        let mut said = socket.hears().await;
        if said["type"] == "ping" {
            continue;
        }
        assert_eq!((&said["type"], said["payload"].get("errors")), (&json!("next"), None), "{said}");
        let event = said["payload"]["data"]["feed"].take();
        match event["kind"].as_str() {
            Some("RESET") => {
                let all = loaded(address, user).await;
                let mut held = held.lock().unwrap();
                held.resets.push(Instant::now());
                held.messages = all;
            }
            Some("MESSAGE_SENT") => {
                let (id, content) = (text(&event["messageId"]), text(&event["message"]["content"]));
                held.lock().unwrap().messages.insert(id, content);
            }
            Some("CAUGHT_UP") => caught_up.notify_one(),
            _ => {}
        }
    }
}

/// All messages of a user, page by page, by id.
async fn loaded(address: SocketAddr, user: usize) -> BTreeMap<String, String> {
    let (http, mut all) = (client(None), BTreeMap::new());
    for list in ["sentMessages", "receivedMessages"] {
        let query = format!(
            "query ($user: ID!, $after: String) {{ user(id: $user) {{ list: {list}(first: 100, after: $after) {{
                nodes {{ id content }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
        );
        let mut after = Value::Null;
        loop {
            let body = json!({ "query": query, "variables": { "user": user, "after": after } });
            let asked = http.post(format!("http://{address}/graphql")).json(&body).send();
            let answer: Value = soon(asked).await.unwrap().json().await.unwrap();
            let page = &answer["data"]["user"]["list"];
            // The database may be away.
            let Some(nodes) = page["nodes"].as_array() else { continue };
            all.extend(nodes.iter().map(|node| (text(&node["id"]), text(&node["content"]))));
            if page["pageInfo"]["hasNextPage"] == json!(false) {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }
    all
}

/// All messages of a user, by id, as they are in the database.
async fn stored(url: &str, user: usize) -> BTreeMap<String, String> {
    let all = format!("SELECT id, content FROM messages WHERE {user} IN (sender_id, receiver_id)");
    let rows: Vec<Row> = diesel::sql_query(all).load(&mut connected(url).await).await.unwrap();
    rows.into_iter().map(|row| (format!("msg_{}", row.id), row.content)).collect()
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    content: String,
}

/// A standby takes over that lacks at least so many of the last messages that were answered.
async fn takes_over_without(lacking: usize) {
    let Some(pair) = Pair::new().await else { return };
    let servers = [pair.serve(true).await, pair.serve(false).await];
    let [a, b] = [servers[0].1, servers[1].1];
    let mut crowd = Crowd::gathers(&Database::on(&pair.standby), a, PEOPLE, SENDERS).await;
    crowd.is_joined_at(b, SENDERS..2 * SENDERS);
    let (mut tasks, mut followers) = (JoinSet::new(), Vec::new());
    for (address, user) in [a, b].into_iter().flat_map(|address| (1..=PEOPLE).map(move |user| (address, user))) {
        let (held, caught_up) = (Arc::new(Mutex::new(Held::default())), Arc::new(Notify::new()));
        tasks.spawn(follow(address, user, held.clone(), caught_up.clone()));
        soon(caught_up.notified()).await;
        followers.push((user, held));
    }
    crowd.until_answered(100).await;
    pair.parts().await;
    let kept: BTreeSet<String> = crowd.tally(|tally| tally.answered.keys().cloned().collect());
    crowd.until_answered(lacking).await;
    // Everybody holds something that will be lost.
    soon(async {
        while followers.iter().any(|(_, held)| held.lock().unwrap().messages.values().all(|name| kept.contains(name))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    pair.primary_dies().await;
    let answered = crowd.tally(|tally| tally.answered.clone());
    let promoted = pair.standby_is_promoted().await;
    soon(async {
        while followers.iter().any(|(_, held)| held.lock().unwrap().resets.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(promoted.elapsed() < DEADLINE, "all were told after {:?}", promoted.elapsed());
    let all = 2 * SENDERS;
    crowd.until(|tally| tally.last.values().filter(|at| **at > promoted).count() == all).await;
    assert!(promoted.elapsed() < DEADLINE, "all were answered again after {:?}", promoted.elapsed());
    crowd.until_answered(100).await;
    crowd.rests().await;
    let found = crowd.found().await;
    let found: BTreeSet<&String> = found.values().collect();
    let lost = answered.keys().filter(|name| !found.contains(name)).count();
    assert!(lost >= lacking.min(5), "{lost} were lost");
    for (user, held) in &followers {
        let stored = stored(&pair.standby, *user).await;
        soon(async {
            while held.lock().unwrap().messages != stored {
                assert!(tasks.try_join_next().is_none(), "all still follow");
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_messages_makes_every_client_load_everything_again() {
    takes_over_without(10).await;
}

/// So many that ids go back, by more than those which PostgreSQL skips when a standby takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_many_messages_makes_every_client_load_everything_again() {
    takes_over_without(short_or_long(150, 2_000)).await;
}
