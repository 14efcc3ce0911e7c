//! Migrations: up, down and up again, the same names on both databases; and files that are not ours.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio};

use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection};
use diesel_async::{AsyncPgConnection, async_connection_wrapper::AsyncConnectionWrapper};
use duologue::{
    app::App,
    domain::{Viewer, indexing},
    model::words::VERSION,
    store::{self, Direction, Error},
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    harness::{Chat, Database, soon},
    program::server,
    upgrades::undo_from,
};

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn up_down_and_up_again_leaves_the_same_schema() {
    let database = Database::new().await;
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let before = described(&database);
    let down = app.store.migrate(Direction::Down).await.unwrap();
    assert!(!down.is_empty());
    let up = app.store.migrate(Direction::Up).await.unwrap();
    assert_eq!(down.len(), up.len());
    assert_eq!(described(&database), before);
    assert_eq!(app.store.migrate(Direction::Up).await.unwrap(), [""; 0]);
    app.close().await;
}

type Postgres = AsyncConnectionWrapper<AsyncPgConnection>;

/// The schema in words: SQLite keeps them, PostgreSQL is asked for its columns and indexes.
pub(crate) fn described(database: &Database) -> Vec<String> {
    let lines = lines(
        database,
        if database.is_sqlite() {
            "SELECT coalesce(sql, name) AS line FROM sqlite_schema WHERE name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY name"
        } else {
            "SELECT line FROM (
                SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, generation_expression,
                                 collation_name) AS line
                    FROM information_schema.columns WHERE table_schema = current_schema()
                UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
                UNION ALL SELECT concat(conrelid::regclass, ' ', conname, ' ', pg_get_constraintdef(oid))
                    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
            ) AS lines ORDER BY line"
        },
    );
    assert!(lines.len() > 5, "{lines:?}");
    lines
}

