//! The reverse proxies of docs/how-to/proxies.md, as processes before the program, with the files of the folder deploy.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};

use crate::{
    accounts::{Member, PASSWORD, SIGN_UP},
    harness::{ACCOUNTS, Database, SEND, Socket, code, signed_in, soon, text},
    ports::own_port,
    program::{server, started},
    proxy_files::{Adapted, bare_caddy, bare_nginx, caddy, haproxy, naming_nginx, nginx, nginx_before_two, with},
};

const FEED: &str = "subscription { feed { kind cursor message { content } } }";

/// A proxy, and the server behind it.
struct Behind {
    address: SocketAddr,
    log: Lines<BufReader<ChildStderr>>,
    _server: Child,
    _proxy: Child,
    _database: Database,
    _folder: TempDir,
}

impl Behind {
    /// `None` where it makes no difference, or where there are no proxies.
    async fn start(adapted: impl Fn(&Path, u16, &str) -> Command, flags: &[&str]) -> Option<Self> {
        let database = Database::new().await;
        if signed_in() || !database.is_sqlite() || std::env::var_os("DUOLOGUE_TEST_WITHOUT_PROXIES").is_some() {
            return None;
        }
        let mut server = server(&database, &[flags, &["--trusted-proxy", "127.0.0.1"]].concat());
        server.env_remove("DUOLOGUE_LOG").env("DUOLOGUE_LOG_FORMAT", "json").stderr(Stdio::piped());
        let (mut server, behind) = started(server).await;
        let log = BufReader::new(server.stderr.take().unwrap()).lines();

        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], own_port()));
        let mut proxy = adapted(folder.path(), address.port(), &behind.to_string());
        // Debian has nginx and haproxy in /usr/sbin, which is not in everybody's path.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let said = folder.path().join("said");
        proxy.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let mut proxy = proxy.kill_on_drop(true).spawn().unwrap_or_else(|error| {
            panic!("nginx, caddy and haproxy must be installed, or DUOLOGUE_TEST_WITHOUT_PROXIES be set: {error}")
        });
        soon(async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = proxy.try_wait().unwrap() {
                    panic!("the proxy ended, {status}: {}", fs::read_to_string(&said).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Some(Self { address, log, _server: server, _proxy: proxy, _database: database, _folder: folder })
    }

    fn post(&self, http: &Client) -> RequestBuilder {
        http.post(format!("http://{}/graphql", self.address))
    }

    fn query(&self, http: &Client, query: &str, variables: &Value) -> RequestBuilder {
        self.post(http).json(&json!({ "query": query, "variables": variables }))
    }

    fn sign_up(&self, http: &Client, name: &str) -> RequestBuilder {
        let input = json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
        self.query(http, SIGN_UP, &json!({ "input": input }))
    }

    async fn signs_up(&self, http: &Client, name: &str) -> Member {
        Member::of(&answered(self.sign_up(http, name)).await.1["data"]["signUp"])
    }

    async fn sends(&self, http: &Client, from: &Member, to: &Member, content: &str) {
        let input = json!({ "input": { "receiverId": to.id, "content": content } });
        let (status, sent) = answered(self.query(http, SEND, &input).bearer_auth(&from.access)).await;
        assert_eq!((status, &sent["data"]["sendMessage"]["userErrors"]), (200, &json!([])), "{sent}");
    }

    /// A socket with somebody's feed, which has caught up.
    async fn socket(&self, member: &Member) -> Socket {
        let mut socket = Socket::open(self.address, "graphql-transport-ws").await;
        let payload = json!({ "authorization": format!("Bearer {}", member.access) });
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(hears_but_pings(&mut socket).await["type"], "connection_ack");
        socket.subscribes("feed", FEED, json!({})).await;
        assert_eq!(hears_but_pings(&mut socket).await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
        socket
    }

    /// The server has logged that an event stream has ended.
    async fn logs_the_end_of_a_stream(&mut self) {
        soon(async {
            loop {
                let line = self.log.next_line().await.unwrap().unwrap();
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
                if line["message"] == "request" && line["type"] == "subscription" {
                    return;
                }
            }
        })
        .await;
    }
}

/// A client with the address 127.0.0.x. From 2 on it is no trusted proxy.
fn client_at(last: u8) -> Client {
    Client::builder().local_address(IpAddr::from([127, 0, 0, last])).build().unwrap()
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = soon(request.send()).await.unwrap();
    (response.status().as_u16(), soon(response.json()).await.unwrap())
}

/// Reads an event stream until this has come.
async fn hears(stream: &mut Response, what: &str) {
    let mut heard = String::new();
    soon(async {
        while !heard.contains(what) {
            let chunk = stream.chunk().await.unwrap().expect("the stream ended");
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
    })
    .await;
}

/// The next message on a socket that is no ping; pings are answered.
async fn hears_but_pings(socket: &mut Socket) -> Value {
    loop {
        let heard = socket.hears().await;
        if heard["type"] != "ping" {
            return heard;
        }
        socket.says(json!({ "type": "pong" })).await;
    }
}

/// The status and the message with which a WebSocket is refused.
async fn upgrade_refused(behind: &Behind) -> (u16, String) {
    let upgrade = Client::new().get(format!("http://{}/graphql", behind.address)).header("connection", "Upgrade");
    let upgrade = upgrade.header("upgrade", "websocket").header("sec-websocket-version", "13");
    let (status, answer) = answered(upgrade.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")).await;
    (status, text(&answer["errors"][0]["message"]))
}

/// The server sees the addresses of the clients, and ids that the proxy has made.
async fn tells_who_asks_whatever_they_say(behind: &Behind, from_ada: &Client, from_bob: &Client) -> [Member; 2] {
    // With their own addresses both may sign up, once.
    let ada = behind.signs_up(from_ada, "Ada").await;
    let bob = behind.signs_up(from_bob, "Bob").await;
    // Whoever is where the proxy is could make others up if the proxy did not take away what they send.
    let from_eve = client_at(1);
    behind.signs_up(&from_eve, "Eve").await;
    for from in [from_ada, from_bob, &from_eve] {
        for forged in ["192.0.2.1", "192.0.2.2, 127.0.0.1"] {
            let request = behind.sign_up(from, "Mallory").header("x-forwarded-for", forged);
            assert_eq!(code(&answered(request).await.1), "RATE_LIMITED", "{forged}");
        }
    }
    let request = behind.query(from_ada, "{ __typename }", &json!({})).header("x-request-id", "mine");
    let response = soon(request.send()).await.unwrap();
    let ids: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
    // Those that the server makes itself are shorter.
    assert!(ids.len() == 1 && ids[0].len() >= 32, "{ids:?}");
    [ada, bob]
}

/// Events come when they happen, by stream and by a socket, if there is one, and the server notices when nobody listens any more.
async fn passes_events_on_at_once(
    behind: &mut Behind,
    http: &Client,
    members: &[Member; 2],
    mut socket: Option<Socket>,
) {
    let [ada, bob] = members;
    let stream = behind.query(http, FEED, &json!({})).bearer_auth(&bob.access);
    let stream = stream.header("accept", "text/event-stream").header("accept-encoding", "gzip");
    let mut stream = soon(stream.send()).await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers().get("content-encoding"), None);
    hears(&mut stream, "CAUGHT_UP").await;

    let mut times = Vec::new();
    for number in 0..10 {
        let content = format!("number {number}");
        behind.sends(http, ada, bob, &content).await;
        let begun = Instant::now();
        hears(&mut stream, &content).await;
        times.push(begun.elapsed());
        if let Some(socket) = &mut socket {
            assert_eq!(hears_but_pings(socket).await["payload"]["data"]["feed"]["message"]["content"], content);
        }
    }
    // A proxy that waits for more to send waits 0.2 seconds.
    times.sort();
    assert!(times[5] < Duration::from_millis(150), "{times:?}");

    drop(stream);
    let gone = Instant::now();
    behind.logs_the_end_of_a_stream().await;
    assert!(gone.elapsed() < Duration::from_secs(10), "{:?}", gone.elapsed());
}

/// Nothing but the server decides how large a body may be.
async fn lets_bodies_through(behind: &Behind, http: &Client) {
    let request = |size: usize| {
        let body = r#"{"query":"{ __typename }"}"#.to_owned() + &" ".repeat(size);
        behind.post(http).header("content-type", "application/json").body(body)
    };
    let (status, answer) = answered(request(200_000)).await;
    assert_eq!((status, answer), (200, json!({ "data": { "__typename": "Query" } })));
    let (status, answer) = answered(request(1_000_000)).await;
    assert_eq!((status, code(&answer).as_str()), (413, "PAYLOAD_TOO_LARGE"));
}

async fn serves(adapted: Adapted) {
    let flags = [&ACCOUNTS[..], &["--max-sign-ups", "1"]].concat();
    let Some(mut behind) = Behind::start(adapted, &flags).await else { return };
    let (from_ada, from_bob) = (client_at(2), client_at(3));
    let members = tells_who_asks_whatever_they_say(&behind, &from_ada, &from_bob).await;
    let me = behind.query(&from_ada, "{ me { user { id } } }", &json!({})).bearer_auth(&members[0].access);
    assert_eq!(answered(me).await.1["data"]["me"]["user"]["id"], members[0].id);
    let socket = behind.socket(&members[1]).await;
    passes_events_on_at_once(&mut behind, &from_ada, &members, Some(socket)).await;
    lets_bodies_through(&behind, &from_ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_on_what_clients_and_server_say() {
    serves(nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_them_on_to_the_one_of_two_servers_that_is_there() {
    serves(nginx_before_two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_passes_on_what_clients_and_server_say() {
    serves(caddy).await;
}

/// Events come at once and are not compressed.
#[tokio::test(flavor = "multi_thread")]
async fn caddy_that_is_to_compress_everything_passes_events_on_as_they_are() {
    let Some(mut behind) = Behind::start(bare_caddy, &ACCOUNTS).await else { return };
    let http = Client::new();
    let members = [behind.signs_up(&http, "Ada").await, behind.signs_up(&http, "Bob").await];
    let socket = behind.socket(&members[1]).await;
    passes_events_on_at_once(&mut behind, &http, &members, Some(socket)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_on_what_clients_and_server_say() {
    serves(haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_with_nothing_but_a_proxy_pass_passes_on_all_but_sockets() {
    let Some(mut behind) = Behind::start(bare_nginx, &ACCOUNTS).await else { return };
    let http = Client::new();
    let members = [behind.signs_up(&http, "Ada").await, behind.signs_up(&http, "Bob").await];
    passes_events_on_at_once(&mut behind, &http, &members, None).await;
    lets_bodies_through(&behind, &http).await;
    let (status, why) = upgrade_refused(&behind).await;
    assert!(status == 426 && why.contains("A proxy on the way has dropped them"), "{status} {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_that_passes_upgrades_on_over_an_old_version_is_told_which_one_to_take() {
    let upgrading = |folder: &Path, port: u16, server: &str| {
        let command = bare_nginx(folder, port, server);
        let site = fs::read_to_string(folder.join("site.conf")).unwrap();
        let headers = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass";
        fs::write(folder.join("site.conf"), with(&site, "proxy_pass", headers)).unwrap();
        command
    };
    let Some(behind) = Behind::start(upgrading, &[]).await else { return };
    let (status, why) = upgrade_refused(&behind).await;
    assert!(status == 426 && why.contains("(nginx: proxy_http_version 1.1)"), "{status} {why}");
}

/// docs/how-to/proxies.md warns of the former.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_answers_to_the_address_that_nginx_sends_and_to_no_name() {
    for (adapted, expected) in [(bare_nginx as Adapted, 200), (naming_nginx, 403)] {
        let Some(behind) = Behind::start(adapted, &[]).await else { return };
        let (status, answer) = answered(behind.query(&Client::new(), "{ __typename }", &json!({}))).await;
        assert_eq!(status, expected, "{answer}");
        if status == 403 {
            let why = answer["errors"][0]["message"].as_str().unwrap();
            assert!(code(&answer) == "FORBIDDEN" && why.contains("names of its own machine"), "{why}");
        }
    }
}

/// A socket on which nothing is said stays open because of the pings: with fewer of them the proxy cuts it.
async fn keeps_a_silent_socket(adapted: Adapted, file: &str) {
    let hasty = |folder: &Path, port: u16, server: &str| {
        let command = adapted(folder, port, server);
        let config = fs::read_to_string(folder.join(file)).unwrap();
        fs::write(folder.join(file), with(&config, "75s", "3s")).unwrap();
        command
    };
    let flags = [&ACCOUNTS[..], &["--ping-interval", "1"]].concat();
    let Some(pinged) = Behind::start(hasty, &flags).await else { return };
    let silent = Behind::start(hasty, &ACCOUNTS).await.unwrap();
    let (http, eve) = (Client::new(), silent.signs_up(&Client::new(), "Eve").await);
    let [ada, bob] = [pinged.signs_up(&http, "Ada").await, pinged.signs_up(&http, "Bob").await];
    let mut socket = pinged.socket(&bob).await;
    let begun = Instant::now();
    let mut cut = silent.socket(&eve).await;
    let one_is_cut = async {
        assert_eq!(cut.hears_or_ends().await, None);
        assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
        pinged.sends(&http, &ada, &bob, "after a while").await;
    };
    let (heard, ()) = tokio::join!(hears_but_pings(&mut socket), one_is_cut);
    assert_eq!(heard["payload"]["data"]["feed"]["message"]["content"], "after a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_a_silent_socket_that_is_pinged() {
    keeps_a_silent_socket(nginx, "site.conf").await;
}

/// Caddy has no such timeout.
#[tokio::test(flavor = "multi_thread")]
async fn haproxy_keeps_a_silent_socket_that_is_pinged() {
    keeps_a_silent_socket(haproxy, "haproxy.cfg").await;
}
