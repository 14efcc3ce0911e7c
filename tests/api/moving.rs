//! A database that is moved from SQLite to PostgreSQL and back, while it is used.

use std::{
    collections::BTreeSet,
    fs,
    process::Stdio,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use diesel::{dsl::sql, sql_types::BigInt};
use diesel_async::RunQueryDsl;
use duologue::{
    app::database_url,
    store::{self, Store, moving},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    crowd::short_or_long,
    database::Lock,
    demo::fill,
    harness::{Chat, Database, Person, signed_in, soon},
    program::{program, run},
    resume::{cursor, resumed},
};

const SEND: &str =
    "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } userErrors { code } } }";

/// A database of its own, in which one move at a time can run; `None` without PostgreSQL.
pub(crate) async fn postgres_database() -> Option<Database> {
    static DATABASES: AtomicU64 = AtomicU64::new(1);
    let server = std::env::var("DUOLOGUE_TEST_DATABASE").ok().filter(|_| !signed_in())?;
    let name = format!("moving_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    drop(Database::on(&server).run(&format!("CREATE DATABASE {name}")).await);
    Some(Database::on(&format!("{}/{name}", server.rsplit_once('/').unwrap().0)))
}

/// What the command says, and whether it did it.
pub(crate) async fn moves(from: &Database, to: &Database, flags: &[&str]) -> (bool, String) {
    let arguments = [&["move", "--from", &from.url, "--to", &to.url], flags].concat();
    let output = tokio::time::timeout(Duration::from_mins(short_or_long(2, 20)), program(&arguments).output())
        .await
        .unwrap()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// All rows of all tables.
pub(crate) async fn dump(database: &Database) -> Vec<(&'static str, Vec<moving::Row>)> {
    let url = database_url(&database.settings(&[]).database).unwrap();
    let store = Store::open_existing(&url, 4).await.unwrap();
    let read = |conn: &mut store::Conn<'_>| {
        let rows = |table: &'static moving::Table| {
            // Words are indexed anew.
            let limit = if table.name == "index_changes" { 0 } else { usize::MAX >> 1 };
            let mut rows = moving::rows_after(conn, table, &table.first_key(), limit)?;
            rows.sort_by_key(|row| json!(row).to_string());
            Ok::<_, store::Error>((table.name, rows))
        };
        moving::TABLES.iter().map(rows).collect::<store::Result<Vec<_>>>()
    };
    let dumped = store.read(read).await.unwrap();
    store.close().await;
    dumped
}

/// Somebody who sends one message after the other, each until it is answered, to wherever the server is.
async fn sends(server: Arc<RwLock<Chat>>, stop: Arc<AtomicBool>, [from, to]: [String; 2]) -> (Vec<String>, Duration) {
    let (mut sent, mut longest) = (Vec::new(), Duration::ZERO);
    let http = reqwest::Client::new();
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        let client_id = format!("{from}-{}", sent.len());
        let input = json!({ "senderId": from, "receiverId": to, "content": client_id, "clientId": client_id });
        let begun = Instant::now();
        loop {
            let url = server.read().unwrap().url("/graphql");
            let body = json!({ "query": SEND, "variables": { "input": input } });
            let Ok(response) = http.post(url).json(&body).send().await else { continue };
            let answer: Value = response.json().await.unwrap();
            match answer["errors"][0]["extensions"]["code"].as_str() {
                Some("DATABASE_BUSY" | "UNAVAILABLE") => tokio::time::sleep(Duration::from_millis(20)).await,
                Some(code) => panic!("{code}: {answer}"),
                None => break assert_eq!(answer["data"]["sendMessage"]["userErrors"], json!([])),
            }
        }
        longest = longest.max(begun.elapsed());
        sent.push(client_id);
    }
    (sent, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_used_is_moved_there_and_back_and_nobody_misses_anything() {
    let Some(postgres) = postgres_database().await else { return };
    let (file, other) = (Database::at("chat.db"), Database::at("again.db"));
    let messages = short_or_long(3_000, 1_000_000).to_string();
    let demo = ["demo", "--users", "30", "--messages", &messages, "--database", &file.url];
    assert!(program(&demo).stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success());
    let urls = [&postgres, &other].map(|database| database.url.clone());
    let chat = Chat::in_real_time(file, &["--auth", "open"]).await;
    let people: Vec<String> = join(&chat, ["Ada", "Bob", "Cem", "Dan"]).await;
    let mut after = cursor(&Person { chat: &chat, id: people[1].clone() }).await;
    let first = after.clone();
    let (server, stop) = (Arc::new(RwLock::new(chat)), Arc::new(AtomicBool::new(false)));
    let pairs = [[0, 1], [1, 0], [2, 1], [3, 2]].map(|pair: [usize; 2]| pair.map(|index| people[index].clone()));
    let senders = pairs.map(|pair| tokio::spawn(sends(server.clone(), stop.clone(), pair)));
    let mut closed = Vec::new();
    for url in urls {
        let to = Database::on(&url);
        let from = Database::on(&server.read().unwrap().database.url);
        let (done, said) = moves(&from, &to, &[]).await;
        assert!(done, "{said}");
        let next = Chat::in_real_time(to, &["--auth", "open"]).await;
        closed.push(std::mem::replace(&mut *server.write().unwrap(), next));
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = BTreeSet::new();
    for sender in senders {
        let (its, longest) = soon(sender).await.unwrap();
        // Also the two new servers that were started meanwhile.
        assert!(its.len() > 3 && longest < Duration::from_secs(5), "{} {longest:?}", its.len());
        sent.extend(its);
    }
    // Whoever followed goes on from before both moves, and hears of all that concerns them once and in order.
    let server = Arc::into_inner(server).unwrap().into_inner().unwrap();
    let mut heard = Vec::new();
    let mut feed = resumed(&Person { chat: &server, id: people[1].clone() }, &after).await;
    loop {
        let event = feed.next().await;
        assert_ne!(event["kind"], "RESET");
        if event["kind"] == "CAUGHT_UP" {
            break;
        }
        after = event["cursor"].clone();
        heard.push(event["message"]["content"].as_str().unwrap().to_owned());
    }
    assert_ne!(after, first);
    let messages = dump(&server.database).await.into_iter().find(|(name, _)| *name == "messages").unwrap().1;
    let texts = messages.iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    assert!(sent.is_subset(&texts), "{:?}", sent.difference(&texts));
    let expected: BTreeSet<_> = sent.iter().filter(|id| !id.starts_with(&people[3])).cloned().collect();
    assert_eq!(heard.len(), expected.len());
    assert_eq!(heard.iter().cloned().collect::<BTreeSet<_>>(), expected);
    let of = |person: &str| heard.iter().filter(|id| id.starts_with(person)).collect::<Vec<_>>();
    let in_order = of(&people[0]).iter().map(|id| number(id)).collect::<Vec<_>>();
    assert!(in_order.is_sorted(), "{in_order:?}");
    // Names are indexed where they arrived.
    let found = server.data("{ users(search: \"cem\") { nodes { id } } }", json!({})).await;
    assert!(found["users"]["nodes"].as_array().unwrap().contains(&json!({ "id": people[2] })), "{found}");
    let audit = run(&["audit", "--database", &server.database.url]).await;
    assert_eq!(String::from_utf8(audit.stdout).unwrap().matches("\toperator\t-\tmove\t").count(), 2);
    // The next ones are higher than any before.
    let eve = server.person("Eve").await;
    assert_eq!(number(&eve.id.replace('_', "-")), number(&people[3].replace('_', "-")) + 1);
}

/// What PostgreSQL cannot store, but SQLite can.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_is_named_and_the_former_database_is_as_it_was() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&file, 30, 2_000).await;
    let before = dump(&file).await;
    let objects = "SELECT count(*) FROM sqlite_schema";
    let count = || rusqlite::Connection::open(file.path()).unwrap().query_row(objects, (), |row| row.get::<_, i64>(0));
    let described = count().unwrap();
    let nul = "UPDATE users SET name = 'Ada' || char(0) || 'Bob' WHERE id = 7";
    let missing = "PRAGMA foreign_keys = OFF; UPDATE messages SET receiver_id = 999 WHERE id = 1200";
    for (fault, row, mend) in [
        (nul, "a row of users, [7]: ", "UPDATE users SET name = 'Ada' WHERE id = 7"),
        (missing, "a row of messages, [1200]: ", "DELETE FROM messages WHERE id = 1200"),
    ] {
        drop(file.run(fault).await);
        for flags in [&["--copy-only"][..], &[]] {
            let (done, said) = moves(&file, &postgres, flags).await;
            assert!(!done && said.contains(row) && said.contains("nothing was closed"), "{said}");
            assert_eq!(count().unwrap(), described, "no triggers are left");
        }
        drop(file.run(mend).await);
    }
    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(done, "{said}");
    drop(postgres.run("DELETE FROM audit WHERE action = 'move'").await);
    let moved = dump(&postgres).await;
    assert!(moved == dump(&file).await && moved != before);
}

/// A message may be removed between the steps of a move, and the replies to it refer to nothing then.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_arrived_is_removed_before_the_replies_to_it() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let first = ada.sends("first", &bob).await;
    let reply = json!({ "receiverId": bob.id, "content": "reply", "replyToId": first });
    assert_eq!(ada.tries_to_send(reply).await["userErrors"], json!([]));
    let messages = moving::TABLES.iter().find(|table| table.name == "messages").unwrap();
    let key: moving::Row = vec![json!(1)];
    chat.app.store.write(move |conn| moving::remove(conn, messages, &[key])).await.unwrap();
    assert_eq!(chat.texts(&ada, &bob).await, ["reply"]);
}

async fn join<const N: usize>(chat: &Chat, names: [&str; N]) -> Vec<String> {
    let mut people = Vec::new();
    for name in names {
        people.push(chat.person(name).await.id);
    }
    people
}

/// What is behind the last dash.
fn number(text: &str) -> usize {
    text.rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_goes_on_and_what_was_moved_is_not_served_again() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    let messages = short_or_long(20_000, 100_000).to_string();
    let demo = ["demo", "--users", "200", "--messages", &messages, "--database", &file.url];
    assert!(program(&demo).stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success());
    // A rehearsal changes nothing.
    let before = dump(&file).await;
    let (done, said) = moves(&file, &postgres, &["--copy-only"]).await;
    assert!(done && said.contains("cannot be served"), "{said}");
    assert_eq!(dump(&file).await, before);
    let (is_well, said) = checks(&postgres).await;
    assert!(!is_well && said.contains("database: PROBLEM: the database is being moved here"), "{said}");

    let table = |name: &str| format!("SELECT count(*) FROM moving WHERE name = '{name}'");
    let Lock::Postgres(mut progress) = postgres.run("SELECT").await else { unreachable!() };
    for (number, name) in (1..).zip(["server", "users", "messages", "members"]) {
        let arguments = ["move", "--from", &file.url, "--to", &postgres.url];
        let mut child = program(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Before there is such a table, it is an error.
        soon(async { while sql::<BigInt>(&table(name)).get_result::<i64>(&mut progress).await.unwrap_or(0) == 0 {} })
            .await;
        assert!(child.try_wait().unwrap().is_none(), "it has ended before: {name}");
        child.kill().await.unwrap();
        let change = format!(
            "UPDATE users SET name = 'Number {number}' WHERE id = {number};
             UPDATE messages SET content = 'Changed', edited_at = 1 WHERE id IN ({number}, 20000 - {number});
             DELETE FROM blocks; INSERT INTO blocks (user_id, blocked_id, created_at) VALUES ({number}, 9, 1);
             INSERT INTO messages (id, sender_id, receiver_id, content, reply_to_id, created_at)
                 SELECT max(id) + 1, 1, 2, 'New', max(id), 1 FROM messages"
        );
        drop(file.run(&change).await);
    }
    // A server of the new database waits until it is whole, and one of the former stops.
    let serve = |database: &Database| {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--database", &database.url]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut former = serve(&file);
    ready(&mut former).await;
    let mut next = serve(&postgres);
    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(done && said.contains("is closed"), "{said}");
    ready(&mut next).await;
    assert!(soon(former.wait()).await.unwrap().success());
    next.kill().await.unwrap();
    // That it was moved is recorded there alone.
    drop(postgres.run("DELETE FROM audit WHERE action = 'move'").await);
    let moved = dump(&postgres).await;
    assert!(moved == dump(&file).await && moved != before);

    let served = program(&["serve", "--listen", "127.0.0.1:0", "--database", &file.url]).output();
    let said = String::from_utf8(soon(served).await.unwrap().stderr).unwrap();
    assert!(said.contains("was moved with `duologue move`"), "{said}");
    let (is_well, said) = checks(&file).await;
    assert!(!is_well && said.contains("database: PROBLEM: the database was moved with `duologue move`"), "{said}");
    assert!(checks(&postgres).await.0);
    let (elsewhere, served, empty, full) = (
        postgres_database().await.unwrap(),
        postgres_database().await.unwrap(),
        Database::at("empty.db"),
        Database::at("full.db"),
    );
    for database in [&served, &empty, &full] {
        assert!(soon(program(&["migrate", "--database", &database.url]).output()).await.unwrap().status.success());
    }
    served.used_by("", "").await;
    drop(full.run("INSERT INTO users (name, name_key, created_at) VALUES ('Ada', 'ada', 1)").await);
    for (from, to, why) in [
        (&file, &postgres, "was moved already"),
        (&file, &elsewhere, "was moved already"),
        (&postgres, &elsewhere, "from SQLite to PostgreSQL or back"),
        (&Database::at("none.db"), &elsewhere, "there is no database"),
        (&postgres, &file, "the new database was moved elsewhere"),
        (&postgres, &full, "users in the new database already"),
        (&empty, &served, "a server uses the new database"),
    ] {
        let (done, said) = moves(from, to, &[]).await;
        assert!(!done && said.contains(why), "{why}: {said}");
    }
    let lock =
        "SELECT pg_advisory_lock(1299150437, CAST(oid AS INTEGER)) FROM pg_namespace WHERE nspname = current_schema()";
    let _lock = elsewhere.run(lock).await;
    let (done, said) = moves(&empty, &elsewhere, &[]).await;
    assert!(!done && said.contains("another `duologue move` runs"), "{said}");
    drop(empty.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')").await);
    let (done, said) = moves(&empty, &elsewhere, &[]).await;
    assert!(!done && said.contains("a newer Duologue"), "{said}");
}

/// What `duologue check` says, and whether all is well.
pub(crate) async fn checks(database: &Database) -> (bool, String) {
    let output = run(&["check", "--listen", "127.0.0.1:0", "--database", &database.url]).await;
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// A column that was forgotten would be lost with a move.
#[test]
fn every_column_is_moved() {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    let mut migrations: Vec<_> =
        fs::read_dir("migrations/sqlite").unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    for migration in migrations {
        database.execute_batch(&fs::read_to_string(migration.join("up.sql")).unwrap()).unwrap();
    }
    let columns =
        "SELECT tables.name, columns.name FROM sqlite_schema AS tables JOIN pragma_table_xinfo(tables.name) AS columns
        WHERE tables.type = 'table' AND columns.hidden = 0 AND tables.name <> 'indexing'
          AND tables.name NOT LIKE 'sqlite%' AND tables.name NOT LIKE 'message_words%' AND tables.name <> 'name_words'";
    let mut columns = database.prepare(columns).unwrap();
    let columns = columns.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: BTreeSet<(String, String)> = columns.map(Result::unwrap).collect();
    let moved = moving::TABLES
        .iter()
        .flat_map(|table| table.column_names().into_iter().map(|column| (table.name.to_owned(), column.to_owned())));
    assert_eq!(columns, moved.collect());
}

/// Waits for what the program says when it is ready.
pub(crate) async fn ready(server: &mut tokio::process::Child) {
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await.unwrap().unwrap();
    assert!(line.unwrap().contains("ready"));
}
