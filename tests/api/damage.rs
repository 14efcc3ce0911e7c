//! Files that cannot be used: the program says in one sentence which and what to do, does not start, and leaves them as
//! they are.

use std::{fs, net::SocketAddr, path::Path};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    demo::fill,
    harness::{Chat, Database, code, signed_in, soon},
    ports::own_port,
    program::{program, started, terminate},
};

/// With 5,000 messages, and as a server leaves it that was told to stop.
pub(crate) async fn filled() -> Database {
    let database = Database::at("chat.db");
    fill(&database, 20, 5_000).await;
    database
}

/// What the program says when it is to serve from this database.
pub(crate) async fn refusal(mut serve: Command) -> String {
    let ended = soon(serve.output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

pub(crate) fn serve(database: &Database) -> Command {
    program(&["serve", "--listen", "127.0.0.1:0", "--database", &database.url])
}

pub(crate) const PAGE: usize = 4_096;

/// A page in the middle of the file.
pub(crate) fn middle(database: &Database) -> usize {
    bytes(database)[0].as_ref().unwrap().len() / 2 / PAGE * PAGE
}

type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

/// The bytes of all files of a database.
pub(crate) fn bytes(database: &Database) -> Vec<Option<Vec<u8>>> {
    let named = |ending: &str| fs::read(format!("{}{ending}", database.path().display())).ok();
    [named(""), named("-wal"), named("-journal")].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_left_as_it_is() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    // Each with a log beside it that was not copied yet, and without.
    for log in [false, true] {
        let whole = filled().await;
        let mut holder = None;
        if log {
            // Whoever still reads keeps the log where it is.
            let mut conn = SqliteConnection::establish(whole.path().to_str().unwrap()).unwrap();
            conn.batch_execute("PRAGMA wal_autocheckpoint = 0; UPDATE users SET name = name || '!'").unwrap();
            holder = Some(conn);
        }
        let copy = || {
            let damaged = Database::at("chat.db");
            for (from, to) in ["", "-wal"].map(|ending| {
                (format!("{}{ending}", whole.path().display()), format!("{}{ending}", damaged.path().display()))
            }) {
                if Path::new(&from).exists() {
                    fs::copy(from, to).unwrap();
                }
            }
            damaged
        };
        let middle = middle(&whole);
        let application = |file: &mut Vec<u8>| file[68..72].copy_from_slice(b"SeeD");
        let inside: (&str, Damage<'_>) = ("is damaged", &|file| file[middle..middle + PAGE].fill(0));
        let cases: [(&str, Damage<'_>); 5] = [
            ("is damaged", &|file| file.truncate(middle)),
            ("is damaged", &|file| file.truncate(1)),
            ("is damaged", &|file| file[..200].fill(b'x')),
            ("is damaged", &|file| file.fill(7)),
            ("is the database of another program", &application),
        ];
        // Damage inside a file that was closed is found once the server runs.
        for (why, damage) in cases.into_iter().chain(log.then_some(inside)) {
            let database = copy();
            let mut file = fs::read(database.path()).unwrap();
            damage(&mut file);
            fs::write(database.path(), file).unwrap();
            // The first page is in the log too, and the log holds.
            if log && why != "is damaged" {
                continue;
            }
            let before = bytes(&database);
            let said = refusal(serve(&database)).await;
            assert!(said.contains(why) && said.contains("nothing was changed"), "{said}");
            assert!(said.contains(database.path().to_str().unwrap()), "{said}");
            assert!(bytes(&database) == before, "{said}");
        }
        drop(holder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_damage_is_met_nothing_is_written_any_more() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let middle = middle(&database);
    let mut file = fs::read(database.path()).unwrap();
    file[middle..middle + PAGE].fill(0);
    fs::write(database.path(), &file).unwrap();
    let mut server = serve(&database);
    server.args(["--check-after", "0.1"]);
    let log = database.folder().join("log");
    server.stderr(fs::File::create(&log).unwrap());
    let (child, address) = started(server).await;
    let ready = async || {
        let answer = reqwest::get(format!("http://{address}/health/ready")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, why) = soon(async {
        loop {
            let said = ready().await;
            if said.0 != 200 {
                return said;
            }
        }
    })
    .await;
    assert!(status == 503 && why.contains("the database is damaged"), "{why}");
    // The server may have indexed words before it met the damage.
    let file = fs::read(database.path()).unwrap();
    let ask = async |query: &str| -> Value {
        let asking = reqwest::Client::new().post(format!("http://{address}/graphql")).json(&json!({ "query": query }));
        soon(asking.send()).await.unwrap().json().await.unwrap()
    };
    let create = r#"mutation { createUser(input: { name: "x", email: "x@x" }) { user { id } } }"#;
    assert_eq!(code(&ask(create).await), "UNAVAILABLE");
    assert_eq!(ask("{ user(id: 1) { id } }").await, json!({ "data": { "user": { "id": "usr_1" } } }));
    assert_eq!(terminate(child).await, Some(0));
    let log = fs::read_to_string(log).unwrap();
    let path = database.path();
    assert!(log.contains(path.to_str().unwrap()) && log.contains("restore a backup"), "{log}");
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    assert!(fs::read(path).unwrap() == file);
    // On demand it is found too, and only said.
    let checked = soon(program(&["check", "--database", &database.url]).output()).await.unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(!checked.status.success() && said.contains("database: PROBLEM: ") && said.contains("is damaged"), "{said}");
    assert!(fs::read(database.path()).unwrap() == file);
}

/// Without a check: the request that meets it is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_damage_ends_all_writing() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    for writes in [false, true] {
        let database = filled().await;
        let chat = Chat::on(database, &[]).await;
        // All but the first pages, with the schema and the users.
        let mut file = fs::read(chat.database.path()).unwrap();
        file[60 * PAGE..].fill(0);
        fs::write(chat.database.path(), &file).unwrap();
        assert_eq!(chat.app.problem().await, None);
        let send =
            r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "x" }) { message { id } } }"#;
        let meets = if writes { send } else { "{ messages(last: 100) { nodes { content } } }" };
        assert_eq!(chat.code(meets, json!({})).await, "UNAVAILABLE");
        assert!(chat.app.problem().await.unwrap().contains("damaged"));
        let create = r#"mutation { createUser(input: { name: "x", email: "x@x" }) { user { id } } }"#;
        assert_eq!(chat.code(create, json!({})).await, "UNAVAILABLE");
        let database = chat.stop().await;
        assert!(fs::read(database.path()).unwrap() == file);
    }
}

/// A log may hold the pages that a file does not have yet, or only seem to.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_missing_is_missed_although_there_is_a_log() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let path = database.path();
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    // More in the log than the file has, in the same pages again and again, and large enough not to be read whole.
    conn.batch_execute(
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(300000000));
         PRAGMA wal_checkpoint; UPDATE users SET name = name || '!'; UPDATE messages SET content = content || '!'",
    )
    .unwrap();
    let log = format!("{}-wal", path.display());
    let copy = Database::at("chat.db");
    fs::copy(&path, copy.path()).unwrap();
    fs::copy(&log, format!("{}-wal", copy.path().display())).unwrap();
    drop(conn);
    let whole = fs::metadata(copy.path()).unwrap().len();
    fs::OpenOptions::new().write(true).open(copy.path()).unwrap().set_len(whole - 10 * 4_096).unwrap();
    let before = fs::metadata(&log).map_or(0, |log| log.len());
    let said = refusal(serve(&copy)).await;
    assert!(said.contains("its end is missing") && said.contains("nothing was changed"), "{said}");
    assert_eq!(fs::metadata(copy.path()).unwrap().len(), whole - 10 * 4_096, "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_says_so() {
    if signed_in() {
        return;
    }
    let database = Database::new().await;
    assert!(soon(program(&["migrate", "--database", &database.url]).output()).await.unwrap().status.success());
    // The start waits for somebody who holds the file, or who brings the database up to date.
    let lock = database
        .run(if database.is_sqlite() { "BEGIN IMMEDIATE" } else { "SELECT pg_advisory_lock(1148546924)" })
        .await;
    let [at, metrics_at] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], own_port())));
    let flags = ["--listen", &at.to_string(), "--metrics-listen", &metrics_at.to_string()];
    let mut child = program(&[&["serve", "--database", &database.url], &flags[..]].concat()).spawn().unwrap();
    let http = reqwest::Client::new();
    let get_at = async |at: SocketAddr, path: &str| {
        let answer = http.get(format!("http://{at}{path}")).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.unwrap()))
    };
    let get = |path| get_at(at, path);
    let live = soon(async {
        loop {
            if let Some(live) = get("/health/live").await {
                return live;
            }
        }
    })
    .await;
    assert_eq!(live, (200, "ok\n".into()));
    let (status, why) = get("/health/ready").await.unwrap();
    assert!(status == 503 && why.contains("the database is opened"), "{why}");
    let (status, refused) = get("/graphql?query={__typename}").await.unwrap();
    assert_eq!((status, code(&serde_json::from_str(&refused).unwrap()).as_str()), (503, "UNAVAILABLE"));
    assert_eq!(get_at(metrics_at, "/metrics").await.unwrap().0, 503);
    drop(lock);
    soon(async { while get("/health/ready").await.is_none_or(|(status, _)| status != 200) {} }).await;
    assert_eq!(get("/graphql?query={__typename}").await.unwrap().1, r#"{"data":{"__typename":"Query"}}"#);
    assert!(get_at(metrics_at, "/metrics").await.unwrap().1.contains("\nduologue_ready 1\n"));
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_file_is_not_thrown_away() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    for empty in [false, true] {
        let database = Database::at("chat.db");
        if empty {
            fs::write(database.path(), "").unwrap();
        }
        fs::write(format!("{}-wal", database.path().display()), "messages").unwrap();
        let before = bytes(&database);
        let said = refusal(serve(&database)).await;
        assert!(said.contains("its write-ahead log") && said.contains("nothing was changed"), "{said}");
        assert!(bytes(&database) == before);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_stands_for_the_file_and_a_name_is_only_a_name() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = Database::at("chat.db");
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("link.db");
    std::os::unix::fs::symlink(database.path(), &link).unwrap();
    let migrate = |path: &str| program(&["migrate", "--database", &format!("sqlite:{path}")]);
    // The log is beside the file, not beside the link.
    let log = format!("{}-wal", database.path().display());
    fs::write(&log, "messages").unwrap();
    let refused = soon(migrate(link.to_str().unwrap()).output()).await.unwrap();
    assert!(!refused.status.success() && fs::read(&log).unwrap() == b"messages");
    fs::remove_file(&log).unwrap();
    // A link to what is not there yet, and names that mean something else to SQLite.
    for (path, made) in [
        (link.to_str().unwrap(), database.path()),
        ("file:chat.db", links.path().join("file:chat.db")),
        ("file:a.db?mode=memory", links.path().join("file:a.db?mode=memory")),
        ("a b%20#c.db", links.path().join("a b%20#c.db")),
    ] {
        let output = soon(migrate(path).current_dir(links.path()).output()).await.unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&made).unwrap().permissions());
        assert_eq!((mode & 0o777, fs::metadata(&made).unwrap().len() > 0), (0o600, true), "{path}");
    }
}

