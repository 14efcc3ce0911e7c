//! Metrics: what Prometheus reads, each of which moves when something happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    endpoints::{Program, good, status},
    harness::{ACCOUNTS, Database, SEND, Socket, client, signed_in, soon},
    ports::own_address,
    program::{error, server, signs_up, started, terminate},
};

/// What two subscriptions of a user, a send that was repeated, one more send, and some failures make of the metrics.
const WHILE_OPEN: [(&str, f64); 17] = [
    ("duologue_ready", 1.0),
    ("duologue_sockets{protocol=\"graphql-transport-ws\"}", 1.0),
    ("duologue_subscriptions{field=\"feed\"}", 2.0),
    ("duologue_users_online", 1.0),
    ("duologue_feed_resumes_total{outcome=\"caught_up\"}", 1.0),
    ("duologue_feed_resumes_total{outcome=\"reset\"}", 1.0),
    ("duologue_feed_replayed_events_sum", 1.0),
    ("duologue_messages_sent_total{duplicate=\"false\"}", 2.0),
    ("duologue_messages_sent_total{duplicate=\"true\"}", 1.0),
    ("duologue_messages_unindexed{index=\"vectors\"}", 2.0),
    ("duologue_sign_ins_total{outcome=\"ok\"}", 1.0),
    ("duologue_sign_ins_total{outcome=\"refused\"}", 1.0),
    ("duologue_sign_ins_total{outcome=\"limited\"}", 1.0),
    ("duologue_rate_limited_total{rate=\"failure\"}", 1.0),
    ("duologue_operations_total{type=\"none\",code=\"GRAPHQL_VALIDATION_FAILED\"}", 1.0),
    ("duologue_operations_total{type=\"query\",code=\"OK\"}", 1.0),
    ("duologue_operations_total{type=\"mutation\",code=\"RATE_LIMITED\"}", 1.0),
];

/// What is at least so much in the end.
const AT_LEAST: [(&str, f64); 16] = [
    ("duologue_http_responses_total{status=\"200\"}", 8.0),
    ("duologue_http_responses_total{status=\"101\"}", 1.0),
    ("duologue_operation_seconds_count{type=\"mutation\"}", 8.0),
    ("duologue_feed_lag_seconds_count", 1.0),
    ("duologue_wakeups_total", 1.0),
    ("duologue_embeddings_total{outcome=\"failed\"}", 1.0),
    ("duologue_embeddings_total{outcome=\"ok\"}", 2.0),
    ("duologue_write_wait_seconds_count", 3.0),
    ("duologue_commit_seconds_count", 3.0),
    ("duologue_commit_units_sum", 3.0),
    ("duologue_read_wait_seconds_count", 3.0),
    ("duologue_statements_total", 20.0),
    ("process_cpu_seconds_total", 0.01),
    ("process_resident_memory_bytes", 1e6),
    ("process_open_fds", 3.0),
    ("process_max_fds", 64.0),
];

