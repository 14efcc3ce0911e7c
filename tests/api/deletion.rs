//! What is deleted is deleted: no byte of it is left in the SQLite file, in its log, or in a backup.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aho_corasick::AhoCorasick;
use duologue::{
    app::App,
    domain::changes,
    model::texts::ClientId,
    store::{self, Removal},
};
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    backups::{copy, vacuum},
    crashes::assert_sound,
    crowd::short_or_long,
    harness::{Chat, Database, Person, authorization, client, soon, text},
    program::serve,
    upgrades::undo_from,
};

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Waits until what was deleted is removed.
pub(crate) async fn removes(app: &App) {
    soon(async { while app.store.remove_remains().await.unwrap() != Removal::Done {} }).await;
}

/// Whoever closes a file and sees no locks of others deletes its log, whoever still writes to it.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_locks_of_a_file_stay_when_what_was_deleted_is_removed() {
    use std::os::unix::fs::MetadataExt;

    let database = Database::new().await;
    if !database.is_sqlite() {
        return;
    }
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let is_locked = || {
        let holder = format!("POSIX ADVISORY READ {}", std::process::id());
        let file = format!(":{} ", fs::metadata(database.path()).unwrap().ino());
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let mut locks = locks.lines().map(|lock| lock.split_whitespace().collect::<Vec<_>>().join(" "));
        locks.any(|lock| lock.contains(&holder) && lock.contains(&file))
    };
    assert!(is_locked());
    removes(&app).await;
    assert!(is_locked());
    app.close().await;
    assert!(!is_locked());
}

