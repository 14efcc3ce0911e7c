//! What those who look after the server are told: containers, load balancers and systemd.

use std::{path::Path, time::Duration};

use duologue::store::Error;
use serde_json::json;
use tokio::{net::UnixDatagram, time::timeout};

use crate::{
    harness::{Chat, Database, authorization, client, soon},
    logs::slow_users,
    program::{run, serve, server, started, terminate},
};

/// As a unit of systemd with a watchdog starts it, but ten times a second.
fn watched(database: &Database, path: &Path) -> (tokio::process::Command, UnixDatagram) {
    let mut server = server(database, &[]);
    server.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "300000");
    (server, UnixDatagram::bind(path).unwrap())
}

/// Waits for a state that systemd is told.
async fn hears(notified: &UnixDatagram, wanted: &str) {
    let mut bytes = [0; 256];
    loop {
        let length = notified.recv(&mut bytes).await.unwrap();
        if bytes[..length].starts_with(wanted.as_bytes()) {
            return;
        }
    }
}

/// As the unit in deploy asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_that_the_server_is_ready_alive_and_stopping() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let (server, notified) = watched(&database, &folder.path().join("notify"));
    let (child, _) = started(server).await;
    for state in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        soon(hears(&notified, state)).await;
    }
    // What others do with the database is no reason to start the server again. The first ones may have been on their way.
    let lock = database.locked().await;
    for _ in 0..3 {
        soon(hears(&notified, "WATCHDOG=1")).await;
    }
    drop(lock);
    assert_eq!(terminate(child).await, Some(0));
    soon(hears(&notified, "STOPPING=1")).await;
}

/// By a statement that does not end, as on a disk that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_writer_is_stuck_is_not_alive() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    if !database.is_sqlite() {
        return;
    }
    let http = client(authorization(&database).await.as_deref());
    let (server, notified) = watched(&database, &folder.path().join("notify"));
    let (_child, address) = started(server).await;
    soon(hears(&notified, "WATCHDOG=1")).await;
    drop(database.run(&slow_users("")).await);
    let create =
        json!({ "query": "mutation { createUser(input: { name: \"Ada\", email: \"ada@x\" }) { user { id } } }" });
    let creating = http.post(format!("http://{address}/graphql")).json(&create).send();
    let silent = async { while timeout(Duration::from_secs(2), hears(&notified, "WATCHDOG=1")).await.is_ok() {} };
    soon(async { tokio::join!(creating, silent) }).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_whether_it_is_ready() {
    let database = Database::new().await;
    let (child, address) = serve(&database, &[]).await;
    let health = async |arguments: &[&str]| {
        let output = run(&[&["health"], arguments].concat()).await;
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (listen, url) = (address.to_string(), format!("http://{address}"));
    for arguments in [&["--listen", &listen][..], &["--listen", &format!("0.0.0.0:{}", address.port())], &[&url]] {
        assert_eq!(health(arguments).await, (Some(0), "ready\n".to_owned()), "{arguments:?}");
    }
    if database.is_sqlite() {
        let lock = database.locked().await;
        let reason = "changes wait for the database: another program may have locked it";
        let expected = format!("duologue: {url}/health/ready answers 503: not ready: {reason}\n");
        // What was found a moment before may still be told.
        let told = soon(async {
            loop {
                let told = health(&[&url]).await;
                if told.0 != Some(0) {
                    return told;
                }
            }
        });
        assert_eq!(told.await, (Some(1), expected));
        drop(lock);
    }
    assert_eq!(terminate(child).await, Some(0));
    let (code, said) = health(&[&url]).await;
    assert!(code == Some(1) && said.contains(&format!("no answer from {url}/health/ready")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_because_somebody_asks() {
    let chat = Chat::open().await;
    let Some(path) = chat.database.url.strip_prefix("sqlite:") else { return };
    let other = rusqlite::Connection::open(path).unwrap();
    // It changes when another connection has written something.
    let version = || -> i64 { other.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap() };
    let before = version();
    for _ in 0..3 {
        assert_eq!(chat.app.problem().await, None);
    }
    assert_eq!(version(), before);
    chat.person("Ada").await;
    assert_ne!(version(), before);
}

/// They are apart from each other, but nobody asks in between.
#[tokio::test(flavor = "multi_thread")]
async fn short_waits_do_not_add_up() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let change = async || chat.app.store.write(|_| Ok::<_, Error>(())).await;
    let lock = chat.database.locked().await;
    assert_eq!(chat.app.problem().await, None);
    drop(lock);
    change().await.unwrap();
    let lock = chat.database.locked().await;
    // It waits for as long as makes a server not ready.
    assert!(matches!(change().await, Err(Error::Busy)));
    assert_eq!(chat.app.problem().await, None);
    soon(async { while chat.app.problem().await.is_none() {} }).await;
    drop(lock);
    change().await.unwrap();
    assert_eq!(chat.app.problem().await, None);
}
