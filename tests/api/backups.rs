//! Backups taken while people send.

use std::fs;

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};

use crate::{
    crashes::assert_sound,
    crowd::{Crowd, short_or_long},
    harness::{Database, signed_in},
    program::serve,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_what_was_there_at_one_moment() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    let (mut child, address) = serve(&database, &[]).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 24).await;
    let mut backups = Vec::new();
    for _ in 0..short_or_long(3, 20) {
        crowd.until_answered(100).await;
        let backup = Database::at("backup.db");
        let answered = crowd.tally(|tally| tally.answered.clone());
        let (from, into) = (database.path(), backup.path().display().to_string());
        let taken = tokio::task::spawn_blocking(move || {
            let mut conn = SqliteConnection::establish(from.to_str().unwrap()).unwrap();
            conn.batch_execute(&format!("VACUUM INTO '{into}'")).unwrap();
        });
        taken.await.unwrap();
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
