//! A program that is killed while it brings a database up to date: the next start finishes or undoes it, and nothing that
//! was there is lost.

#[cfg(target_os = "linux")]
mod anywhere;

use std::{fs, path::Path, process::Stdio};

use tokio::process::Command;

use crate::{
    harness::{Chat, Database, signed_in, soon},
    migrations::described,
    program::program,
};

const MESSAGES: usize = 100;

/// Undoes the newest migration; there are users and messages.
async fn step_back(database: &Database) {
    let count = MESSAGES.to_string();
    let fill = ["demo", "--users", "5", "--messages", &count, "--database", &database.url];
    assert!(soon(program(&fill).stderr(Stdio::null()).output()).await.unwrap().status.success());
    undo_newest(database).await;
}

/// Undoes the newest migration.
pub(crate) async fn undo_newest(database: &Database) {
    let kind = if database.is_sqlite() { "sqlite" } else { "postgres" };
    let all = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind)).unwrap();
    let newest = all.map(|entry| entry.unwrap().path()).max().unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    let version: String = name.split('_').next().unwrap().chars().filter(char::is_ascii_digit).collect();
    let down = fs::read_to_string(newest.join("down.sql")).unwrap();
    let forget = format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'");
    drop(database.run(&format!("BEGIN; {down}; {forget}; COMMIT")).await);
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
