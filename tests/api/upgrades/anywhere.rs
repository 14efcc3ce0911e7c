//! The same on a disk that can lose what was not synced: the program is killed wherever it changes a file.

use std::fs;

use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_types::BigInt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{MESSAGES, migrate, migrates, step_back};
use crate::{
    crashes::assert_sound,
    crowd::short_or_long,
    disk::Disk,
    harness::{Database, signed_in, soon},
    migrations::described,
};

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
    for kill in (1_u64..).step_by(step) {
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
            _ => disk.loses_power(Some(ChaCha8Rng::seed_from_u64(kill))),
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
