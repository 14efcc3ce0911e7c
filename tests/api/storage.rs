//! A disk without room, a disk that fails, a file that is gone, and somebody else who holds the database: each has its code, reading goes
//! on, and so does writing once it can.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

#[cfg(target_os = "linux")]
use crate::disk::Disk;
use crate::{
    crashes::assert_sound,
    crowd::{Crowd, short_or_long},
    demo::fill,
    harness::{Chat, Database, Person, SEND, code, signed_in, soon},
    program::{program, run, server, started, terminate},
    upgrades::undo_from,
};

const USERS: &str = "{ users { nodes { id } } }";

/// A server, and the disk under its file; `None` where the suite has nothing to say about that.
#[cfg(target_os = "linux")]
async fn served_from_a_disk(database: &Database) -> Option<(Disk, Child, SocketAddr)> {
    if signed_in() || !database.is_sqlite() {
        return None;
    }
    let disk = Disk::under(database);
    let mut server = server(database, &[]);
    disk.carries(&mut server);
    let (child, address) = started(server).await;
    Some((disk, child, address))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_what_writes_as_long_as_it_fails() {
    let database = Database::new().await;
    let Some((disk, mut child, address)) = served_from_a_disk(&database).await else { return };
    let mut crowd = Crowd::gathers(&database, address, 8, 16).await;
    crowd.until_answered(50).await;
    crowd.failed_only_with(&[]);
    for (fault, status, code) in [
        // ENOSPC, EROFS, EIO
        ("extend 28", 507, "STORAGE_FULL"),
        ("write 28", 507, "STORAGE_FULL"),
        ("write 30", 503, "UNAVAILABLE"),
        ("write 5", 503, "UNAVAILABLE"),
        ("sync 5", 503, "UNAVAILABLE"),
    ] {
        disk.fails(fault);
        let enough = short_or_long(100, 5_000);
        crowd.until(|tally| tally.failures.values().sum::<usize>() >= enough).await;
        let answered = crowd.tally(|tally| tally.answered.len());
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(crowd.reads(USERS).await["data"]["users"]["nodes"].as_array().unwrap().len(), 8);
            assert!(begun.elapsed() < Duration::from_secs(1), "{fault}: {:?}", begun.elapsed());
        }
        assert_eq!(crowd.tally(|tally| tally.answered.len()), answered, "{fault}");
        let ready = async || {
            let answer = soon(reqwest::get(format!("http://{address}/health/ready"))).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (is_ready, why) = soon(async {
            loop {
                // What was found a moment before may still be told.
                let told = ready().await;
                if told.0 != 200 {
                    return told;
                }
            }
        })
        .await;
        assert!(is_ready == 503 && (why.contains("full") || status == 503), "{fault}: {why}");
        crowd.failed_only_with(&[(status, code)]);
        disk.works_again();
        soon(async { while ready().await.0 != 200 {} }).await;
        let begun = Instant::now();
        crowd.until_answered(50).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{fault}: {:?}", begun.elapsed());
        // What was on its way.
        crowd.failed_only_with(&[(status, code)]);
    }
    assert!(child.try_wait().unwrap().is_none());
    crowd.rests_and_finds_everything().await;
    child.kill().await.unwrap();
    assert_sound(&database.path());
}

/// With nothing there yet, and with a database of an earlier release.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_says_so_and_the_next_one_is_fine() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    for is_new in [true, false] {
        if !is_new {
            assert!(run(&["migrate", "--database", &database.url]).await.status.success());
            undo_from(&database, "2026-11-29-000000_index_changes").await;
        }
        let before = fs::read(database.path()).ok();
        let (disk, mut full) = (Disk::under(&database), server(&database, &[]));
        disk.carries(&mut full);
        disk.fails("write 28");
        let ended = soon(full.stderr(Stdio::piped()).output()).await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        let expected = format!("duologue: cannot open the database {}: ", database.path().display());
        assert!(said.starts_with(&expected) && said.contains("No space left on device"), "{said}");
        assert_eq!((ended.status.code(), fs::read(database.path()).ok()), (Some(1), before));
        let (child, _) = started(server(&database, &[])).await;
        assert_eq!(terminate(child).await, Some(0));
        assert_sound(&database.path());
    }
}

/// A program that is started by another one, such as `nohup`.
pub(crate) fn started_by(starter: &[&str], program: &Command) -> Command {
    let (program, mut command) = (program.as_std(), Command::new(starter[0]));
    command.args(&starter[1..]).arg(program.get_program()).args(program.get_args());
    let variables = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables).kill_on_drop(true);
    command
}

