//! The program itself, as a process: what it prints, and how it ends.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Output, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use serde_json::{Value, json};

use crate::{
    damage::NEWER,
    demo::fill,
    harness::{ACCOUNTS, Chat, Database, authorization, client, signed_in, soon, text},
    migrations::described,
    upgrades::undo_from,
};

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duologue"));
    command.args(arguments).env_clear().env("DUOLOGUE_NO_EMBEDDINGS", "1").kill_on_drop(true);
    // Otherwise the requests of all tests are logged, and some read only the beginning of a log.
    command.env("DUOLOGUE_LOG", "warn");
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Output {
    soon(program(arguments).output()).await.unwrap()
}

/// The only line of an error, after the name of the program.
pub(crate) async fn error(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(!output.status.success(), "{arguments:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    said.trim_end().strip_prefix("duologue: ").unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// What starts a server.
pub(crate) fn server(database: &Database, flags: &[&str]) -> Command {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url];
    let accounts: &[&str] = if signed_in() { &ACCOUNTS } else { &[] };
    program(&[&fixed, accounts, flags].concat())
}

/// A server, and the lines that it printed first.
pub(crate) async fn started_with_lines(mut server: Command) -> (Child, Vec<String>) {
    let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    for _ in 0..2 {
        lines.push(soon(output.next_line()).await.unwrap().unwrap());
    }
    (child, lines)
}

/// A server, and where it is.
pub(crate) async fn serve(database: &Database, flags: &[&str]) -> (Child, SocketAddr) {
    started(server(database, flags)).await
}

/// The same of one that is to be started in its own way.
pub(crate) async fn started(server: Command) -> (Child, SocketAddr) {
    let (child, lines) = started_with_lines(server).await;
    let page = lines[0].split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
    (child, page.trim_end_matches('/').parse().unwrap())
}

/// Twice: the second time changes nothing.
pub(crate) async fn terminate(mut child: Child) -> Option<i32> {
    let id = child.id().unwrap().to_string();
    for _ in 0..2 {
        soon(Command::new("kill").args(["-TERM", &id]).stderr(Stdio::null()).status()).await.unwrap();
    }
    soon(child.wait()).await.unwrap().code()
}

/// Gives the id and the header `Authorization` of somebody who signs up at a server.
pub(crate) async fn signs_up(address: SocketAddr, name: &str) -> (String, String) {
    let query = "mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken viewer { user { id } } } }";
    let input = json!({ "name": name, "email": format!("{name}@example.com"), "password": "correct horse" });
    let request = json!({ "query": query, "variables": { "input": input } });
    let request = client(None).post(format!("http://{address}/graphql")).json(&request);
    let signed: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    let signed = &signed["data"]["signUp"];
    (text(&signed["viewer"]["user"]["id"]), format!("Bearer {}", text(&signed["accessToken"])))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_where_it_is_and_where_the_messages_are() {
    let database = Database::new().await;
    let (child, lines) = started_with_lines(server(&database, &[])).await;
    let page = lines[0]
        .strip_prefix("Duologue is ready: open ")
        .and_then(|rest| rest.strip_suffix(" and say something."))
        .unwrap();
    assert!(soon(reqwest::get(page)).await.unwrap().status().is_success());
    let place = if database.is_sqlite() { database.url.replace("sqlite:", "SQLite, ") } else { "PostgreSQL".into() };
    assert_eq!(lines[1], format!("The messages are kept in {place}: 0 users, 0 messages."));
    assert_eq!(terminate(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_where_a_file_is_and_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let demo = ["demo", "--users", "3", "--messages", "1", "--database", "sqlite:chat.db"];
    assert!(program(&demo).current_dir(folder.path()).status().await.unwrap().success());
    let mut server = program(&["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:chat.db"]);
    server.current_dir(folder.path());
    let (child, lines) = started_with_lines(server).await;
    let file = folder.path().canonicalize().unwrap().join("chat.db");
    assert_eq!(lines[1], format!("The messages are kept in SQLite, {}: 3 users, 1 message.", file.display()));
    assert_eq!(terminate(child).await, Some(0));
}

/// The lock goes with its process, however that ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_one_server() {
    let database = Database::new().await;
    if !database.is_sqlite() {
        return;
    }
    let (mut first, _) = serve(&database, &[]).await;
    let said = error(&["serve", "--listen", "127.0.0.1:0", "--database", &database.url]).await;
    let path = database.url.strip_prefix("sqlite:").unwrap();
    let process = first.id().unwrap();
    let expected = format!(
        "{path} is in use by process {process}, a server or a command that needs it alone: stop it or wait for its end, or name \
         another database"
    );
    assert_eq!(said, expected);
    // Other commands may use it.
    assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    first.kill().await.unwrap();
    let (second, _) = serve(&database, &[]).await;
    assert_eq!(terminate(second).await, Some(0));
}

/// Those of all servers count.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_postgresql_has_are_warned_of() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    database.used_by("", "").await;
    let mut server = server(&database, &["--database-connections", "160"]);
    let mut child = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    soon(async { while !log.next_line().await.unwrap().unwrap().contains("its servers may want 320") {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_kill() {
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    let mut answered = 0;
    for _ in 0..3 {
        let (mut child, address) = serve(&database, &[]).await;
        let (http, url) = (client(authorization.as_deref()), format!("http://{address}/graphql"));
        for _ in 0..20 {
            answered += 1;
            let query = format!(
                r#"mutation {{ createUser(input: {{ name: "x", email: "{answered}@x" }}) {{ user {{ id }} }} }}"#
            );
            let answer = http.post(&url).json(&json!({ "query": query })).send();
            let body = soon(answer).await.unwrap().text().await.unwrap();
            assert_eq!(body, format!(r#"{{"data":{{"createUser":{{"user":{{"id":"usr_{answered}"}}}}}}}}"#));
        }
        soon(child.kill()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_told_to_stop_under_load_answers_what_it_took_in() {
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    let (child, address) = serve(&database, &[]).await;
    let (http, url) = (client(authorization.as_deref()), format!("http://{address}/graphql"));
    let answered = std::sync::Mutex::new(Vec::new());
    let write = async |writer: usize| {
        for number in 0.. {
            let email = format!("{writer}.{number}@x");
            let query =
                format!(r#"mutation {{ createUser(input: {{ name: "x", email: "{email}" }}) {{ user {{ id }} }} }}"#);
            // Refused once the server is gone. What was taken in is answered whole.
            let Ok(answer) = http.post(&url).json(&json!({ "query": query })).send().await else { return };
            let body: Value = answer.json().await.unwrap();
            assert!(body["data"]["createUser"]["user"]["id"].is_string(), "{body}");
            answered.lock().unwrap().push(email);
        }
    };
    let begun = std::time::Instant::now();
    let stop = async {
        while answered.lock().unwrap().len() < 50 {
            tokio::task::yield_now().await;
        }
        terminate(child).await
    };
    let (_, code) = tokio::join!(futures_util::future::join_all((0..16).map(write)), stop);
    assert_eq!(code, Some(0));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());

    let chat = Chat::on(database, &[]).await;
    let find = "query ($email: String!) { users(search: $email) { nodes { email } } }";
    for email in answered.into_inner().unwrap() {
        let found = chat.data(find, json!({ "email": email })).await;
        assert_eq!(found["users"]["nodes"][0]["email"], email);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_mode_stays_on_the_machine_unless_told_otherwise() {
    let database = Database::new().await;
    let refused = error(&["serve", "--listen", "0.0.0.0:0", "--database", &database.url]).await;
    assert!(refused.starts_with("0.0.0.0:0 can be reached by others"), "{refused}");
    assert!(refused.contains("--allow-open-network"), "{refused}");
    let fixed = ["serve", "--listen", "0.0.0.0:0", "--database", &database.url, "--allow-open-network"];
    let mut child = program(&fixed).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(output.next_line()).await.unwrap().unwrap();
    assert!(line.starts_with("Duologue is ready: open http://localhost:"), "{line}");
    assert_eq!(terminate(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (nowhere, notes) = (folder.path().join("no/such/folder.db"), folder.path().join("notes.db"));
    fs::write(&notes, "not a database ".repeat(100)).unwrap();
    let url = |path: &Path| format!("sqlite:{}", path.display());
    for (arguments, why) in [
        (vec!["migrate", "--database", "mysql://x/y"], "the database must be given as sqlite:PATH or postgres://"),
        (vec!["migrate", "--database", &url(&nowhere)], "cannot open the database"),
        (vec!["migrate", "--database", &url(&notes)], "cannot read "),
        (
            vec!["migrate", "--database", "postgres://nobody@127.0.0.1:1/x"],
            "cannot open the database on 127.0.0.1 (port 1): ",
        ),
        (
            vec!["import", "/no/such/file.jsonl", "--database", &url(&folder.path().join("a.db"))],
            "cannot read /no/such/file.jsonl",
        ),
    ] {
        let said = error(&arguments).await;
        assert!(said.starts_with(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_imported_and_demo_data_made() {
    let database = Database::new().await;
    let file = database.folder().join("chat.jsonl");
    let ada = r#"{"user": {"id": 1, "name": "Ada", "email": "ada@example.com", "createdAt": "2026-01-31T12:00:00Z"}}"#;
    fs::write(&file, format!("{ada}\n\n{{\"user\": 5}}\n")).unwrap();
    let path = file.to_str().unwrap();
    let said = error(&["import", path, "--database", &database.url]).await;
    assert!(said.starts_with(&format!("{path}: line 3: This is no line of an import: ")), "{said}");
    assert!(!said.contains("ada@example.com"), "{said}");

    // As some editors write it.
    fs::write(&file, format!("\u{FEFF}{ada}\n")).unwrap();
    let imported = run(&["import", path, "--database", &database.url]).await;
    assert_eq!(String::from_utf8(imported.stdout).unwrap(), "Imported 1 user and 0 messages.\n");
    let made = run(&["demo", "--users", "20", "--messages", "500", "--database", &database.url]).await;
    assert_eq!(String::from_utf8(made.stdout).unwrap(), "Made 20 users and 500 messages.\n");
    let again = run(&["demo", "--users", "20", "--messages", "500", "--database", &database.url]).await;
    assert_eq!(
        String::from_utf8(again.stdout).unwrap(),
        "The demo data is there already; another --seed makes more.\n"
    );
    assert!(again.status.success());
    let migrated = run(&["migrate", "--database", &database.url]).await;
    assert_eq!(String::from_utf8(migrated.stdout).unwrap(), "The database is up to date.\n");
}

/// Commands that look after a database that is there.
const CARETAKERS: [&[&str]; 16] = [
    &["new-epoch"],
    &["audit"],
    &["export", "-"],
    &["reindex", "--words"],
    &["admin", "create", "root@example.com"],
    &["admin", "users"],
    &["admin", "grant", "root@example.com"],
    &["admin", "revoke", "root@example.com"],
    &["admin", "suspend", "usr_1"],
    &["admin", "unsuspend", "usr_1"],
    &["admin", "reset-password", "root@example.com"],
    &["admin", "sessions", "root@example.com"],
    &["admin", "end-session", "ses_1"],
    &["admin", "issue-token", "billing"],
    &["admin", "tokens"],
    &["admin", "revoke-token", "svc_1"],
];

/// All files of a SQLite database and beside it; or the schema of a PostgreSQL database in words.
fn state(database: &Database) -> BTreeMap<String, Vec<u8>> {
    if !database.is_sqlite() {
        return described(database).into_iter().map(|line| (line, Vec::new())).collect();
    }
    let files = fs::read_dir(database.folder()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_after_a_database_neither_makes_one_nor_changes_its_version() {
    if signed_in() {
        return;
    }
    let refused = async |database: &Database, command: &[&str]| {
        let begun = std::time::Instant::now();
        let said = error(&[command, &["--database", &database.url]].concat()).await;
        assert!(begun.elapsed().as_secs() < 5, "{command:?} took {:?}", begun.elapsed());
        said
    };
    let (missing, other) = (Database::new().await, Database::new().await);
    let migrate = ["migrate", "--database", &other.url];
    assert!(run(&migrate).await.status.success());
    undo_from(&other, "2026-11-26-000002_accounts_of_issuers").await;
    let older = state(&other);
    for command in CARETAKERS {
        let said = refused(&missing, command).await;
        assert!(said.contains("run `duologue migrate` to begin it"), "{said}");
        let said = refused(&other, command).await;
        assert!(said.contains("older Duologue") && said.contains("run `duologue migrate` first"), "{said}");
        assert!(state(&other) == older, "{command:?}");
    }
    if missing.is_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("x.db").display().to_string();
        let backup = ["backup", copy.as_str()];
        assert!(refused(&missing, &backup).await.contains("there is no database"));
        assert!(state(&missing).is_empty() && fs::read_dir(folder.path()).unwrap().next().is_none());
        // Somebody may want one before the database is brought up to date.
        assert!(run(&[&backup[..], &["--database", &other.url]].concat()).await.status.success());
        assert!(state(&other) == older);
        // Not even what was only begun is gone on with.
        fs::write(missing.path(), "").unwrap();
        assert!(refused(&missing, CARETAKERS[0]).await.contains("there is no database"));
        assert_eq!(state(&missing).into_values().collect::<Vec<_>>(), [b""]);
    } else {
        let is_empty = "DO $$ BEGIN
            ASSERT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace);
        END $$";
        drop(missing.run(is_empty).await);
    }
    assert!(run(&migrate).await.status.success());
    assert!(run(&["admin", "tokens", "--database", &other.url]).await.status.success());
    drop(other.run(NEWER).await);
    let newer = state(&other);
    for command in CARETAKERS {
        let said = refused(&other, command).await;
        assert!(said.contains("newer Duologue") && said.contains("use the newer one"), "{said}");
        assert!(state(&other) == newer, "{command:?}");
    }
}

/// It would take long on a large file, and the operator is in a hurry.
#[tokio::test(flavor = "multi_thread")]
async fn who_looks_after_a_file_does_not_read_all_of_it() {
    let database = Database::at("chat.db");
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    fill(&database, 20, 5_000).await;
    // A log that was not closed, and damage inside the file: a server would find it at its start.
    let mut holder = SqliteConnection::establish(database.path().to_str().unwrap()).unwrap();
    holder.batch_execute("PRAGMA wal_autocheckpoint = 0; UPDATE users SET name = name || '!'").unwrap();
    let mut file = fs::read(database.path()).unwrap();
    let middle = file.len() / 2 / 4_096 * 4_096;
    file[middle..middle + 4_096].fill(0);
    fs::write(database.path(), file).unwrap();
    let said = error(&["serve", "--listen", "127.0.0.1:0", "--database", &database.url]).await;
    assert!(said.contains("is damaged"), "{said}");
    assert!(run(&["admin", "tokens", "--database", &database.url]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_printed() {
    let printed = run(&["schema"]).await;
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), include_str!("../../schema.graphql"));
    let help = String::from_utf8(run(&["serve", "--help"]).await.stdout).unwrap();
    assert!(help.contains("DUOLOGUE_LISTEN") && help.contains("127.0.0.1:8000") && help.contains("sqlite:duologue.db"));
}
