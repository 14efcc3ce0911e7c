//! What `duologue check`, the start and the check in the background look at, and what is said of what they find.

use std::{fs, process::Stdio, time::Duration};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use duologue::store::{DatabaseUrl, Store};

use crate::{
    damage::{PAGE, bytes, filled, middle, refusal, serve},
    harness::{Chat, Database, signed_in, soon},
    program::{run, started, terminate},
};

/// Whether `duologue check` finds the file sound, and what it says of it.
async fn checked(database: &Database) -> (bool, String) {
    let output = run(&["check", "--no-embeddings", "--listen", "127.0.0.1:0", "--database", &database.url]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("database: ")).unwrap();
    (output.status.success(), line.to_owned())
}

/// As a server leaves the file that was killed when nothing was in its log.
fn as_if_killed(database: &Database) {
    fs::write(format!("{}-wal", database.path().display()), "").unwrap();
}

/// Changes bytes of the file, which stays the same file.
fn overwrite(database: &Database, change: impl FnOnce(&mut Vec<u8>)) {
    let mut file = fs::read(database.path()).unwrap();
    change(&mut file);
    fs::write(database.path(), file).unwrap();
}

/// The first page of the list of free pages.
fn first_free(database: &Database) -> usize {
    let file = fs::read(database.path()).unwrap();
    u32::from_be_bytes(file[32..36].try_into().unwrap()) as usize
}

const FREE_PAGES: &str = "
    CREATE TABLE large (x);
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 60)
    INSERT INTO large SELECT randomblob(3000) FROM numbers;
    DROP TABLE large;
";

#[tokio::test(flavor = "multi_thread")]
async fn free_pages_are_checked_like_all_others() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    drop(database.run(FREE_PAGES).await);
    assert!(checked(&database).await.0);
    let page = first_free(&database);
    let chat = Chat::on(database, &[]).await;
    overwrite(&chat.database, |file| file[(page - 1) * PAGE..page * PAGE].fill(0xff));
    chat.app.check_database(Duration::ZERO).await;
    assert!(chat.app.problem().await.unwrap().contains("damaged"));
    let database = chat.stop().await;
    let (is_sound, said) = checked(&database).await;
    assert!(!is_sound && said.contains("is damaged (Freelist: "), "{said}");
    as_if_killed(&database);
    let said = refusal(serve(&database)).await;
    assert!(said.contains("is damaged (Freelist: ") && said.contains("restore a backup"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_of_words_is_found_and_made_anew() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let reindex = ["reindex", "--words", "--no-embeddings", "--database", &database.url];
    assert!(run(&reindex).await.status.success());
    assert!(checked(&database).await.0);
    drop(database.run("UPDATE message_words_data SET block = randomblob(length(block)) WHERE id > 10").await);
    let advice = "then try `duologue reindex --words` first";
    let (is_sound, said) = checked(&database).await;
    assert!(!is_sound && said.contains("is damaged (") && said.contains(advice), "{said}");
    as_if_killed(&database);
    let said = refusal(serve(&database)).await;
    assert!(said.contains(database.path().to_str().unwrap()) && said.contains(advice), "{said}");
    fs::remove_file(format!("{}-wal", database.path().display())).unwrap();
    let mut server = serve(&database);
    let log = database.folder().join("log");
    server.args(["--check-after", "0.1"]).stderr(fs::File::create(&log).unwrap());
    let (child, _) = started(server).await;
    soon(async {
        while !fs::read_to_string(&log).unwrap().contains("ERROR") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(terminate(child).await, Some(0));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("is damaged (") && said.contains(advice), "{said}");
    assert!(run(&reindex).await.status.success());
    let (is_sound, said) = checked(&database).await;
    assert!(is_sound, "{said}");
}

/// The index can be made anew, the rest cannot. The row 10 says what the index consists of.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_damaged_index_of_words_is_copied_and_mended() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    for damage in ["randomblob(length(block)) WHERE id > 10", "x'ffffffffffffffffffffffffffffffff' WHERE id = 10"] {
        let database = filled().await;
        let on = async |arguments: &[&str]| run(&[arguments, &["--database", &database.url]].concat()).await;
        assert!(on(&["reindex", "--words", "--no-embeddings"]).await.status.success());
        drop(database.run(&format!("UPDATE message_words_data SET block = {damage}")).await);
        let copy = database.folder().join("copy.db");
        for task in ["backup", "restore"] {
            let done = on(&[task, copy.to_str().unwrap()]).await;
            assert!(done.status.success(), "{task}: {}", String::from_utf8_lossy(&done.stderr));
            let (is_sound, said) = checked(&database).await;
            assert!(!is_sound && said.contains("then try `duologue reindex --words` first"), "{said}");
        }
        as_if_killed(&database);
        let said = refusal(serve(&database)).await;
        assert!(said.contains("then try `duologue reindex --words` first"), "{said}");
        fs::remove_file(format!("{}-wal", database.path().display())).unwrap();
        assert!(on(&["reindex", "--words", "--no-embeddings"]).await.status.success());
        let (is_sound, said) = checked(&database).await;
        assert!(is_sound, "{said}");
    }
}

