//! A PostgreSQL server that is restarted, crashes, or does not come to an end.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use diesel::{
    dsl::sql,
    sql_types::{BigInt, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use duologue::{
    app::App,
    store::{self, Conn, Error},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{
    crowd::{Crowd, short_or_long},
    failover::{Followers, PEOPLE},
    harness::{Chat, Database, code, signed_in, soon},
    logs::Logged,
    program::{error, serve, server, started},
};

/// A PostgreSQL server of one's own, until this is dropped: other tests use the one of the suite.
pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) pg_ctl: PathBuf,
    /// Ends when its input does.
    _with_postgres: Child,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With variables of the environment, for `tests/with-postgres` and for the server.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/with-postgres");
        let say = r#"echo "$DUOLOGUE_TEST_DATABASE"; echo "$DUOLOGUE_TEST_PG_CTL"; exec cat"#;
        let mut command = Command::new(script);
        command.args(["sh", "-c", say]).envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = soon(lines.next_line()).await.unwrap().unwrap();
        let pg_ctl = soon(lines.next_line()).await.unwrap().unwrap().into();
        Self { url, pg_ctl, _with_postgres: child }
    }

    /// The folder of its data, and of the certificate that has signed its own.
    pub(crate) fn folder(&self) -> &Path {
        self.pg_ctl.parent().unwrap()
    }

    async fn restarts(&self, mode: &str) {
        let done = soon(Command::new(&self.pg_ctl).args(["restart", "--mode", mode]).status()).await.unwrap();
        assert!(done.success());
    }

    /// From now on, `extend 28` in the file that is given lets no table grow.
    #[cfg(target_os = "linux")]
    async fn gets_another_disk(&self) -> PathBuf {
        let folder = self.folder().canonicalize().unwrap();
        // Where the user of the server may read it.
        let library = folder.join("disk.so");
        std::fs::copy(crate::disk::library(), &library).unwrap();
        let fault = folder.join("fault");
        let mut restart = Command::new(&self.pg_ctl);
        restart.args(["restart", "--mode", "fast"]);
        restart.env("LD_PRELOAD", library).env("DISK_FAULT", &fault).env("DISK_FOLDER", folder.join("data/base"));
        assert!(soon(restart.status()).await.unwrap().success());
        fault
    }
}