/// Every sample of the answer, by its name with its labels.
pub(crate) async fn scraped(url: &str) -> BTreeMap<String, f64> {
    let answer = soon(reqwest::get(url)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// The text of the answer.
async fn scraped_text(url: &str) -> String {
    soon(async { reqwest::get(url).await.unwrap().text().await.unwrap() }).await
}

/// Each metric as the page about them has it: its name with those of its labels, and its type. Histograms add a label.
fn described(text: &str) -> BTreeSet<String> {
    let of_lines = |(line, sample): (&str, &str)| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels.split_once('}').unwrap().0);
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect();
        let labels = labels.into_iter().filter(|name| *name != "le").collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        Some(format!("`{name}{labels}` {kind}"))
    };
    text.lines().zip(text.lines().skip(1)).filter_map(of_lines).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_metric_moves() {
    let database = Database::new().await;
    let metrics = own_address();
    let accounts: &[&str] = if signed_in() { &[] } else { &ACCOUNTS };
    let endpoint = Program::start(|_| status(503, &json!({}))).await;
    let model = ["--embedding-url", &endpoint.url, "--embedding-name", "small"];
    let flags = [accounts, &["--metrics-listen", &metrics, "--max-sign-in-failures", "1"], &model].concat();
    let mut command = server(&database, &flags);
    command.env_remove("DUOLOGUE_NO_EMBEDDINGS");
    let (child, address) = started(command).await;
    let (metrics, url) = (format!("http://{metrics}/metrics"), format!("http://{address}/graphql"));
    let before = scraped(&metrics).await;
    let post = async |token: &str, query: &str, variables: Value| {
        let request = client(Some(token)).post(&url).json(&json!({ "query": query, "variables": variables }));
        soon(request.send()).await.unwrap().json::<Value>().await.unwrap()
    };
    let ((_, ada), (bob, _)) = (signs_up(address, "Ada").await, signs_up(address, "Bob").await);
    let sign_in = "mutation ($password: String!) {
        signIn(input: { email: \"Ada@example.com\", password: $password }) { accessToken } }";
    for password in ["correct horse", "wrong", "wrong again"] {
        post("", sign_in, json!({ "password": password })).await;
    }
    post("", "{ nothing }", json!({})).await;

    let mut socket = Socket::open(address, "graphql-transport-ws").await;
    socket.says(json!({ "type": "connection_init", "payload": { "authorization": ada } })).await;
    socket.hears().await;
    let cursor = post(&ada, "{ feedCursor }", json!({})).await["data"]["feedCursor"].take();
    let send = json!({ "input": { "receiverId": bob, "content": "Hello", "clientId": "1" } });
    for _ in 0..2 {
        post(&ada, SEND, send.clone()).await;
    }
    let feed = "subscription ($after: String) { feed(after: $after) { kind } }";
    socket.subscribes("resumed", feed, json!({ "after": cursor })).await;
    for kind in ["MESSAGE_SENT", "CAUGHT_UP"] {
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], kind);
    }
    // That of usr_1 in the epoch `gone`.
    socket.subscribes("lost", feed, json!({ "after": "Zjpnb25lOjE6NQ" })).await;
    soon(async { while socket.hears().await["id"] != "lost" {} }).await;
    post(&ada, SEND, json!({ "input": { "receiverId": bob, "content": "Again" } })).await;
    soon(async { while socket.hears().await["payload"]["data"]["feed"]["kind"] != "MESSAGE_SENT" {} }).await;

    let open = scraped(&metrics).await;
    for (name, value) in WHILE_OPEN {
        assert_eq!(open.get(name), Some(&value), "{name} in {open:#?}");
    }
    drop(socket);
    soon(async { while scraped(&metrics).await["duologue_embeddings_total{outcome=\"failed\"}"] == 0.0 {} }).await;
    endpoint.set(good);
    let ended = [
        "duologue_subscriptions{field=\"feed\"}",
        "duologue_sockets{protocol=\"graphql-transport-ws\"}",
        "duologue_messages_unindexed{index=\"words\"}",
        "duologue_messages_unindexed{index=\"vectors\"}",
    ];
    let closed = soon(async {
        loop {
            let closed = scraped(&metrics).await;
            if ended.iter().all(|name| closed[*name] == 0.0)
                && closed.contains_key("duologue_sockets_closed_total{code=\"gone\"}")
            {
                return closed;
            }
        }
    })
    .await;
    for (name, least) in AT_LEAST {
        assert!(closed.get(name).is_some_and(|value| *value >= least), "{name} in {closed:#?}");
        let moves = name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum");
        let is_process = name.starts_with("process");
        assert!(!moves || is_process || closed[name] > before.get(name).copied().unwrap_or_default(), "{name}");
    }
    if database.is_sqlite() {
        assert!(
            closed["duologue_database_bytes{file=\"db\"}"] + closed["duologue_database_bytes{file=\"wal\"}"] > 4096.0
        );
        assert!(closed["duologue_disk_size_bytes"] >= closed["duologue_disk_free_bytes"]);
        // What the page about them, the alerts and the dashboard have.
        let page =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md")).unwrap();
        let cells = |line: &str| line.split(" | ").take(2).collect::<Vec<_>>().join(" ");
        let documented =
            page.lines().filter_map(|line| Some(cells(line.strip_prefix("| ").filter(|row| row.starts_with('`'))?)));
        let mut expected = described(&scraped_text(&metrics).await);
        expected.insert("`duologue_nats_linked` gauge".to_owned());
        assert_eq!(documented.collect::<BTreeSet<_>>(), expected);
    }

    // What waits for a lock.
    let lock = database.locked().await;
    let (waiting, ()) =
        tokio::join!(post(&ada, SEND, json!({ "input": { "receiverId": bob, "content": "Later" } })), async {
            soon(async { while scraped(&metrics).await["duologue_writes_waiting"] == 0.0 {} }).await;
            drop(lock);
        });
    assert!(waiting["data"]["sendMessage"]["message"].is_object(), "{waiting}");
    soon(async { while scraped(&metrics).await["duologue_writes_waiting"] > 0.0 {} }).await;
    check_with_promtool(&metrics).await;
    assert_eq!(terminate(child).await, Some(0));
}

/// The tool of Prometheus checks the answer.
async fn check_with_promtool(url: &str) {
    if std::env::var_os("DUOLOGUE_TEST_WITHOUT_PROMTOOL").is_some() {
        return;
    }
    let text = scraped_text(url).await;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = promtool.spawn().expect("run `make promtool`");
    tokio::io::AsyncWriteExt::write_all(&mut checking.stdin.take().unwrap(), text.as_bytes()).await.unwrap();
    let checked = soon(checking.wait_with_output()).await.unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_not_for_others() {
    let database = Database::new().await;
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url, "--metrics-listen", "0.0.0.0:0"];
    let said = error(&[&fixed, &ACCOUNTS[..]].concat()).await;
    assert!(said.contains("--allow-open-metrics") && said.contains("metrics"), "{said}");
    // Nor on the listener of the API, nor for a page that gives this machine another name.
    let metrics = own_address();
    let (_child, address) = started(server(&database, &["--metrics-listen", &metrics])).await;
    let get = |url: String, host: &str| reqwest::Client::new().get(url).header("host", host).send();
    assert_eq!(soon(get(format!("http://{address}/metrics"), &address.to_string())).await.unwrap().status(), 404);
    for (host, status) in [(&*metrics, 200), ("localhost", 200), ("evil.example", 403)] {
        assert_eq!(soon(get(format!("http://{metrics}/metrics"), host)).await.unwrap().status(), status, "{host}");
    }
}