/// SQLite would compare what it remembers of the index with what is there now.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_words_that_changes_meanwhile_is_sound() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    assert!(run(&["reindex", "--words", "--no-embeddings", "--database", &database.url]).await.status.success());
    let mut other = SqliteConnection::establish(database.path().to_str().unwrap()).unwrap();
    // With something in the log all tables are read twice.
    other.batch_execute("UPDATE users SET name = name || '!'").unwrap();
    let url: DatabaseUrl = database.url.parse().unwrap();
    let change = move |table, _| {
        let insert = format!("INSERT INTO message_words (rowid, words) VALUES ({}, 'word{table}')", 1_000_000 + table);
        other.batch_execute(&insert).unwrap();
    };
    assert!(Store::check(&url, change).await.unwrap().is_some());
}

/// The log of a server that runs is emptied again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_beside_an_empty_log_was_not_closed() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let middle = middle(&database);
    overwrite(&database, |file| file[middle..middle + PAGE].fill(0));
    as_if_killed(&database);
    let before = bytes(&database);
    for _ in 0..2 {
        let said = refusal(serve(&database)).await;
        assert!(said.contains("damaged") && said.contains("nothing was changed"), "{said}");
        assert!(bytes(&database) == before);
    }
}

/// A start that nobody interrupted before it reads little of the file, but its migrations may meet what is damaged.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_migrations_meet_is_told_with_the_file() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let no_text = "UPDATE users SET name = CAST(x'ff' AS TEXT) WHERE id = 1";
    for (change, told) in [("", "it is damaged"), (no_text, "failed: ")] {
        let database = filled().await;
        drop(database.run(change).await);
        if change.is_empty() {
            let root = root_of_users(&database);
            overwrite(&database, |file| file[(root - 1) * PAGE..root * PAGE].fill(0));
        }
        let before = bytes(&database);
        let ended = soon(serve(&database).output()).await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let last = said.lines().last().unwrap();
        let path = database.path().display().to_string();
        assert!(last.starts_with("duologue: ") && last.contains(&path) && last.contains(told), "{said}");
        assert!(last.contains("restore a backup"), "{said}");
        assert_eq!(said.matches("ERROR").count(), usize::from(change.is_empty()), "{said}");
        assert!(bytes(&database)[0] == before[0]);
    }
}

/// The number of the page where the table of users begins.
fn root_of_users(database: &Database) -> usize {
    let conn = rusqlite::Connection::open(database.path()).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'users'";
    conn.query_row(root, [], |row| row.get::<_, u16>(0)).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_served_before_it_is_checked() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let database = filled().await;
    let middle = middle(&database);
    // 280 MiB, of which hardly anything is on the disk: pages that belong to nothing.
    let pages = 70_000_u32;
    overwrite(&database, |file| file[28..32].copy_from_slice(&pages.to_be_bytes()));
    let file = fs::OpenOptions::new().write(true).open(database.path()).unwrap();
    file.set_len(u64::from(pages) * PAGE as u64).unwrap();
    let mut conn = SqliteConnection::establish(database.path().to_str().unwrap()).unwrap();
    conn.batch_execute("PRAGMA wal_autocheckpoint = 0; UPDATE users SET name = name || '!'").unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; PAGE], middle as u64).unwrap();
    assert!(fs::metadata(format!("{}-wal", database.path().display())).unwrap().len() > 0);
    let mut server = serve(&database);
    server.args(["--check-after", "0.1"]).stderr(Stdio::null());
    let (child, address) = started(server).await;
    let why = soon(async {
        loop {
            let answer = reqwest::get(format!("http://{address}/health/ready")).await.unwrap();
            if answer.status() != 200 {
                return answer.text().await.unwrap();
            }
        }
    })
    .await;
    assert!(why.contains("the database is damaged"), "{why}");
    assert_eq!(terminate(child).await, Some(0));
    drop(conn);
}
