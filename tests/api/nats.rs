//! Servers that wake each other over NATS, on a network that fails or where they are not let in: every send succeeds, and everybody
//! hears of it soon.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use duologue::{
    domain::relaying,
    events::{Nats, NatsSettings},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use crate::{
    harness::{Database, Feed, Person, client, signed_in, soon},
    link::{Flow, Link},
    metrics::scraped,
    outages::Cluster,
    ports::{own_address, own_port},
    program::{server, started},
    servers::{Servers, followed, nats_server, nats_server_with, without_nats},
};

/// Far more than what the docs say, which is half a second: the machine of the tests is busy.
const SOON: Duration = Duration::from_secs(2);

/// Two servers, each of which is told of the changes of the other by a NATS server at the other end of its link.
struct Linked {
    servers: Servers,
    links: [Link; 2],
    nats: Vec<Child>,
    _jobs: JoinSet<()>,
}

impl Linked {
    /// With one NATS server for both, or one for each, which do not know each other. `None` where there is none, and on SQLite.
    async fn by(nats_servers: usize) -> Option<Self> {
        if without_nats() {
            return None;
        }
        let servers = Servers::start().await?;
        know_each_other(&servers).await;
        let (mut nats, mut ports, mut jobs) = (Vec::new(), Vec::new(), JoinSet::new());
        for _ in 0..nats_servers {
            let port = own_port();
            nats.push(nats_server(port));
            ports.push(port);
        }
        let links = [Link::to(ports[0]).await, Link::to(ports[nats_servers - 1]).await];
        for (node, link, chat) in [(1, &links[0], &servers.a), (2, &links[1], &servers.b)] {
            let settings = NatsSettings { servers: vec![format!("nats://{}", link.address)], credentials: None };
            let nats = soon(Nats::open(&settings)).await.unwrap();
            jobs.spawn(relaying::run_job(chat.app.clone(), nats, node));
        }
        let linked = Self { servers, links, nats, _jobs: jobs };
        linked.servers.hear(true).await;
        Some(linked)
    }
}

/// Waits until each server has found a change of the other one in the database: before, they look for changes every two seconds only.
async fn know_each_other(servers: &Servers) {
    let (eve, pal) = (servers.a.person("Eve").await, servers.a.person("Pal").await);
    let [pal_at_b, eve_at_b] = [servers.at_b(&pal), servers.at_b(&eve)];
    let (mut at_a, mut at_b) = (followed(&pal).await, followed(&eve_at_b).await);
    pal_at_b.sends("Hi", &eve).await;
    assert_eq!(at_a.next().await["message"]["content"], "Hi");
    assert_eq!(at_b.next().await["message"]["content"], "Hi");
    eve.sends("Hello", &pal).await;
    assert_eq!(at_b.next().await["message"]["content"], "Hello");
}

/// Two people who follow their feeds, each at another server.
struct Pair<'a> {
    people: [Person<'a>; 2],
    feeds: [Feed; 2],
    sent: usize,
}

impl<'a> Pair<'a> {
    async fn at(servers: &'a Servers) -> Self {
        let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
        let bob = servers.at_b(&bob);
        let feeds = [followed(&ada).await, followed(&bob).await];
        Self { people: [ada, bob], feeds, sent: 0 }
    }

    /// Each sends something to the other one, and both hear of it soon.
    async fn exchanges(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            self.sent += 1;
            let (content, begun) = (format!("number {}", self.sent), Instant::now());
            self.people[from].sends(&content, &self.people[to]).await;
            let sent = begun.elapsed();
            assert!(sent < SOON, "{content} was sent after {sent:?}");
            for feed in &mut self.feeds {
                assert_eq!(feed.next().await["message"]["content"], content);
            }
            assert!(begun.elapsed() < SOON, "{content} was heard after {:?}", begun.elapsed());
        }
    }

    /// They exchange messages until something is the case.
    async fn exchanges_until(&mut self, is_so: impl Fn() -> bool) {
        soon(async {
            while !is_so() {
                self.exchanges().await;
            }
        })
        .await;
    }
}

