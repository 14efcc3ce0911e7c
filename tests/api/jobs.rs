//! What a server does by itself while it runs, as `duologue serve` starts it.

use std::time::{Duration, Instant};

use diesel::{dsl::sql, sql_types::BigInt};
use duologue::model::timestamps::Timestamp;
use serde_json::json;
use tokio::process::Child;

use crate::{
    database::Lock,
    harness::{ACCOUNTS, Chat, Database, Socket, client, signed_in, soon},
    metrics::scraped,
    ports::{own_address, own_port},
    program::{run, serve, signs_up, terminate},
    servers::{nats_server, without_nats},
};

/// What makes a server one where people sign in.
fn accounts() -> &'static [&'static str] {
    if signed_in() { &[] } else { &ACCOUNTS }
}

async fn connected(address: std::net::SocketAddr, authorization: &str) -> Socket {
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

    let begun = Instant::now();
    let ended = run(&["admin", "end-session", "ses_1", "--database", &database.url]).await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(socket.hears_close().await, 4403);
    while soon(stream.chunk()).await.unwrap().is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// How many rows there are of those that a server deletes when they are old.
async fn count(database: &Database) -> i64 {
    let query = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM audit)";
    if database.is_sqlite() {
        return rusqlite::Connection::open(database.path()).unwrap().query_row(query, (), |row| row.get(0)).unwrap();
    }
    let Lock::Postgres(mut conn) = database.run("SELECT").await else { unreachable!() };
    diesel_async::RunQueryDsl::get_result(sql::<BigInt>(query), &mut *conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_records_that_are_too_old_are_deleted() {
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
    assert!(count(&database).await > 3);
    let (server, _) = serve(&database, &["--feed-retention", "5", "--audit-retention", "5"]).await;
    soon(async {
        while count(&database).await > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(terminate(server).await, Some(0));
    assert_eq!(count(&database).await, 2, "what is recent stays");
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