/// Which of these texts are in the file, its log, or a backup.
pub(crate) fn left_of<'a>(texts: &'a [String], path: &Path) -> Vec<&'a String> {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend(fs::read(log_of(path)).unwrap_or_default());
    for way in [vacuum, copy] {
        let backup = Database::at("backup.db");
        way(path, &backup.path());
        bytes.extend(fs::read(backup.path()).unwrap());
    }
    let searched = AhoCorasick::new(texts).unwrap();
    let found: BTreeSet<_> = searched.find_overlapping_iter(&bytes).map(|found| found.pattern()).collect();
    found.into_iter().map(|text| &texts[text]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_in_no_byte_of_the_database() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    // Each of its own: long ones fill pages of their own.
    let text_of = |what: &str, number: usize| {
        let secret = format!("<{what} {number}>");
        let filler = "x".repeat([0, 10, 300, 3_000, 9_000][number % 5]);
        (secret.clone(), format!("{secret}{filler}"))
    };
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    let mut sent = Vec::new();
    for number in 0..60 {
        let (secret, content) = text_of("first", number);
        let input = json!({ "receiverId": bob.id, "content": content, "clientId": format!("client {number}") });
        sent.push(text(&ada.tries_to_send(input).await["message"]["id"]));
        gone.push(secret);
    }
    for (number, id) in sent.iter().enumerate() {
        if number % 2 == 0 {
            let (secret, content) = text_of("second", number / 2);
            ada.edits(id, &content).await;
            kept.push(secret);
        } else {
            ada.deletes(id).await;
        }
    }
    let (mut leavers, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let name = format!("Leaver{number:02}");
        let leaver = chat.person(&name).await;
        let (secret, content) = text_of("last words", number);
        let client_id = format!("<client{number}>");
        leaver.tries_to_send(json!({ "receiverId": ada.id, "content": content, "clientId": client_id })).await;
        // Searches find the name in lower case.
        let device = format!("<device{number}>");
        let session = format!(
            "INSERT INTO sessions (user_id, device, refresh_hash, created_at, last_used_at, expires_at, ended_at)
             VALUES ({}, '{device}', randomblob(32), 1, 1, 1, 1)",
            &leaver.id[4..]
        );
        drop(chat.database.run(&session).await);
        theirs.extend([secret, name.to_lowercase(), client_id, device, name]);
        if number % 2 == 0 {
            let rename = "mutation ($id: ID!, $name: String!, $email: String!) {
                updateUser(id: $id, input: { name: $name, email: $email }) { userErrors { code } }
            }";
            let (name, address) = (format!("Renamed{number:02}"), format!("Address{number:02}"));
            let email = format!("{address}@example.com");
            chat.data(rename, json!({ "id": leaver.id, "name": name, "email": email })).await;
            theirs.extend([name.to_lowercase(), name, address.to_lowercase(), address]);
        }
        leavers.push(leaver);
    }
    let path = chat.database.path();
    assert_eq!(left_of(&theirs, &path).len(), theirs.len(), "a text that is never there shows nothing");
    gone.extend(theirs);
    for leaver in &leavers {
        leaver.leaves(true).await;
    }
    changes::finish_all(&chat.app).await.unwrap();
    removes(&chat.app).await;
    assert_eq!(fs::metadata(log_of(&path)).unwrap().len(), 0);
    assert_eq!(left_of(&gone, &path), [""; 0]);
    assert_eq!(left_of(&kept, &path).len(), kept.len());
    // Nor is it after the end.
    let database = chat.stop().await;
    assert_eq!(left_of(&gone, &database.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_emptied_once_nobody_reads_in_it_and_nobody_waits_for_that() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("<a secret>", &bob).await;
    let reader = Connection::open(chat.database.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages").unwrap();
    ada.deletes(&id).await;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let sending = async {
            let begun = Instant::now();
            ada.sends("meanwhile", &bob).await;
            longest = longest.max(begun.elapsed());
        };
        let (removal, ()) = tokio::join!(chat.app.store.remove_remains(), sending);
        assert_eq!(removal.unwrap(), Removal::Blocked);
    }
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    reader.execute_batch("COMMIT").unwrap();
    removes(&chat.app).await;
    assert_eq!(left_of(&["<a secret>".into()], &chat.database.path()), [""; 0]);
    // With nothing in it nothing is done.
    let before = chat.app.store.statements();
    removes(&chat.app).await;
    assert_eq!(chat.app.store.statements(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_empties_the_log_by_itself() {
    let database = Database::new().await;
    if !database.is_sqlite() {
        return;
    }
    let http = client(authorization(&database).await.as_deref());
    let ask = async |address: std::net::SocketAddr, query: &str| -> Value {
        let asking = http.post(format!("http://{address}/graphql")).json(&json!({ "query": query })).send();
        soon(async { asking.await.unwrap().json().await.unwrap() }).await
    };
    let (mut child, address) = serve(&database, &[]).await;
    for name in ["Ada", "Bob"] {
        let make =
            format!(r#"mutation {{ createUser(input: {{ name: "{name}", email: "{name}@x" }}) {{ user {{ id }} }} }}"#);
        ask(address, &make).await;
    }
    let send =
        r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "<a secret>" }) { message { id } } }"#;
    let deletes = async || {
        let id = text(&ask(address, send).await["data"]["sendMessage"]["message"]["id"]);
        ask(address, &format!(r#"mutation {{ deleteMessage(id: "{id}") {{ deletedId }} }}"#)).await;
    };
    deletes().await;
    let (begun, secret) = (Instant::now(), ["<a secret>".to_owned()]);
    soon(async {
        while !left_of(&secret, &database.path()).is_empty() {
            // Whoever reads stands in its way.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(begun.elapsed() < Duration::from_mins(1));
    deletes().await;
    // Whoever closes a file that nobody else has open empties the log too: here it is to be the server that goes on.
    let open = Connection::open(database.path()).unwrap();
    open.execute_batch("SELECT count(*) FROM messages").unwrap();
    child.kill().await.unwrap();
    // What a crash has left is emptied first of all.
    assert!(fs::metadata(log_of(&database.path())).unwrap().len() > 0);
    let (mut child, _) = serve(&database, &[]).await;
    soon(async {
        while fs::metadata(log_of(&database.path())).unwrap().len() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(open);
    assert_eq!(left_of(&["<a secret>".into()], &database.path()), [""; 0]);
    child.kill().await.unwrap();
}

/// What is stored of an earlier send: whether there is its text, and a digest of it.
async fn stored(chat: &Chat, client_id: &str) -> (bool, bool) {
    let client_id = ClientId::parse(client_id.into()).unwrap();
    let find =
        move |conn: &mut store::Conn<'_>| store::messages::earlier_send(conn, "usr_1".parse().unwrap(), &client_id);
    let earlier = chat.app.store.read(find).await.unwrap().unwrap();
    (earlier.content.is_some(), earlier.digest.is_some())
}

/// With a digest one could try out what the text was.
#[tokio::test(flavor = "multi_thread")]
async fn no_digest_is_kept_of_a_deleted_text() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let eve = chat.person("Eve").await;
    let send = async |to: &Person<'_>, content: &str| {
        ada.tries_to_send(json!({ "receiverId": to.id, "content": content, "clientId": "x" })).await
    };
    send(&bob, "Hi").await;
    assert_eq!(stored(&chat, "x").await, (true, false));
    for text in ["Hello", "Good day"] {
        ada.edits("msg_1", text).await;
        assert_eq!(stored(&chat, "x").await, (true, true));
        // The first text counts.
        assert_eq!(send(&bob, "Hi").await["message"]["id"], "msg_1");
        assert_eq!(send(&bob, text).await["userErrors"][0]["code"], "CLIENT_ID_REUSED");
    }
    ada.deletes("msg_1").await;
    assert_eq!(stored(&chat, "x").await, (false, false));
    // So that nobody learns what it was, it may be any text now.
    for text in ["Hi", "another"] {
        assert_eq!(send(&bob, text).await, json!({ "message": null, "duplicate": true, "userErrors": [] }));
    }
    assert_eq!(send(&eve, "Hi").await["userErrors"][0]["code"], "CLIENT_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_of_deleted_texts_of_earlier_versions_go_with_the_update() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for (number, content) in ["one", "two"].iter().enumerate() {
        let input = json!({ "receiverId": bob.id, "content": content, "clientId": number.to_string() });
        ada.tries_to_send(input).await;
    }
    ada.edits("msg_2", "two!").await;
    ada.deletes("msg_1").await;
    let database = chat.stop().await;
    undo_from(&database, "2026-11-26-000003_erasures").await;
    let old = if database.is_sqlite() { "x'00'" } else { "'\\x00'" };
    drop(database.run(&format!("UPDATE messages SET client_digest = {old} WHERE content = ''")).await);
    let chat = Chat::on(database, &[]).await;
    assert_eq!((stored(&chat, "0").await, stored(&chat, "1").await), ((false, false), (true, true)));
}

/// SQLite moves rows within pages, and leaves copies of them there.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_sqlite_made_of_rows_are_removed_too_and_nothing_else() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (_ada, _bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let path = chat.database.path();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (mut live, mut gone): (Vec<(i64, String)>, _) = (Vec::new(), Vec::new());
    // As the server changes them; more than one could send here.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA secure_delete = ON; PRAGMA synchronous = OFF; BEGIN").unwrap();
    for number in 1..=short_or_long(6_000, 60_000) {
        let secret = format!("<text {number}>");
        let filler = "x".repeat(*[0, 20, 60, 200, 900, 6_000].choose(&mut random).unwrap());
        let other = random.random_range(0..live.len().max(1));
        match (random.random_range(0..20), live.get(other).map(|(id, _)| *id)) {
            (10..15, Some(id)) => {
                conn.execute("UPDATE messages SET content = ? WHERE id = ?", (format!("{secret}{filler}"), id))
                    .unwrap();
                gone.push(std::mem::replace(&mut live[other].1, secret));
            }
            (15..20, Some(id)) => {
                conn.execute("UPDATE messages SET content = '', deleted_at = 1 WHERE id = ?", [id]).unwrap();
                gone.push(live.swap_remove(other).1);
            }
            _ => {
                let insert = "INSERT INTO messages (sender_id, receiver_id, content, client_id, created_at) VALUES (1, 2, ?, ?, 0)";
                let client_id = random.random::<u64>().to_string();
                conn.execute(insert, (format!("{secret}{filler}"), client_id)).unwrap();
                live.push((conn.last_insert_rowid(), secret));
            }
        }
    }
    conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let live: Vec<String> = live.into_iter().map(|(_, text)| text).collect();
    assert!(!left_of(&gone, &path).is_empty(), "nothing to remove");
    // They are looked for when something was written.
    chat.person("Eve").await;
    removes(&chat.app).await;
    assert_eq!(left_of(&gone, &path), [""; 0]);
    assert_eq!(left_of(&live, &path).len(), live.len());
    assert_sound(&path);
    drop(conn);
    let data = chat.data("{ messages(last: 1) { nodes { content } } }", json!({})).await;
    assert!(text(&data["messages"]["nodes"][0]["content"]).starts_with("<text "));
}