async fn is_cut_off_by(flow: Flow) {
    let Some(linked) = Linked::by(1).await else { return };
    let (a, b) = (&linked.servers.a.app.relay, &linked.servers.b.app.relay);
    let mut pair = Pair::at(&linked.servers).await;
    pair.exchanges().await;
    linked.links[0].becomes(flow);
    pair.exchanges_until(|| !a.is_linked()).await;
    for _ in 0..5 {
        pair.exchanges().await;
    }
    assert!(b.is_linked());
    linked.links[0].becomes(Flow::Passes);
    pair.exchanges_until(|| a.is_linked()).await;
    pair.exchanges().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_packets_to_nats_are_lost_misses_nothing() {
    is_cut_off_by(Flow::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connection_to_nats_hangs_misses_nothing() {
    is_cut_off_by(Flow::Held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connection_to_nats_is_reset_misses_nothing() {
    is_cut_off_by(Flow::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_slow_or_loses_its_connections_again_and_again_loses_nothing() {
    let Some(linked) = Linked::by(1).await else { return };
    let mut pair = Pair::at(&linked.servers).await;
    for link in &linked.links {
        link.delays(Duration::from_millis(300));
    }
    for _ in 0..10 {
        pair.exchanges().await;
    }
    for link in &linked.links {
        link.delays(Duration::ZERO);
    }
    for number in 0..40 {
        if number % 5 == 0 {
            linked.links[number / 5 % 2].breaks();
        }
        pair.exchanges().await;
    }
    linked.servers.hear(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_is_stopped_for_a_while_holds_up_nobody() {
    let Some(linked) = Linked::by(1).await else { return };
    let [a, b] = [&linked.servers.a, &linked.servers.b].map(|chat| &chat.app.relay);
    let mut pair = Pair::at(&linked.servers).await;
    let process = linked.nats[0].id().unwrap().to_string();
    let signal = async |signal: &str| {
        assert!(soon(Command::new("kill").args([signal, &process]).status()).await.unwrap().success());
    };
    signal("-STOP").await;
    pair.exchanges_until(|| !a.is_linked() && !b.is_linked()).await;
    for _ in 0..5 {
        pair.exchanges().await;
    }
    signal("-CONT").await;
    pair.exchanges_until(|| a.is_linked() && b.is_linked()).await;
    pair.exchanges().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_nats_servers_that_do_not_know_each_other_hear_of_everything() {
    let Some(linked) = Linked::by(2).await else { return };
    let mut pair = Pair::at(&linked.servers).await;
    for _ in 0..20 {
        pair.exchanges().await;
    }
    assert!(linked.servers.a.app.relay.is_linked() && linked.servers.b.app.relay.is_linked());
}

/// How NATS servers know who may connect, and what their URL has before `@` then: percent-encoded, as in every URL.
const SIGN_INS: [(&[&str], &str); 2] = [
    (&["--user", "chat", "--pass", "S3cret pass+@/word"], "chat:S3cret%20pass+%40%2Fword"),
    (&["--auth", "S3cret:token"], "S3cret%3Atoken"),
];

#[tokio::test(flavor = "multi_thread")]
async fn servers_sign_in_at_nats_with_what_its_url_has() {
    if without_nats() {
        return;
    }
    for (flags, user) in SIGN_INS {
        let port = own_port();
        let _nats = nats_server_with(port, flags);
        let Some(servers) = Servers::told_by(&format!("nats://{user}@127.0.0.1:{port}")).await else { return };
        servers.hear(true).await;
        Pair::at(&servers).await.exchanges().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_nats_does_not_let_in_look_into_the_database_and_log_why_without_a_secret() {
    if without_nats() {
        return;
    }
    for (flags, user) in SIGN_INS {
        let port = own_port();
        let _nats = nats_server_with(port, flags);
        let url = format!("nats://{user}-another@127.0.0.1:{port}");
        let Some(servers) = Servers::start().await else { return };
        know_each_other(&servers).await;
        let _jobs = servers.linked(&url).await;
        let mut pair = Pair::at(&servers).await;
        for _ in 0..5 {
            pair.exchanges().await;
        }
        assert!(!servers.a.app.relay.is_linked() && !servers.b.app.relay.is_linked());

        let mut program = server(&Database::new().await, &["--nats", &url]);
        program.env("RUST_LOG", "trace").stderr(Stdio::piped());
        let (mut child, address) = started(program).await;
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let refused = async {
            loop {
                let line = log.next_line().await.unwrap().unwrap();
                assert!(!line.contains("S3cret"), "{line}");
                if line.contains("authorization violation") {
                    break;
                }
            }
        };
        soon(refused).await;
        let ready = client(None).get(format!("http://{address}/health/ready"));
        assert_eq!(soon(ready.send()).await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_connect_to_nats_over_tls_if_they_trust_its_certificate() {
    if without_nats() || signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    // One for this machine is made for PostgreSQL.
    let cluster = Cluster::with(&[("DUOLOGUE_TEST_TLS_PORT", &own_port().to_string())]).await;
    let file = |name| cluster.folder().join(name).display().to_string();
    let port = own_port();
    let (certificate, key) = (file("data/server.crt"), file("data/server.key"));
    let _nats = nats_server_with(port, &["--tls", "--tlscert", &certificate, "--tlskey", &key]);
    let (url, database) = (format!("tls://localhost:{port}"), Database::on(&cluster.url));
    let metrics = own_address();
    let mut trusting = server(&database, &["--nats", &url, "--metrics-listen", &metrics]);
    trusting.env("SSL_CERT_FILE", file("root.pem"));
    let _trusting = started(trusting).await;
    let metrics = format!("http://{metrics}/metrics");
    soon(async { while scraped(&metrics).await["duologue_nats_linked"] < 1.0 {} }).await;

    let mut other = server(&database, &["--nats", &url]);
    other.env_remove("DUOLOGUE_LOG").stderr(Stdio::piped());
    let (mut child, _) = started(other).await;
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    soon(async { while !log.next_line().await.unwrap().unwrap().contains("NATS: client error: nats: IO error") {} })
        .await;
}