/// What a query gives, whose column is `line`.
fn lines(database: &Database, query: &str) -> Vec<String> {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        line: String,
    }
    let lines: Vec<Line> = if let Some(path) = database.url.strip_prefix("sqlite:") {
        diesel::sql_query(query).load(&mut SqliteConnection::establish(path).unwrap()).unwrap()
    } else {
        let (url, query) = (database.url.clone(), query.to_owned());
        let ask = move || diesel::sql_query(query).load(&mut Postgres::establish(&url).unwrap()).unwrap();
        std::thread::spawn(ask).join().unwrap()
    };
    lines.into_iter().map(|line| line.line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let chat = Chat::on(chat.stop().await, &[]).await;
    let read = chat.data("{ users { nodes { name } } }", serde_json::json!({})).await;
    assert_eq!(read["users"]["nodes"][0]["name"], "Ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_may_start_at_once_on_one_database() {
    for _ in 0..5 {
        let database = Database::new().await;
        let settings = database.settings(&[]).database;
        let opened = futures_util::future::join_all((0..4).map(|_| App::open(&settings))).await;
        let epochs: BTreeSet<_> = opened.into_iter().map(|app| app.unwrap().epoch().clone()).collect();
        assert_eq!(epochs.len(), 1);
    }
}

/// As a later release leaves it that only adds something.
const ADDED: &str = "
    ALTER TABLE users ADD COLUMN later TEXT;
    INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000');
";

#[tokio::test(flavor = "multi_thread")]
async fn an_older_release_runs_beside_a_newer_one_that_allows_it() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    drop(chat.database.run(ADDED).await);
    // It runs when the newer one comes, …
    ada.sends("before", &bob).await;
    // … and may be started again.
    let chat = Chat::on(chat.stop().await, &[]).await;
    let read = chat.data("{ messages { nodes { content } } }", serde_json::json!({})).await;
    assert_eq!(read["messages"]["nodes"][0]["content"], "before");
    chat.person("Eve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_others_cannot_run_beside_waits_until_they_are_gone() {
    let database = Database::new().await;
    let settings = database.settings(&[]).database;
    let opened = async || {
        let app = App::open(&settings).await.unwrap();
        app.close().await;
        app.epoch()
    };
    let epoch = opened().await;
    drop(database.run("UPDATE server SET oldest = '20200101000000'").await);
    if !database.is_sqlite() {
        database.used_by("0.0.9", "20200101000000").await;
        let Err(Error::Unusable(sentence)) = App::open(&settings).await.map(drop) else {
            panic!("it was brought up to date")
        };
        assert!(sentence.contains("a server of Duologue 0.0.9 uses the database"), "{sentence}");
        drop(database.run("UPDATE nodes SET renewed_at = 0").await);
    }
    assert_eq!(opened().await, epoch);
    // Now it is the older one that must not start, and the database says so: no row is the former one.
    drop(database.run("DELETE FROM server WHERE oldest = '20200101000000'").await);
    assert_eq!(opened().await, epoch);
}

/// A crash of PostgreSQL empties the table of servers, a restart may take longer than their leases, and those that still run say only a
/// moment later that they do.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_others_cannot_run_beside_waits_for_those_that_come_back() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    App::open(&database.settings(&[]).database).await.unwrap().close().await;
    drop(database.run("UPDATE server SET oldest = '20200101000000'").await);
    database.used_by("0.0.9", "20200101000000").await;
    for outage in ["DELETE FROM nodes", "UPDATE nodes SET renewed_at = renewed_at - 11000"] {
        drop(database.run(outage).await);
        let mut newer = server(&database, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(newer.stderr.take().unwrap()).lines();
        soon(async { while !log.next_line().await.unwrap().unwrap().contains("waiting 10 seconds for servers") {} })
            .await;
        drop(database.run("DELETE FROM nodes").await);
        database.used_by("0.0.9", "20200101000000").await;
        let why = "a server of Duologue 0.0.9 uses the database";
        soon(async { while !log.next_line().await.unwrap().unwrap().contains(why) {} }).await;
        assert!(!soon(newer.wait()).await.unwrap().success());
    }
}

/// Who changes the tables meanwhile waits for the migration, and that for whoever reads them: never for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_lock_lets_others_pass() {
    let Some(migration) = std::env::var_os("DUOLOGUE_TEST_DATABASE").map(|_| "2026-11-26-000009_oldest") else {
        return;
    };
    let database = Database::new().await;
    let settings = database.settings(&[]).database;
    App::open(&settings).await.unwrap().close().await;
    undo_from(&database, migration).await;
    let reader = database.run("BEGIN; SELECT FROM server").await;
    let opening = tokio::spawn(async move { App::open(&settings).await });
    // It waits, and is in the way of others, who wait for it …
    let waits = "DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'server'::regclass) LOOP PERFORM pg_sleep(0.01); END LOOP;
    END $$; SELECT epoch FROM server";
    // … but not for as long as it waits for the reader.
    drop(soon(database.run(waits)).await);
    assert!(!opening.is_finished());
    drop(reader);
    soon(opening).await.unwrap().unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_were_there_before_are_found_by_any_word_of_their_names() {
    let chat = Chat::open().await;
    let create = "mutation { createUser(input: { name: \"Zoë Müller\", email: \"z@example.com\" }) { user { id } } }";
    chat.data(create, json!({})).await;
    let database = chat.stop().await;
    undo_from(&database, "2026-11-26-000010_name_words").await;
    let chat = Chat::on(database, &[]).await;
    let found = async || chat.data("{ users(search: \"mull\") { nodes { name } } }", json!({})).await["users"].take();
    let zoe = json!({ "nodes": [{ "name": "Zoë Müller" }] });
    assert_eq!(found().await, zoe);
    // Whatever has become of the index.
    drop(chat.database.run("UPDATE name_words SET word = 'former' WHERE word = 'muller'").await);
    assert_eq!(found().await, json!({ "nodes": [] }));
    indexing::reindex_words(&chat.app, &Viewer::operator(&chat.app), |_, _| {}).await.unwrap();
    assert_eq!(found().await, zoe);
    let former = chat.data("{ users(search: \"former\") { nodes { name } } }", json!({})).await;
    assert_eq!(former["users"]["nodes"], json!([]));
}

/// Those of an earlier release, which compared some letters in another way.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_were_indexed_in_another_way_are_indexed_anew() {
    let chat = Chat::open().await;
    let names = ["Ada", "Yılmaz", "Ħøłđðŧ-ıþæœ", "Ib-Øøøø-Oooo"];
    let mut people = Vec::new();
    for name in names {
        people.push(chat.person(name).await);
    }
    people[0].sends("Yılmaz geldi", &people[1]).await;
    indexing::index_words(&chat.app).await.unwrap();
    let name_words = "SELECT word || ' ' || user_id AS line FROM name_words ORDER BY word, user_id";
    let database = chat.stop().await;
    let words = lines(&database, name_words);
    undo_from(&database, "2026-11-29-000002_plain_letters").await;
    let former = "UPDATE name_words SET word = 'yılmaz' WHERE user_id = 2;
        UPDATE name_words SET word = 'ħøłđðŧ' WHERE word = 'holddt'; UPDATE name_words SET word = 'ıþæœ' WHERE word = 'ithaeoe';
        INSERT INTO name_words (word, user_id) VALUES ('øøøø', 4)";
    drop(database.run(former).await);
    // Those of no message are removed only when all are.
    drop(database.run(if database.is_sqlite() {
        "REPLACE INTO message_words (rowid, member_ids, words) VALUES (1, '1 2', 'yılmaz geldi'), (1000, '1 2', 'none')"
    } else {
        "UPDATE message_words SET words = '''@1'' ''@2'' ''yılmaz'':1 ''geldi'':2';
         INSERT INTO message_words (message_id, words) VALUES (1000, '''none''')"
    }).await);
    let chat = Chat::on(database, &[]).await;
    assert_eq!(lines(&chat.database, name_words), words);
    indexing::index_words(&chat.app).await.unwrap();
    let index = chat.app.store.read(store::indexing::words).await.unwrap();
    assert_eq!((index.version, index.from), (VERSION, 0));
    let id = if chat.database.is_sqlite() { "rowid" } else { "message_id" };
    let kept = format!("SELECT CAST({id} AS TEXT) AS line FROM message_words ORDER BY {id}");
    assert_eq!(lines(&chat.database, &kept), ["1", "1000"]);
    let search = "{ searchMessages(input: { text: \"YILMAZ\", mode: TEXT }) { pending edges { node { content } } } }";
    let found = chat.data(search, json!({})).await["searchMessages"].take();
    assert_eq!(found, json!({ "pending": 0, "edges": [{ "node": { "content": "Yılmaz geldi" } }] }));
}

