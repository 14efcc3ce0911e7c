//! Crashes of the program and of the machine. Whatever was answered is there afterwards, exactly once.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_types::Text};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[cfg(target_os = "linux")]
use crate::disk::Disk;
use crate::{
    crowd::{Crowd, short_or_long},
    harness::{Database, signed_in},
    program::{serve, server, started},
};

/// What SQLite finds wrong with a file: nothing.
pub(crate) fn assert_sound(path: &Path) {
    #[derive(QueryableByName)]
    struct Finding {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let found: Vec<Finding> = diesel::sql_query("PRAGMA integrity_check").load(&mut conn).unwrap();
    assert_eq!(found.into_iter().map(|found| found.integrity_check).collect::<Vec<_>>(), ["ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_under_load_loses_nothing_and_doubles_nothing() {
    if signed_in() {
        return;
    }
    let database = Database::new().await;
    let (mut child, address) = serve(&database, &[]).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 24).await;
    for _ in 0..short_or_long(3, 10) {
        crowd.until_answered(60).await;
        child.kill().await.unwrap();
        let begun = Instant::now();
        let (again, address) = serve(&database, &[]).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "ready after {:?}", begun.elapsed());
        child = again;
        crowd.turns_to(address);
    }
    crowd.until_answered(60).await;
    crowd.rests_and_finds_everything().await;
    child.kill().await.unwrap();
    if database.is_sqlite() {
        assert_sound(&database.path());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_that_was_answered() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = Database::new().await;
    let disk = Disk::under(&database);
    let start = async || {
        let mut server = server(&database, &[]);
        disk.carries(&mut server);
        started(server).await
    };
    let (mut child, address) = start().await;
    let mut crowd = Crowd::gathers(&database, address, 8, 24).await;
    for cut in 0..short_or_long(6, 40) {
        // Of different lengths: some fall into the copying of the log into the file.
        crowd.until_answered(40 + usize::try_from(cut * 37 % 200).unwrap()).await;
        child.kill().await.unwrap();
        // Every second time parts of what was not synced are left all the same.
        disk.loses_power((cut % 2 == 1).then(|| ChaCha8Rng::seed_from_u64(cut)));
        let (again, address) = start().await;
        child = again;
        crowd.turns_to(address);
    }
    crowd.until_answered(40).await;
    crowd.rests_and_finds_everything().await;
    child.kill().await.unwrap();
    assert_sound(&database.path());
}
