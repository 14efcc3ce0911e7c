//! Backups taken while people send.

use std::{fs, path::Path, time::Duration};

use rusqlite::{Connection, backup::Backup};

use crate::{
    crashes::assert_sound,
    crowd::{Crowd, short_or_long},
    harness::{Database, signed_in},
    program::serve,
};

/// As docs/operations.md says.
pub(crate) fn vacuum(from: &Path, into: &Path) {
    let backup = format!("VACUUM INTO '{}'", into.display());
    Connection::open(from).unwrap().execute_batch(&backup).unwrap();
}

/// With SQLite's backup API, a few pages at a time, as `.backup` of its command line does and tools that copy a database
/// that is in use.
pub(crate) fn copy(from: &Path, into: &Path) {
    let from = Connection::open(from).unwrap();
    let mut into = Connection::open(into).unwrap();
    Backup::new(&from, &mut into).unwrap().run_to_completion(20, Duration::from_millis(1), None).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_what_was_there_at_one_moment() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    let (mut child, address) = serve(&database, &[]).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 24).await;
    let mut backups = Vec::new();
    for way in [vacuum, copy].into_iter().cycle().take(short_or_long(4, 20)) {
        crowd.until_answered(100).await;
        let backup = Database::at("backup.db");
        let answered = crowd.tally(|tally| tally.answered.clone());
        let (from, into) = (database.path(), backup.path());
        tokio::task::spawn_blocking(move || way(&from, &into)).await.unwrap();
        backups.push((backup, answered));
    }
    crowd.failed_only_with(&[]);
    crowd.rests_and_finds_everything().await;
    let all = crowd.found().await;
    child.kill().await.unwrap();
    for (backup, answered) in backups {
        assert_sound(&backup.path());
        let restored = Database::at("restored.db");
        fs::copy(backup.path(), restored.path()).unwrap();
        let (mut child, address) = serve(&restored, &[]).await;
        crowd.turns_to(address);
        let found = crowd.found().await;
        // No message is missing before one that is there.
        assert!(found.iter().eq(all.iter().take(found.len())));
        for (name, id) in answered {
            let id = id.strip_prefix("msg_").unwrap().parse().unwrap();
            assert_eq!(found.get(&id), Some(&name));
        }
        child.kill().await.unwrap();
    }
}
