//! The log: a line for each request and each operation of a socket, with what an operator looks for and without what must not be there.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr},
};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

use crate::{
    harness::{
        ACCOUNTS, Database, SEND, Socket, authorization, authorization_of_a_program, client, code, signed_in, soon,
        text,
    },
    metrics::scraped,
    ports::own_address,
    program::{server, signs_up, started},
};

/// A server, and its log as it is written.
pub(crate) struct Logged {
    _server: Child,
    address: SocketAddr,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Logged {
    pub(crate) async fn by(database: &Database, flags: &[&str]) -> Self {
        let mut server = server(database, flags);
        server.env_remove("DUOLOGUE_LOG").env("DUOLOGUE_LOG_FORMAT", "json").stderr(Stdio::piped());
        let (mut server, address) = started(server).await;
        let lines = BufReader::new(server.stderr.take().unwrap()).lines();
        Self { _server: server, address, lines }
    }

    /// The next line with this message.
    pub(crate) async fn next(&mut self, message: &str) -> Value {
        soon(async {
            loop {
                let line = self.lines.next_line().await.unwrap().unwrap();
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
                if line["message"] == message {
                    return line;
                }
            }
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn id_of(answer: &reqwest::Response) -> String {
    answer.headers()["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_with_the_id_of_its_answer() {
    let database = Database::new().await;
    let mut log = Logged::by(&database, &[]).await;
    let http = client(None);
    let named = json!({ "query": "query Hello { __typename }", "operationName": "Hello" });
    let requests = [
        (http.post(log.url("/graphql")).json(&named), "POST", "/graphql", 200, json!(["Hello", "query", null])),
        (
            http.post(log.url("/graphql")).json(&json!({ "query": "{ nothing }" })),
            "POST",
            "/graphql",
            200,
            json!([null, null, "GRAPHQL_VALIDATION_FAILED"]),
        ),
        (http.post(log.url("/graphql")).body("no JSON"), "POST", "/graphql", 415, json!([null, null, "BAD_REQUEST"])),
        (
            http.post(log.url("/graphql")).json(&json!([named, { "query": "{ nothing }" }])),
            "POST",
            "/graphql",
            200,
            json!(["Hello", "query", "GRAPHQL_VALIDATION_FAILED"]),
        ),
        (
            http.get(log.url("/graphql?query={users{secret}}")),
            "GET",
            "/graphql",
            200,
            json!([null, null, "GRAPHQL_VALIDATION_FAILED"]),
        ),
        (http.get(log.url("/a/path/that/tells/something")), "GET", "other", 404, json!([null, null, "BAD_REQUEST"])),
        (
            http.request(Method::from_bytes(b"SECRET").unwrap(), log.url("/")),
            "other",
            "/",
            405,
            json!([null, null, "BAD_REQUEST"]),
        ),
        (
            http.get(log.url("/graphql")).header("x-long", "x".repeat(40_000)),
            "GET",
            "/graphql",
            431,
            json!([null, null, "PAYLOAD_TOO_LARGE"]),
        ),
    ];
    for (request, method, route, status, facts) in requests {
        let answer = soon(request.send()).await.unwrap();
        let id = id_of(&answer);
        let bytes = answer.bytes().await.unwrap().len();
        let line = log.next("request").await;
        assert_eq!(line["request.id"], id, "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert_eq!([&line["method"], &line["route"]], [method, route], "{line}");
        assert_eq!(json!([line["operation"], line["type"], line["code"]]), facts, "{line}");
        assert_eq!(line["bytes"], bytes, "{line}");
        assert!(line["ms"].as_f64().is_some_and(|ms| (0.0..60_000.0).contains(&ms)), "{line}");
        for secret in ["nothing", "secret", "something", "SECRET", "127.0.0.1", "no JSON"] {
            assert!(!line.to_string().contains(secret), "{line}");
        }
    }
    // Probes come every few seconds, and tell nothing as long as all is well.
    assert!(soon(http.get(log.url("/health/ready")).send()).await.unwrap().status().is_success());
    soon(http.get(log.url("/")).send()).await.unwrap();
    assert_eq!(log.next("request").await["route"], "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_as_a_request_is_one_line_too() {
    let database = Database::new().await;
    let metrics = own_address();
    let mut log = Logged::by(&database, &["--metrics-listen", &metrics]).await;
    let many = |headers: usize| (0..headers).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let head =
        |headers: &str| format!("GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    let address = log.address;
    let answer = async |request: String| {
        let (mut stream, mut answer) = (TcpStream::connect(address).await.unwrap(), String::new());
        soon(async {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
        })
        .await;
        answer
    };
    // Many headers are none too many.
    let found = answer(head(&many(150))).await;
    let line = log.next("request").await;
    assert!(found.contains(&format!("x-request-id: {}\r\n", text(&line["request.id"]))), "{found}");
    assert_eq!(line["status"], 404);

    let unreadable = [
        ("secret\r\n\r\n".to_owned(), 400),
        (head("a secret\r\n"), 400),
        ("GET /secret HTTP/9.9\r\n\r\n".to_owned(), 400),
        (head(&many(300)), 431),
        (head(&format!("x: {}\r\n", "y".repeat(80_000))), 431),
    ];
    for (request, status) in unreadable {
        let refused = answer(request).await;
        assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{refused}");
        let line = log.next("request that could not be read").await;
        assert_eq!(line["status"], status, "{line}");
        assert!(line["request.id"].is_null() && !line.to_string().contains("secret"), "{line}");
    }
    let counted = scraped(&format!("http://{metrics}/metrics")).await;
    let of = |status: &str| counted[&format!("duologue_http_responses_total{{status=\"{status}\"}}")];
    assert_eq!((of("404"), of("400"), of("431")), (1.0, 3.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_request_is_that_of_a_trusted_proxy_alone() {
    for (flags, is_taken) in [(&["--trusted-proxy", "127.0.0.1"][..], true), (&[], false)] {
        let database = Database::new().await;
        let mut log = Logged::by(&database, flags).await;
        let answer = soon(client(None).get(log.url("/")).header("x-request-id", "edge-7").send()).await.unwrap();
        let id = id_of(&answer);
        assert_eq!(id == "edge-7", is_taken, "{id}");
        assert_eq!(log.next("request").await["request.id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_of_a_socket_is_one_line_once_it_has_ended() {
    let database = Database::new().await;
    let mut log = Logged::by(&database, if signed_in() { &[] } else { &ACCOUNTS }).await;
    let (ada, token) = signs_up(log.address, "Ada").await;
    let (bob, _) = signs_up(log.address, "Bob").await;
    let mut socket = Socket::open(log.address, "graphql-transport-ws").await;
    socket.says(json!({ "type": "connection_init", "payload": { "authorization": token } })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    let mut opened = log.next("request").await;
    while opened["status"] != 101 {
        opened = log.next("request").await;
    }
    let id = &opened["request.id"];

    socket.subscribes("feed", "subscription Watching { feed { kind } }", json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    let input = json!({ "receiverId": bob, "content": "a secret text" });
    socket.subscribes("send", &SEND.replacen("mutation", "mutation Say", 1), json!({ "input": input })).await;
    let sent = log.next("socket operation").await;
    assert_eq!(&sent["request.id"], id, "{sent}");
    assert_eq!(
        json!([sent["operation"], sent["type"], sent["answers"], sent["user"]]),
        json!(["Say", "mutation", 1, ada])
    );
    assert!(sent["bytes"].as_u64().is_some_and(|bytes| bytes > 20) && sent["code"].is_null(), "{sent}");
    socket.subscribes("wrong", "{ secret }", json!({})).await;
    assert_eq!(log.next("socket operation").await["code"], "GRAPHQL_VALIDATION_FAILED");

    // The event of the send, and the answers of the other operations.
    for _ in 0..4 {
        socket.hears().await;
    }
    drop(socket);
    let ended = log.next("socket operation").await;
    assert_eq!(
        json!([ended["operation"], ended["type"], ended["answers"]]),
        json!(["Watching", "subscription", 2]),
        "{ended}"
    );
    let closed = log.next("socket closed").await;
    assert_eq!(&closed["request.id"], id, "{closed}");
    assert!(closed["code"].is_null(), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_logged_who_asked_and_a_socket_has_the_id_of_its_request() {
    let database = Database::new().await;
    let program = authorization_of_a_program(&database).await;
    let mut log = Logged::by(&database, if signed_in() { &[] } else { &ACCOUNTS }).await;
    let (ada, token) = signs_up(log.address, "Ada").await;
    log.next("request").await;
    for (authorization, user, service_token) in [
        (Some(&*token), json!(ada), Value::Null),
        (Some(&*program), Value::Null, json!("svc_1")),
        (None, Value::Null, Value::Null),
    ] {
        let request = client(authorization).post(log.url("/graphql")).json(&json!({ "query": "{ __typename }" }));
        assert_eq!(soon(request.send()).await.unwrap().status(), 200);
        let line = log.next("request").await;
        assert_eq!(json!([line["user"], line["service_token"]]), json!([user, service_token]), "{line}");
        assert!(!line.to_string().contains(&token) && !line.to_string().contains(&program), "{line}");
    }
    let request = ClientRequestBuilder::new(format!("ws://{}/graphql", log.address).parse().unwrap())
        .with_sub_protocol("graphql-transport-ws")
        .with_header("authorization", &*token);
    let (_socket, response) = soon(tokio_tungstenite::connect_async(request)).await.unwrap();
    assert_eq!(response.status(), 101);
    let line = log.next("request").await;
    assert_eq!(line["status"], 101, "{line}");
    assert_eq!(line["request.id"], response.headers()["x-request-id"].to_str().unwrap(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_protocol_and_event_streams_are_logged_too() {
    let database = Database::new().await;
    let mut log = Logged::by(&database, &[]).await;
    let mut socket = Socket::open(log.address, "graphql-ws").await;
    socket.says(json!({ "type": "connection_init", "payload": {} })).await;
    let query = json!({ "query": "query Old { __typename }", "operationName": "Old" });
    socket.says(json!({ "type": "start", "id": "1", "payload": query })).await;
    let line = log.next("socket operation").await;
    assert_eq!(json!([line["operation"], line["type"], line["answers"]]), json!(["Old", "query", 1]), "{line}");
    drop(socket);
    log.next("socket closed").await;

    let stream = client(None).post(log.url("/graphql")).header("accept", "text/event-stream").json(&query);
    let answer = soon(stream.send()).await.unwrap();
    let (id, text) = (id_of(&answer), answer.text().await.unwrap());
    let line = log.next("request").await;
    assert_eq!(json!([line["request.id"], line["operation"], line["bytes"]]), json!([id, "Old", text.len()]), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_a_request_is_run_has_the_id_of_its_answer() {
    let database = Database::new().await;
    let mut log = Logged::by(&database, if signed_in() { &[] } else { &ACCOUNTS }).await;
    let (_, token) = signs_up(log.address, "Ada").await;
    drop(database.run("ALTER TABLE sessions RENAME TO gone").await);
    let request = client(Some(&token)).post(log.url("/graphql")).json(&json!({ "query": "{ __typename }" }));
    let answer = soon(request.send()).await.unwrap();
    let id = id_of(&answer);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((code(&answer).as_str(), &answer["errors"][0]["extensions"]["requestId"]), ("INTERNAL", &json!(id)));
    assert_eq!(log.next("request failed").await["request.id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_choose_how_much_is_logged() {
    let database = Database::new().await;
    let mut quiet = server(&database, &["--log", "error"]);
    quiet.env_remove("DUOLOGUE_LOG").stderr(Stdio::piped());
    let (mut child, address) = started(quiet).await;
    soon(reqwest::get(format!("http://{address}/"))).await.unwrap();
    let mut log = child.stderr.take().unwrap();
    assert_eq!(crate::program::terminate(child).await, Some(0));
    let mut text = String::new();
    soon(log.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let database = Database::new().await;
    let metrics = own_address();
    let mut server = server(&database, &["--metrics-listen", &metrics]);
    server.env_remove("DUOLOGUE_LOG").stderr(Stdio::piped());
    let (child, address) = started(server).await;
    let (http, metrics) = (client(None), format!("http://{metrics}/metrics"));
    // A pipe holds some hundreds of lines, and the server some thousands.
    soon(async {
        while scraped(&metrics).await["duologue_log_lines_dropped_total"] == 0.0 {
            let requests = (0..500).map(|_| http.get(format!("http://{address}/nothing")).send());
            join_all(requests).await.into_iter().for_each(|answer| drop(answer.unwrap()));
        }
    })
    .await;
    assert_eq!(crate::program::terminate(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_is_logged_too() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    let mut log = Logged::by(&database, &[]).await;
    let lock = database.locked().await;
    let create = "mutation Slow { createUser(input: { name: \"Ada\", email: \"ada@x\" }) { user { id } } }";
    let request = client(None).post(log.url("/graphql")).json(&json!({ "query": create }));
    assert!(request.timeout(Duration::from_millis(300)).send().await.unwrap_err().is_timeout());
    let line = log.next("request that was given up").await;
    assert!(line["status"].is_null() && line["ms"].as_f64().unwrap() > 100.0, "{line}");
    assert_eq!(json!([line["operation"], line["type"]]), json!(["Slow", "mutation"]), "{line}");
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_is_named() {
    let database = Database::new().await;
    let http = client(authorization(&database).await.as_deref());
    let mut log = Logged::by(&database, &[]).await;
    let lock = database.locked().await;
    let create = "mutation Slow { createUser(input: { name: \"Ada\", email: \"ada@x\" }) { user { id } } }";
    let request = json!({ "query": create, "operationName": "Slow" });
    // It waits for the lock for as long as anything may.
    let answer = soon(http.post(log.url("/graphql")).json(&request).send()).await.unwrap();
    let id = id_of(&answer);
    assert_eq!(code(&answer.json().await.unwrap()), "DATABASE_BUSY");
    let unit = "duologue::domain::users::create";
    // A change of a SQLite file has not begun before it has the lock.
    if !database.is_sqlite() {
        assert_eq!(log.next("a slow unit of work").await["unit"], unit);
    }
    let operation = log.next("a slow operation").await;
    assert_eq!(json!([operation["request.id"], operation["operation"]]), json!([id, "Slow"]), "{operation}");
    assert!(operation["ms"].as_f64().is_some_and(|ms| ms > 1_000.0), "{operation}");
    drop(lock);
    if database.is_sqlite() {
        drop(database.run(&slow_users("WHERE n < 10000000")).await);
        soon(http.post(log.url("/graphql")).json(&request).send()).await.unwrap();
        assert_eq!(log.next("a slow unit of work").await["unit"], unit);
    }
}

/// Makes each new user of a SQLite file wait until there are so many numbers.
pub(crate) fn slow_users(end: &str) -> String {
    format!(
        "CREATE VIEW slow AS WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers {end})
         SELECT count(*) FROM numbers;
         CREATE TRIGGER slowly AFTER INSERT ON users BEGIN SELECT * FROM slow; END"
    )
}