/// Brings a database up to date as a later program would that no earlier one can run beside.
pub(crate) const NEWER: &str = "
    INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000');
    UPDATE server SET oldest = '20991231000000';
";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_program_is_left_as_it_is() {
    if signed_in() {
        return;
    }
    let database = Database::new().await;
    assert!(soon(program(&["migrate", "--database", &database.url]).output()).await.unwrap().status.success());
    drop(database.run(NEWER).await);
    let before = database.is_sqlite().then(|| bytes(&database));
    let said = refusal(serve(&database)).await;
    assert!(said.contains("by a newer Duologue, with the migration 20991231000000"), "{said}");
    if let Some(before) = before {
        assert!(said.contains(database.path().to_str().unwrap()), "{said}");
        assert!(bytes(&database) == before);
    }
}

/// Root may write everything, unless it gives up that right.
fn bound_by_permissions(command: &Command, folder: &Path) -> Command {
    let probe = folder.join("probe");
    fs::write(&probe, "").unwrap();
    fs::set_permissions(&probe, permissions(0o400)).unwrap();
    let privileged = fs::OpenOptions::new().write(true).open(&probe).is_ok();
    fs::remove_file(probe).unwrap();
    let command = command.as_std();
    let mut bound = if privileged {
        let mut setpriv = Command::new("setpriv");
        let rights = "-dac_override,-dac_read_search";
        setpriv.args(["--bounding-set", rights, "--inh-caps", rights]).arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args()).kill_on_drop(true);
    bound
}