/// While servers are replaced, both releases use one database.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_a_later_release_has_split_stay() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Good morning", &bob).await;
    indexing::index_words(&chat.app).await.unwrap();
    let words = || chat.app.store.read(store::indexing::words);
    let before = words().await.unwrap();
    for from in [before.from, 2] {
        drop(chat.database.run(&format!("UPDATE indexing SET words_version = 1000, words_from = {from}")).await);
        indexing::index_words(&chat.app).await.unwrap();
        let after = words().await.unwrap();
        assert_eq!((after.version, after.from, after.through), (1000, from, before.through));
    }
    // What was deleted is removed all the same.
    ada.deletes("msg_1").await;
    indexing::index_words(&chat.app).await.unwrap();
    assert!(chat.app.store.read(|conn| store::indexing::changes(conn, false, 1)).await.unwrap().is_empty());
}

/// It splits what it sends as it always did.
#[tokio::test(flavor = "multi_thread")]
async fn words_are_split_anew_once_no_earlier_release_is_left() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    chat.person("Ada").await.sends("Good morning", &chat.person("Bob").await).await;
    let words = async || {
        indexing::index_words(&chat.app).await.unwrap();
        let words = chat.app.store.read(store::indexing::words).await.unwrap();
        (words.version, words.from)
    };
    drop(chat.database.run("UPDATE indexing SET words_version = 1").await);
    chat.database.used_by("0.0.9", "20261129000001").await;
    assert_eq!(words().await.0, 1);
    drop(chat.database.run("DELETE FROM nodes WHERE version = '0.0.9'").await);
    assert_eq!(words().await, (VERSION, 0));
}

/// Longer than anything else waits for a lock on PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_starts_while_another_one_migrates_waits_for_it() {
    let Ok(server) = std::env::var("DUOLOGUE_TEST_DATABASE") else { return };
    // A database of its own: the lock is one for all schemas of a database.
    let name = format!("migrating_{}", std::process::id());
    drop(Database::on(&server).run(&format!("CREATE DATABASE {name}")).await);
    let database = Database::on(&format!("{}/{name}", server.rsplit_once('/').unwrap().0));
    let lock = database.run("SELECT pg_advisory_lock(1148546924)").await;
    let settings = database.settings(&[]).database;
    let opening = tokio::spawn(async move { App::open(&settings).await });
    let waits = "DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory') LOOP PERFORM pg_sleep(0.01); END LOOP;
        PERFORM pg_sleep(5.5);
    END $$";
    drop(soon(database.run(waits)).await);
    assert!(!opening.is_finished());
    drop(lock);
    soon(opening).await.unwrap().unwrap().close().await;
}

/// The sentence with which a file is refused; the file is as it was.
async fn refusal(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let mut settings = Database::new().await.settings(&[]).database;
    settings.database = format!("sqlite:{}", path.display());
    let refused = App::open(&settings).await;
    let Err(Error::Unusable(sentence)) = refused else { panic!("{} was taken", path.display()) };
    assert_eq!(fs::read(path).unwrap(), before);
    assert!(!path.with_extension("db-wal").exists());
    sentence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.db");
    SqliteConnection::establish(foreign.to_str().unwrap()).unwrap().batch_execute("CREATE TABLE theirs (x)").unwrap();
    let sentence = refusal(&foreign).await;
    assert!(sentence.contains("is the database of another program"), "{sentence}");

    let text = folder.path().join("text.db");
    fs::write(&text, "These are my notes, and not a database at all. ".repeat(50)).unwrap();
    let sentence = refusal(&text).await;
    assert!(sentence.contains("text.db") && sentence.contains("nothing was changed"), "{sentence}");
}
