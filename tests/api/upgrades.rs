//! A program that is killed while it brings a database up to date: the next start finishes or undoes it, and nothing that
//! was there is lost.

use std::{fs, path::Path, process::Stdio};

use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_types::BigInt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::process::Command;

use crate::{
    crashes::assert_sound,
    crowd::short_or_long,
    disk::Disk,
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

fn messages_in(database: &Database) -> usize {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let mut conn = SqliteConnection::establish(database.path().to_str().unwrap()).unwrap();
    let query = "SELECT count(*) AS count FROM messages";
    let counted: Count = diesel::sql_query(query).get_result(&mut conn).unwrap();
    usize::try_from(counted.count).unwrap()
}

/// Kills the program at every so-many-th change of a file, from this database on, until it comes to its end. Every third
/// time only what was synced is left, and every third time some more.
async fn is_killed_everywhere(from: Option<&Database>, expected: &[String], step: usize) {
    let messages = if from.is_some() { MESSAGES } else { 0 };
    for kill in (1..).step_by(step) {
        let database = Database::at("chat.db");
        if let Some(from) = from {
            fs::copy(from.path(), database.path()).unwrap();
        }
        let disk = Disk::under(&database);
        let mut command = migrate(&database);
        disk.carries(&mut command);
        let ended = soon(command.env("DISK_KILL_AT", kill.to_string()).output()).await.unwrap().status;
        if ended.success() {
            assert!(kill > 20, "{kill}");
            return;
        }
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9), "{kill}: {ended}");
        match kill % 3 {
            0 => {}
            1 => disk.loses_power(None),
            _ => disk.loses_power(Some(ChaCha8Rng::seed_from_u64(kill as u64))),
        }
        if from.is_some() {
            // As it is left it can be read.
            assert_eq!(messages_in(&database), messages, "{kill}");
        }
        migrates(&database).await;
        assert_eq!(described(&database), expected, "{kill}");
        assert_eq!(messages_in(&database), messages, "{kill}");
        assert_sound(&database.path());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_killed_anywhere_is_finished_or_undone_by_the_next_start() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let new = Database::at("chat.db");
    migrates(&new).await;
    let expected = described(&new);
    let old = Database::at("chat.db");
    step_back(&old).await;
    assert_ne!(described(&old), expected);
    let step = short_or_long(7, 1);
    is_killed_everywhere(Some(&old), &expected, step).await;
    is_killed_everywhere(None, &expected, step).await;
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