fn permissions(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_or_a_folder_that_may_not_be_written_is_named() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let bound = bound_by_permissions(&serve(&database), database.folder());
    drop(bound);
    let start = || bound_by_permissions(&serve(&database), database.folder());
    let before = bytes(&database);
    let read_only_file = start();
    fs::set_permissions(database.path(), permissions(0o400)).unwrap();
    let said = refusal(read_only_file).await;
    assert!(said.contains(database.path().to_str().unwrap()) && said.contains("may not be written"), "{said}");
    fs::set_permissions(database.path(), permissions(0o600)).unwrap();

    let (read_only_folder, nothing_there) = (start(), start());
    fs::set_permissions(database.folder(), permissions(0o500)).unwrap();
    let said = refusal(read_only_folder).await;
    assert!(said.contains(database.path().to_str().unwrap()), "{said}");
    assert!(bytes(&database) == before);
    fs::set_permissions(database.folder(), permissions(0o700)).unwrap();

    fs::remove_file(database.path()).unwrap();
    fs::set_permissions(database.folder(), permissions(0o500)).unwrap();
    let said = refusal(nothing_there).await;
    assert!(said.contains("cannot open the database") && said.contains(database.path().to_str().unwrap()), "{said}");
    fs::set_permissions(database.folder(), permissions(0o700)).unwrap();
    assert!(!database.path().exists());
}