/// Nothing listens there.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_reach_postgresql_names_it_and_why() {
    let away = "postgres://somebody:passw0rd@127.0.0.1:1/chat?sslmode=disable";
    let begun = Instant::now();
    let said = error(&["serve", "--listen", "127.0.0.1:0", "--database", away]).await;
    assert!(said.starts_with("cannot open the database on 127.0.0.1 (port 1): "), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert!(!said.contains("passw0rd") && !said.contains("somebody"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// What was answered is durable: a server of PostgreSQL that does not sync is named in the log, and a role whose commits are acknowledged
/// early is overruled. So are other settings of a role: equal sends at once would fail, and a lock would be lost while nothing is said.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_postgresql_that_lose_what_was_answered_are_named_or_overruled() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let cluster = Cluster::with(&[("DUOLOGUE_TEST_PG_OPTIONS", "-c fsync=off")]).await;
    let database = Database::on(&cluster.url);
    for set in
        ["synchronous_commit = off", "default_transaction_isolation = 'serializable'", "idle_session_timeout = 60000"]
    {
        drop(database.run(&format!("ALTER ROLE postgres SET {set}")).await);
    }
    let mut log = Logged::by(&database, &[]).await;
    let said = "PostgreSQL runs with fsync = off: what was answered may be lost when its machine fails";
    assert_eq!(log.next(said).await["level"], "WARN");
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let setting = app.store.read(|conn| {
        let Conn::Postgres(conn) = conn else { unreachable!() };
        let setting = |name: &str| format!("current_setting('{name}')");
        let names = ["synchronous_commit", "default_transaction_isolation", "idle_session_timeout"];
        let settings = sql::<Text>(&format!("SELECT concat_ws(', ', {})", names.map(setting).join(", ")));
        diesel::RunQueryDsl::get_result::<String>(settings, *conn).map_err(Error::from)
    });
    assert_eq!(setting.await.unwrap(), "on, read committed, 0");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_server_that_takes_no_changes_any_more_are_given_up() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let cluster = Cluster::new().await;
    let database = Database::on(&format!("{}?application_name=pooled", cluster.url));
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let mut operator = AsyncPgConnection::establish(&cluster.url).await.unwrap();
    let write = async || app.store.write::<_, Error>(|conn| store::server::set_epoch(conn, "another")).await;
    operator.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let refused = soon(async {
        loop {
            if let Err(error) = write().await {
                break error;
            }
        }
    });
    let refused = refused.await;
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let pooled = || sql::<BigInt>("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pooled'");
    soon(async { while pooled().get_result::<i64>(&mut operator).await.unwrap() > 0 {} }).await;
    operator.batch_execute("ALTER SYSTEM RESET default_transaction_read_only").await.unwrap();
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    soon(async { while write().await.is_err() {} }).await;
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgresql_costs_a_few_seconds_and_nothing_that_was_answered() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let cluster = Cluster::new().await;
    let database = Database::on(&cluster.url);
    let mut server = server(&database, &[]);
    // It has a lot to complain about.
    server.stderr(Stdio::null());
    let (mut child, address) = started(server).await;
    let mut crowd = Crowd::gathers(&database, address, PEOPLE, 24).await;
    let (_place, place) = watch::channel(address);
    let followers = Followers::at(&place, &crowd).await;
    for _ in 0..short_or_long(1, 5) {
        // In order, and as by a crash.
        for mode in ["fast", "immediate"] {
            crowd.until_answered(100).await;
            cluster.restarts(mode).await;
            let back = Instant::now();
            crowd.until(|tally| tally.last.values().all(|last| *last > back)).await;
            assert!(back.elapsed() < Duration::from_secs(5), "{mode}: {:?}", back.elapsed());
            crowd.failed_only_with(&[(503, "UNAVAILABLE"), (503, "DATABASE_BUSY")]);
            assert_eq!(crowd.tally(|tally| tally.rude), 0);
        }
    }
    crowd.rests_and_finds_everything().await;
    followers.have_heard_everything(&crowd).await;
    child.kill().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_postgresql_stops_what_writes_as_long_as_it_is_full() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let cluster = Cluster::new().await;
    let fault = cluster.gets_another_disk().await;
    let database = Database::on(&cluster.url);
    let (mut child, address) = serve(&database, &[]).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 16).await;
    crowd.until_answered(50).await;
    crowd.failed_only_with(&[]);
    std::fs::write(&fault, "extend 28").unwrap();
    crowd.until(|tally| tally.failures.values().sum::<usize>() >= 100).await;
    let users = crowd.reads("{ users { nodes { id } } }").await;
    assert_eq!(users["data"]["users"]["nodes"].as_array().unwrap().len(), 8);
    crowd.failed_only_with(&[(507, "STORAGE_FULL")]);
    std::fs::remove_file(&fault).unwrap();
    let begun = Instant::now();
    crowd.until(|tally| tally.last.values().all(|last| *last > begun)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // What was on its way.
    crowd.failed_only_with(&[(507, "STORAGE_FULL")]);
    assert!(child.try_wait().unwrap().is_none());
    crowd.rests_and_finds_everything().await;
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgresql_breaks_off_may_be_tried_again() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    let chat = Chat::on(database, &[]).await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for breaks_off in ["pg_terminate_backend", "pg_cancel_backend"] {
        let lock = chat.database.run("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await;
        let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": "x", "clientId": "1" });
        let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { duplicate } }";
        let sends = join_all((0..4).map(|_| chat.ask(send, json!({ "input": input }))));
        let reads = join_all((0..4).map(|_| chat.ask("{ users { nodes { id } } }", json!({}))));
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass";
        let end = format!(
            "DO $$ BEGIN
                WHILE ({waiting}) < 8 LOOP PERFORM pg_sleep(0.01); END LOOP;
                PERFORM {breaks_off}(pid) FROM pg_locks
                    WHERE NOT granted AND relation = 'users'::regclass;
            END $$"
        );
        let (sends, reads, _) = tokio::join!(sends, reads, soon(chat.database.run(&end)));
        for answer in sends.iter().chain(&reads) {
            assert_eq!(code(answer), "UNAVAILABLE", "{breaks_off}");
        }
        drop(lock);
    }
    ada.sends("after", &bob).await;
    assert_eq!(chat.texts(&ada, &bob).await, ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_stopped_in_the_database_too() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    let chat = Chat::on(database, &[]).await;
    chat.person("Ada").await;
    let slow = "ALTER TABLE users RENAME TO them;
        CREATE VIEW users AS SELECT * FROM them WHERE pg_sleep(60) IS NOT NULL";
    drop(chat.database.run(slow).await);
    let begun = Instant::now();
    let answer = chat.ask("{ users { nodes { id } } }", json!({})).await;
    assert!(["TIMEOUT", "DATABASE_BUSY"].contains(&code(&answer).as_str()), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    let schema = chat.database.url.rsplit("%3D").next().unwrap();
    let ended = format!(
        "DO $$ BEGIN
            WHILE EXISTS (
                SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                    WHERE relation = '{schema}.them'::regclass AND wait_event = 'PgSleep'
            ) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP;
        END $$"
    );
    drop(soon(chat.database.run(&ended)).await);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_have_few_connections_is_served_by_these() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    let (role, schema) = (format!("few_{}", std::process::id()), database.url.rsplit("%3D").next().unwrap());
    let make = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 3; GRANT ALL ON SCHEMA {schema} TO {role}");
    drop(database.run(&make).await);
    let chat = Chat::on(Database::on(&database.url.replace("postgres@", &format!("{role}@"))), &[]).await;
    assert_eq!(chat.app.store.read(store::nodes::max_connections).await.unwrap(), Some(3));
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let texts: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    join_all(texts.iter().map(|text| ada.sends(text, &bob))).await;
    assert_eq!(chat.texts(&ada, &bob).await.len(), 50);
}
