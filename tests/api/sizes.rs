//! What a large database must not make slow: a start, and the update of a database of an earlier release.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    crowd::short_or_long,
    harness::{Database, client, signed_in, soon},
    program::{program, run, serve, terminate},
    upgrades::{FEED, undo_from},
};

/// With demo data.
async fn fill(database: &Database, messages: u64) {
    let demo = ["demo", "--users", "200", "--messages", &messages.to_string(), "--database", &database.url];
    let done = tokio::time::timeout(Duration::from_mins(5), program(&demo).output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// How long it takes from the start of a server to its first answer.
async fn start(database: &Database) -> Duration {
    let begun = Instant::now();
    let (child, address) = serve(database, &[]).await;
    let query = json!({ "query": "{ server { version } }" });
    let answer = soon(client(None).post(format!("http://{address}/graphql")).json(&query).send()).await.unwrap();
    assert!(answer.status().is_success());
    let took = begun.elapsed();
    assert_eq!(terminate(child).await, Some(0));
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_no_longer_with_a_large_file() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let (small, large) = (Database::at("small.db"), Database::at("large.db"));
    for database in [&small, &large] {
        fill(database, 1_000).await;
    }
    // A table of which nobody knows anything.
    drop(large.run("CREATE TABLE padding (bytes BLOB NOT NULL)").await);
    let megabytes = short_or_long(200, 2_000);
    for _ in 0..megabytes / 50 {
        let fifty = "INSERT INTO padding WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50)
            SELECT zeroblob(1000000) FROM numbers";
        drop(large.run(fifty).await);
    }
    assert!(fs::metadata(large.path()).unwrap().len() > megabytes * 1_000_000);
    let [mut of_small, mut of_large] = [Duration::MAX; 2];
    for _ in 0..5 {
        of_small = of_small.min(start(&small).await);
        of_large = of_large.min(start(&large).await);
    }
    assert!(of_large < of_small + Duration::from_millis(50), "{of_large:?}, and {of_small:?} with a small file");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_many_messages_takes_seconds_and_loses_nothing() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    fill(&database, short_or_long(5_000, 200_000)).await;
    let exported = async || run(&["export", "-", "--database", &database.url]).await.stdout;
    let before = exported().await;
    undo_from(&database, FEED).await;
    let begun = Instant::now();
    assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!before.is_empty() && exported().await == before);
}
