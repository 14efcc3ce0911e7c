//! A program that is killed while it brings a database up to date: the next start finishes or undoes it, and nothing that
//! was there is lost.

#[cfg(target_os = "linux")]
mod anywhere;

use std::{fs, path::Path};

use duologue::store::{DatabaseUrl, ServingLock};
use serde_json::json;
use tokio::process::Command;

use crate::{
    demo::fill,
    harness::{Chat, Database, Person, signed_in, soon},
    migrations::described,
    program::program,
    resume::{cursor, resumed},
};

const MESSAGES: usize = 100;

/// The migration that rebuilds the feed.
pub(crate) const FEED: &str = "2026-11-26-000001_events";

/// Undoes the change of the feed; there are users and messages.
async fn step_back(database: &Database) {
    fill(database, 5, MESSAGES).await;
    undo_from(database, FEED).await;
}

/// Undoes a migration, and before it those that came after it.
pub(crate) async fn undo_from(database: &Database, first: &str) {
    let kind = if database.is_sqlite() { "sqlite" } else { "postgres" };
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind)).unwrap();
    let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    for migration in all.iter().rev() {
        let name = migration.file_name().unwrap().to_str().unwrap();
        if name < first {
            break;
        }
        let version: String = name.split('_').next().unwrap().chars().filter(char::is_ascii_digit).collect();
        let down = fs::read_to_string(migration.join("down.sql")).unwrap();
        let forget = format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'");
        drop(database.run(&format!("BEGIN; {down}; {forget}; COMMIT")).await);
        if name == first {
            return;
        }
    }
    panic!("there is no migration {first}");
}

/// The feed of sends became the messages: they stay, and whoever comes back with an old cursor loads everything once.
#[tokio::test(flavor = "multi_thread")]
async fn messages_outlive_the_change_of_the_feed_and_cursors_do_not() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..5 {
        ada.sends(&number.to_string(), &bob).await;
    }
    ada.edits("msg_2", "edited").await;
    let texts = chat.texts(&ada, &bob).await;
    let before = cursor(&bob).await;
    let id = bob.id.clone();
    let database = chat.stop().await;
    let schema = described(&database);
    undo_from(&database, FEED).await;
    assert_ne!(described(&database), schema);
    let chat = Chat::on(database, &[]).await;
    assert_eq!(described(&chat.database), schema);
    let (ada, bob) = (Person { chat: &chat, id: "usr_1".into() }, Person { chat: &chat, id });
    assert_eq!(chat.texts(&ada, &bob).await, texts);
    let mut feed = resumed(&bob, &before).await;
    let reset = feed.next().await;
    assert_eq!((&reset["kind"], &feed.next().await["kind"]), (&json!("RESET"), &json!("CAUGHT_UP")));
    let last = ada.sends("after it", &bob).await;
    assert_eq!(feed.next().await["messageId"], last);
    let mut again = resumed(&bob, &reset["cursor"]).await;
    assert_eq!(again.next().await["messageId"], last);
}

fn migrate(database: &Database) -> Command {
    program(&["migrate", "--database", &database.url])
}

async fn migrates(database: &Database) {
    let done = soon(migrate(database).output()).await.unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_killed_on_postgresql_is_undone_and_done_again() {
    let database = Database::new().await;
    if signed_in() || database.is_sqlite() {
        return;
    }
    migrates(&database).await;
    let expected = described(&database);
    step_back(&database).await;
    assert_ne!(described(&database), expected);
    // The migration has done all of its work when it waits to be noted.
    let lock = database.run("BEGIN; LOCK TABLE __diesel_schema_migrations IN SHARE MODE").await;
    let mut child = migrate(&database).spawn().unwrap();
    let waits = "DO $$ BEGIN
        WHILE NOT EXISTS (
            SELECT FROM pg_locks WHERE NOT granted AND relation = '__diesel_schema_migrations'::regclass
        ) LOOP PERFORM pg_sleep(0.01); END LOOP;
    END $$";
    drop(soon(database.run(waits)).await);
    child.kill().await.unwrap();
    drop(lock);
    migrates(&database).await;
    assert_eq!(described(&database), expected);
    let chat = Chat::on(database, &[]).await;
    let page = "{ messages(first: 100) { nodes { id } } }";
    let data = chat.data(page, serde_json::json!({})).await;
    assert_eq!(data["messages"]["nodes"].as_array().unwrap().len(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_brought_up_to_date_under_a_server_of_an_earlier_release() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    migrates(&database).await;
    let url: DatabaseUrl = database.url.parse().unwrap();
    let lock = ServingLock::take(&url).unwrap();
    // There is nothing to do.
    migrates(&database).await;
    undo_from(&database, FEED).await;
    let before = described(&database);
    for command in ["migrate", "demo"] {
        let output = soon(program(&[command, "--database", &database.url]).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("is in use by process"), "{command}: {said}");
        assert_eq!(described(&database), before);
    }
    drop(lock);
    migrates(&database).await;
}
