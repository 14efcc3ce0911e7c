//! What those who look after the server are told: containers, load balancers and systemd.

use crate::{
    harness::{Chat, Database, soon},
    program::{run, serve, server, started, terminate},
};

/// As the unit in deploy asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_that_the_server_is_ready_alive_and_stopping() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("notify");
    let notified = tokio::net::UnixDatagram::bind(&path).unwrap();
    let hears = async |wanted: &str| {
        let mut bytes = [0; 256];
        soon(async {
            loop {
                let length = notified.recv(&mut bytes).await.unwrap();
                if bytes[..length].starts_with(wanted.as_bytes()) {
                    return;
                }
            }
        })
        .await;
    };
    let mut server = server(&database, &[]);
    server.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let (child, _) = started(server).await;
    for state in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        hears(state).await;
    }
    assert_eq!(terminate(child).await, Some(0));
    hears("STOPPING=1").await;
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