/// Files cannot be made larger than a process may make them: it goes on as on a disk that is full, and does not end.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_make_a_file_too_large_fails_and_nothing_else() {
    let (database, large) = (Database::new().await, Database::at("large.db"));
    if signed_in() || !database.is_sqlite() {
        return;
    }
    let limited = |blocks: u64, program: &Command| {
        started_by(&["sh", "-c", &format!("ulimit -f {blocks} && exec \"$0\" \"$@\"")], program)
    };
    fill(&large, 20, 5_000).await;
    let copy = large.folder().join("copy").display().to_string();
    for (command, why) in [("backup", "ulimit -f"), ("export", "File too large")] {
        let ended = soon(limited(512, &program(&[command, &copy, "--database", &large.url])).output()).await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && said.contains(why), "{command}: {said} {:?}", ended.status);
        let left = fs::read_dir(large.folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        assert!(left.into_iter().all(|name| name.starts_with("large.db")), "{command}");
    }

    assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    let blocks = fs::metadata(database.path()).unwrap().len() / 512 + 2_048;
    let (child, address) = started(limited(blocks, &server(&database, &[]))).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 16).await;
    crowd.until(|tally| tally.failures.values().sum::<usize>() >= 100).await;
    crowd.failed_only_with(&[(507, "STORAGE_FULL")]);
    assert_eq!(crowd.reads(USERS).await["data"]["users"]["nodes"].as_array().unwrap().len(), 8);
    assert_eq!(terminate(child).await, Some(0));
    let (mut child, address) = started(server(&database, &[])).await;
    crowd.turns_to(address);
    crowd.until_answered(50).await;
    crowd.rests_and_finds_everything().await;
    child.kill().await.unwrap();
    assert_sound(&database.path());
}

/// What was answered would be lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_a_file_that_is_gone() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("before", &bob).await;
    let (path, away) = (chat.database.path(), chat.database.folder().join("away"));
    for is_replaced in [false, true] {
        fs::rename(&path, &away).unwrap();
        if is_replaced {
            fs::write(&path, "something else").unwrap();
        }
        let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": "lost" });
        assert_eq!(chat.code(SEND, json!({ "input": input })).await, "UNAVAILABLE");
        let why = chat.app.problem().await.unwrap();
        assert!(why.contains("the file of the database is not there any more"), "{why}");
        let why = chat.app.store.remove_remains().await.unwrap_err().to_string();
        assert!(why.starts_with(&format!("{} is not there any more, or another", path.display())), "{why}");
        assert_eq!(chat.texts(&ada, &bob).await.len(), if is_replaced { 2 } else { 1 });
        // Back again, it is as it was.
        fs::rename(&away, &path).unwrap();
        assert_eq!(chat.app.problem().await, None);
        ada.sends("after", &bob).await;
    }
    let (ada, bob) = (ada.id.clone(), bob.id.clone());
    let chat = Chat::on(chat.stop().await, &[]).await;
    let person = |id| Person { chat: &chat, id };
    assert_eq!(chat.texts(&person(ada), &person(bob)).await, ["before", "after", "after"]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_a_change_that_was_undone() {
    let database = Database::new().await;
    let Some((disk, mut child, address)) = served_from_a_disk(&database).await else { return };
    let (http, url) = (reqwest::Client::new(), format!("http://{address}/graphql"));
    let create = async |_: usize| -> Value {
        let create =
            r#"mutation { createUser(input: { name: "x", email: "one@x" }) { user { id } userErrors { code } } }"#;
        soon(async { http.post(&url).json(&json!({ "query": create })).send().await.unwrap().json().await.unwrap() })
            .await
    };
    // They queue behind the lock, and then most of them are one batch. Only the first would find the address free.
    let lock = database.locked().await;
    disk.fails("write 28");
    let unlock = async {
        tokio::task::yield_now().await;
        drop(lock);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all((0..20).map(create)), unlock);
    for answer in answers {
        assert_eq!(code(&answer), "STORAGE_FULL");
    }
    disk.works_again();
    assert!(create(0).await["data"]["createUser"]["user"]["id"].is_string());
    assert_eq!(create(0).await["data"]["createUser"]["userErrors"][0]["code"], "EMAIL_TAKEN");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_the_database_delays_what_writes_and_not_what_reads() {
    if signed_in() {
        return;
    }
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("before", &bob).await;
    let held_for = short_or_long(Duration::ZERO, Duration::from_secs(10));
    let lock = chat.database.locked().await;
    let begun = Instant::now();
    let send = async |number: usize| -> (Value, Duration) {
        let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": "x", "clientId": number.to_string() });
        let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { duplicate } }";
        (chat.ask(query, json!({ "input": input })).await, begun.elapsed())
    };
    let sends = futures_util::future::join_all((0..20).map(send));
    let mut delays = Vec::new();
    let reads = async {
        loop {
            let begun = Instant::now();
            assert_eq!(chat.texts(&ada, &bob).await, ["before"]);
            delays.push(begun.elapsed());
        }
    };
    let answers = tokio::select! {
        answers = async {
            let answers = sends.await;
            // Held for so long at least.
            tokio::time::sleep_until((begun + held_for).into()).await;
            answers
        } => answers,
        () = reads => unreachable!(),
    };
    for (answer, delay) in &answers {
        assert_eq!(code(answer), "DATABASE_BUSY");
        assert!(*delay < Duration::from_secs(15), "{delay:?}");
    }
    delays.sort();
    assert!(delays[delays.len() * 99 / 100] < Duration::from_secs(1), "{:?}", delays.last());
    drop(lock);
    // The same sends again: none of them was done.
    for (answer, _) in futures_util::future::join_all((0..20).map(send)).await {
        assert_eq!(answer["data"]["sendMessage"]["duplicate"], json!(false), "{answer}");
    }
}
