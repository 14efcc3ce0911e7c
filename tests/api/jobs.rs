//! What a server does by itself while it runs, as `duologue serve` starts it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use diesel::{dsl::sql, sql_types::BigInt};
use duologue::model::timestamps::Timestamp;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    database::Lock,
    harness::{ACCOUNTS, Chat, Database, Socket, client, code, signed_in, soon, text},
    metrics::scraped,
    ports::{own_address, own_port},
    program::{run, serve, signs_up, terminate},
    servers::{nats_server, without_nats},
};

/// What makes a server one where people sign in.
fn accounts() -> &'static [&'static str] {
    if signed_in() { &[] } else { &ACCOUNTS }
}

async fn connected(address: SocketAddr, authorization: &str) -> Socket {
    let mut socket = Socket::open_with(address, "graphql-transport-ws", Some(authorization)).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_session_that_a_command_ends_is_closed_within_five_seconds() {
    let database = Database::new().await;
    let (_server, address) = serve(&database, accounts()).await;
    let (_, authorization) = signs_up(address, "ada").await;
    let mut socket = connected(address, &authorization).await;
    let feed = json!({ "query": "subscription { feed { kind } }" });
    let request = client(Some(&authorization)).post(format!("http://{address}/graphql")).json(&feed);
    let mut stream = soon(request.header("accept", "text/event-stream").send()).await.unwrap();
    assert!(soon(stream.chunk()).await.unwrap().is_some());

    let me = post(address, &authorization, "{ me { sessions { id } } }", json!({})).await;
    let session = text(&me["data"]["me"]["sessions"][0]["id"]);
    let begun = Instant::now();
    let ended = run(&["admin", "end-session", &session, "--database", &database.url]).await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(socket.hears_close().await, 4403);
    while soon(stream.chunk()).await.unwrap().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Posts to a server, and gives the answer.
async fn post(address: SocketAddr, authorization: &str, query: &str, variables: Value) -> Value {
    let authorization = Some(authorization).filter(|its| !its.is_empty());
    let request = client(authorization).post(format!("http://{address}/graphql"));
    soon(request.json(&json!({ "query": query, "variables": variables })).send()).await.unwrap().json().await.unwrap()
}

/// A WebSocket and an event stream that follow the feed of a user.
async fn followed(address: SocketAddr, authorization: &str, user: &str) -> (Socket, reqwest::Response) {
    let (query, variables) = ("subscription ($user: ID) { feed(userId: $user) { kind } }", json!({ "user": user }));
    let mut socket = connected(address, authorization).await;
    socket.subscribes("feed", query, variables.clone()).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    let feed = json!({ "query": query, "variables": variables });
    let request = client(Some(authorization)).post(format!("http://{address}/graphql")).json(&feed);
    let mut stream = soon(request.header("accept", "text/event-stream").send()).await.unwrap();
    assert!(soon(stream.chunk()).await.unwrap().is_some());
    (socket, stream)
}

/// The server closes a socket because the session has ended, perhaps after what it had to say, and ends a stream.
async fn end_with_the_session((mut socket, mut stream): (Socket, reqwest::Response)) {
    let close = loop {
        match socket.hears_or_ends().await {
            Some(Message::Close(frame)) => break u16::from(frame.unwrap().code),
            Some(_) => {}
            None => panic!("it was not closed"),
        }
    };
    assert_eq!(close, 4403);
    while soon(stream.chunk()).await.unwrap().is_some() {}
}

/// Ends what belongs to a token in one of four ways, at a server or by a command.
async fn ends(way: &str, database: &Database, at: SocketAddr, id: &str, authorization: &str, token: &str) {
    let answer = match way {
        "sign-out" => post(at, authorization, "mutation { signOut { sessionId } }", json!({})).await,
        "new password" => {
            // It ends all sessions but the one that changes it.
            let sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }";
            let input = json!({ "email": "new-password@example.com", "password": "correct horse" });
            let signed = post(at, "", sign_in, json!({ "input": input })).await;
            let another = format!("Bearer {}", text(&signed["data"]["signIn"]["accessToken"]));
            let change = "mutation ($id: ID!) { updateUser(id: $id, input: { password: \"another good one\" }) { user { id } } }";
            post(at, &another, change, json!({ "id": id })).await["data"]["updateUser"].take()
        }
        "service token" => {
            let revoked = run(&["admin", "revoke-token", token, "--database", &database.url]).await;
            json!({ "user": revoked.status.success().then_some("revoked") })
        }
        _ => {
            let delete = "mutation ($id: ID!) { deleteUser(id: $id) { deletedId } }";
            post(at, authorization, delete, json!({ "id": id })).await
        }
    };
    let done = ["/data/signOut/sessionId", "/user", "/data/deleteUser/deletedId"];
    assert!(done.into_iter().any(|path| answer.pointer(path).is_some_and(|its| !its.is_null())), "{way}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_one_server_ends_at_another_within_five_seconds_without_nats() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let ((_a, at_a), (_b, at_b)) = (serve(&database, accounts()).await, serve(&database, accounts()).await);
    for way in ["sign-out", "new password", "service token", "deletion"] {
        let name = way.replace(' ', "-");
        let (id, mut authorization) = signs_up(at_a, &name).await;
        let mut token = String::new();
        if way == "service token" {
            let issued = run(&["admin", "issue-token", "billing", "--database", &database.url]).await;
            authorization = format!("Bearer {}", String::from_utf8(issued.stdout).unwrap().trim());
            token = String::from_utf8(issued.stderr).unwrap().split(':').next().unwrap().to_owned();
        }
        let follows = followed(at_b, &authorization, &id).await;
        ends(way, &database, at_a, &id, &authorization, &token).await;
        let begun = Instant::now();
        let refused = post(at_b, &authorization, "{ me { user { id } } }", json!({})).await;
        assert_eq!(code(&refused), "UNAUTHENTICATED", "{way}");
        soon(end_with_the_session(follows)).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{way}: {:?}", begun.elapsed());
    }
}

/// How many rows there are of those that a server deletes when they are old.
async fn count(database: &Database) -> i64 {
    let query = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM audit)
        + (SELECT count(*) FROM sessions WHERE device = 'x') + (SELECT count(*) FROM attempts)";
    if database.is_sqlite() {
        return rusqlite::Connection::open(database.path()).unwrap().query_row(query, (), |row| row.get(0)).unwrap();
    }
    let Lock::Postgres(mut conn) = database.run("SELECT").await else { unreachable!() };
    diesel_async::RunQueryDsl::get_result(sql::<BigInt>(query), &mut *conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_deleted() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hello", &bob).await;
    ada.edits(&id, "Hi").await;
    let database = chat.stop().await;
    let [recent, old] = [2, 9].map(|days| Timestamp::now().earlier(Duration::from_hours(24 * days)).milliseconds());
    drop(database.run(&format!("UPDATE events SET at = {old}")).await);
    drop(database.run(&format!("UPDATE events SET at = {recent} WHERE id = (SELECT max(id) FROM events)")).await);
    let records = format!("INSERT INTO audit (at, actor, action) VALUES ({old}, 'a', 'x'), ({recent}, 'a', 'x')");
    drop(database.run(&format!("DELETE FROM audit; {records}")).await);
    let [hour, to_come] =
        [Timestamp::now().earlier(Duration::from_hours(1)), Timestamp::now().later(Duration::from_hours(1))];
    let [one, other] = if database.is_sqlite() { ["x'01'", "x'02'"] } else { [r"'\x01'", r"'\x02'"] };
    let sessions = format!(
        "INSERT INTO sessions (user_id, device, refresh_hash, created_at, last_used_at, expires_at)
         VALUES (1, 'x', {one}, 1, 1, {old}), (1, 'x', {other}, 1, 1, {})",
        hour.milliseconds()
    );
    drop(database.run(&sessions).await);
    let attempts = format!("VALUES (1, 1, {old}), (2, 1, {})", to_come.milliseconds());
    drop(
        database.run(&format!("DELETE FROM attempts; INSERT INTO attempts (key, count, expires_at) {attempts}")).await,
    );
    assert!(count(&database).await > 7);
    // The lock is of these servers: others may have another schema of the same PostgreSQL database.
    let elsewhere = Chat::open().await;
    let _lock = elsewhere.app.store.try_lock(0x5472_696D).await.unwrap().expect("nobody else has this schema");
    let (server, _) = serve(&database, &["--feed-retention", "5", "--audit-retention", "5"]).await;
    soon(async {
        while count(&database).await > 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(terminate(server).await, Some(0));
    assert_eq!(count(&database).await, 4, "what is recent stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_given_nats_tell_each_other_at_once() {
    let database = Database::new().await;
    if without_nats() || database.is_sqlite() {
        return;
    }
    let port = own_port();
    let _nats = nats_server(port);
    let nats = format!("nats://127.0.0.1:{port}");
    let flags = [accounts(), &["--nats", &nats]].concat();
    let metrics = own_address();
    let with_metrics = [&flags[..], &["--metrics-listen", &metrics]].concat();
    let (servers, addresses): (Vec<Child>, Vec<_>) =
        [serve(&database, &with_metrics).await, serve(&database, &flags).await].into_iter().unzip();
    let metrics = format!("http://{metrics}/metrics");
    soon(async { while scraped(&metrics).await["duologue_nats_linked"] == 0.0 {} }).await;
    let sign_out = json!({ "query": "mutation { signOut { userErrors { code } } }" });
    let mut times = Vec::new();
    for name in ["ada", "bob", "cem", "dan", "eve"] {
        let (_, authorization) = signs_up(addresses[0], name).await;
        let mut socket = connected(addresses[1], &authorization).await;
        let request = client(Some(&authorization)).post(format!("http://{}/graphql", addresses[0])).json(&sign_out);
        assert!(soon(request.send()).await.unwrap().status().is_success());
        let begun = Instant::now();
        assert_eq!(socket.hears_close().await, 4403);
        times.push(begun.elapsed());
    }
    // Without NATS it would be a second on average.
    times.sort();
    assert!(times[3] < Duration::from_millis(500), "{times:?}");
    drop(servers);
}
