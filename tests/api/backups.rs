//! Backups taken while people send.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rusqlite::{Connection, backup::Backup};
use serde_json::json;

#[cfg(target_os = "linux")]
use crate::disk::Disk;
use crate::{
    accounts::{Member, refresh},
    crashes::assert_sound,
    crowd::{Crowd, short_or_long},
    damage::NEWER,
    demo::fill,
    harness::{ACCOUNTS, Chat, Database, Person, Socket, code, signed_in, soon},
    program::{program, run, serve},
};

/// One message more.
const EXTRA: &str = "INSERT INTO messages (sender_id, receiver_id, content, created_at) VALUES (1, 2, 'one more', 0)";

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

fn duologue(arguments: &[&str], database: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_duologue"));
    command.args(arguments).args(["--database", &format!("sqlite:{}", database.display())]).env_clear();
    command
}

/// How many messages are in a sound file.
fn count(file: &Path) -> i64 {
    assert_sound(file);
    Connection::open(file).unwrap().query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap()
}

/// By the command of the program.
fn command(from: &Path, into: &Path) {
    said(duologue(&["backup", into.to_str().unwrap()], from)).unwrap();
}

/// What the command wrote: on standard output if it did what it should, on standard error otherwise.
fn said(mut command: std::process::Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
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
    for way in [command, vacuum, copy].into_iter().cycle().take(short_or_long(6, 30)) {
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
        said(duologue(&["restore", backup.path().to_str().unwrap()], &restored.path())).unwrap();
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

/// Neither of what is in it nor of its name.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_nothing_of_a_backup_or_a_restore_that_was_answered() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    fill(&database, 20, 5_000).await;
    let disk = Disk::under(&database);
    let file = database.folder().canonicalize().unwrap().join("backup.db");
    let url = format!("sqlite:{}", file.with_file_name("chat.db").display());
    for task in ["backup", "restore"] {
        let mut command = program(&[task, file.to_str().unwrap(), "--database", &url]);
        disk.carries(&mut command);
        assert!(soon(command.status()).await.unwrap().success(), "{task}");
        disk.loses_power(None);
        assert_eq!((count(&file), count(&database.path())), (5_000, 5_000), "{task}");
        // What is restored has one message less.
        Connection::open(database.path()).unwrap().execute_batch(EXTRA).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_what_was_there_and_clients_begin_anew() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("one", &bob).await;
    let deleted = ada.sends("a text that is deleted", &bob).await;
    ada.deletes(&deleted).await;
    let (path, folder) = (chat.database.path(), tempfile::tempdir().unwrap());
    let backup = folder.path().join("chat.db");
    let shown = backup.to_str().unwrap();
    assert_eq!(said(duologue(&["backup", shown], &path)).unwrap(), format!("Everything is in {shown}."));
    let again = said(duologue(&["backup", shown], &path)).unwrap_err();
    assert_eq!(again, format!("duologue: {shown} is there already: name another file"));
    assert!(!String::from_utf8_lossy(&fs::read(&backup).unwrap()).contains("a text that is deleted"));
    let mode = fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");

    let (ada_id, bob_id) = (ada.id.clone(), bob.id.clone());
    ada.sends("after the backup", &bob).await;
    let cursor = chat.data("query ($user: ID) { feedCursor(userId: $user) }", json!({ "user": ada_id })).await;
    let after = json!({ "user": ada_id, "after": cursor["feedCursor"] });
    let database = chat.stop().await;
    let before = fs::read(&backup).unwrap();
    let restored = said(duologue(&["restore", shown], &path)).unwrap();
    assert_eq!(fs::read(&backup).unwrap(), before, "the backup stays as it is");
    let former = restored.lines().nth(1).unwrap().strip_prefix("What was there before is kept in ").unwrap();
    let former = Path::new(former.strip_suffix('.').unwrap());
    assert!(former.starts_with(path.parent().unwrap()));
    assert_sound(former);

    let chat = Chat::on(database, &[]).await;
    let [ada, bob] = [ada_id, bob_id].map(|id| Person { chat: &chat, id });
    assert_eq!(chat.texts(&ada, &bob).await, ["one"]);
    let feed = "subscription ($user: ID, $after: String) { feed(userId: $user, after: $after) { kind } }";
    let mut socket = Socket::ready(&chat).await;
    socket.subscribes("1", feed, after).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "RESET");
    let listed = run(&["audit", "--database", &chat.database.url]).await;
    assert!(String::from_utf8(listed.stdout).unwrap().ends_with("\toperator\t-\trestore\t-\t-\n"));
    // It goes on where it was.
    ada.sends("two", &bob).await;
    assert_eq!(chat.texts(&ada, &bob).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_is_refused_and_nothing_is_changed() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    if !database.is_sqlite() {
        for task in ["backup", "restore"] {
            let error = crate::program::error(&[task, "file.db", "--database", &database.url]).await;
            assert!(error.contains("pg_dump") && !error.contains("://"), "{error}");
        }
        return;
    }
    let (mut server, _) = serve(&database, &[]).await;
    let (path, folder) = (database.path(), tempfile::tempdir().unwrap());
    let backup = folder.path().join("backup.db");
    command(&path, &backup);
    let restore = |file: &Path| said(duologue(&["restore", file.to_str().unwrap()], &path)).unwrap_err();
    assert!(restore(&backup).contains("is in use by process"));
    server.kill().await.unwrap();

    let state = || -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let ours = entries.filter(|entry| entry.to_str().unwrap().starts_with(path.to_str().unwrap()));
        let mut files: Vec<_> = ours.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect();
        files.retain(|(name, _)| !name.ends_with("-server") && !name.ends_with("-shm"));
        files.sort();
        files
    };
    let before = state();
    let other = folder.path().join("other.db");
    let refused = |file: &Path, why: &str| {
        let error = restore(file);
        assert!(error.contains(why) && error.contains(file.to_str().unwrap()) && error.lines().count() == 1, "{error}");
        assert_eq!(state(), before, "{error}");
    };
    refused(&other, "there is no backup");
    fs::write(&other, "").unwrap();
    refused(&other, "there is no database");
    fs::write(&other, "a text".repeat(1_000)).unwrap();
    refused(&other, "it is damaged, or none");
    let mut damaged = fs::read(&backup).unwrap();
    let end = damaged.len();
    damaged[end / 2..end / 2 + 8_192].fill(0x55);
    fs::write(&other, &damaged).unwrap();
    refused(&other, "is damaged");
    fs::write(&other, &damaged[..end / 2 / 4_096 * 4_096]).unwrap();
    refused(&other, "is damaged");
    Connection::open(folder.path().join("foreign.db")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    refused(&folder.path().join("foreign.db"), "another program");
    fs::copy(&backup, &other).unwrap();
    Connection::open(&other).unwrap().execute_batch(NEWER).unwrap();
    refused(&other, "newer");
    said(duologue(&["restore", backup.to_str().unwrap()], &path)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_backups_with_a_time_the_newest_are_kept() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    let folder = tempfile::tempdir().unwrap();
    for other in [
        "chat-20260101T000000Z.db",
        "chat-20260102T000000Z.db",
        "chat-of-mine.db",
        "chat.db",
        "chat-20260103T000000Z.txt",
    ] {
        fs::write(folder.path().join(other), "").unwrap();
    }
    let file = folder.path().join("chat.db");
    said(duologue(&["backup", "--keep", "2", file.to_str().unwrap()], &database.path())).unwrap();
    let names = || -> BTreeSet<String> {
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let kept =
        ["chat-20260102T000000Z.db", "chat-20260103T000000Z.txt", "chat-of-mine.db", "chat.db"].map(str::to_owned);
    let new: Vec<_> = names().difference(&BTreeSet::from(kept.clone())).cloned().collect();
    assert_sound(&folder.path().join(&new[0]));
    assert!(new.len() == 1 && kept.iter().all(|name| names().contains(name)), "{:?}", names());
    // The new one stays, whatever the clock says of the others.
    fs::remove_file(folder.path().join(&new[0])).unwrap();
    fs::write(folder.path().join("chat-29990101T000000Z.db"), "").unwrap();
    let made = said(duologue(&["backup", "--keep", "1", file.to_str().unwrap()], &database.path())).unwrap();
    assert!(Path::new(made.trim_start_matches("Everything is in ").trim_end_matches('.')).exists(), "{made}");
    assert_eq!(names().iter().filter(|name| name.starts_with("chat-2") && name.ends_with("Z.db")).count(), 1);
    // The database itself may have such a name, and so may what its own leads to.
    let [served, link] = ["chat-20260104T000000Z.db", "duologue.db"].map(|name| folder.path().join(name));
    fs::copy(database.path(), &served).unwrap();
    std::os::unix::fs::symlink(&served, &link).unwrap();
    for database in [&served, &link] {
        said(duologue(&["backup", "--keep", "1", file.to_str().unwrap()], database)).unwrap();
        assert_sound(&served);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_keeps_what_was_there_and_refuses_what_others_use() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    fill(&database, 3, 5).await;
    let (path, folder) = (database.path(), tempfile::tempdir().unwrap());
    let backup = folder.path().join("backup.db");
    command(&path, &backup);
    let restore = || said(duologue(&["restore", backup.to_str().unwrap()], &path));
    let aside = |said: &str| -> PathBuf {
        said.lines()
            .nth(1)
            .unwrap()
            .trim_start_matches("What was there before is kept in ")
            .trim_end_matches('.')
            .into()
    };

    // Somebody else would go on with the former file.
    let other = Connection::open(&path).unwrap();
    other.execute_batch(EXTRA).unwrap();
    assert!(restore().unwrap_err().contains("held by another process"));
    drop(other);
    assert_eq!(count(&path), 6);
    // Also within a second each former file has a name of its own.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let first = aside(&restore().unwrap());
    let second = aside(&restore().unwrap());
    assert_eq!((count(&first), count(&second), count(&path)), (6, 5, 5));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    // What an interrupted restore left may be taken for a backup.
    let part = PathBuf::from(format!("{}.part", path.display()));
    fs::copy(&backup, &part).unwrap();
    let error = said(duologue(&["restore", part.to_str().unwrap()], &path)).unwrap_err();
    assert!(error.contains("would be overwritten") && part.exists(), "{error}");
    // The log of a file that is gone belongs to no other one.
    for ending in ["-wal", "-journal"] {
        fs::remove_file(&path).unwrap();
        let log = PathBuf::from(format!("{}{ending}", path.display()));
        fs::write(&log, "a log").unwrap();
        restore().unwrap();
        assert!(count(&path) == 5 && !log.exists());
    }
    // What cannot be read any more is kept as it is.
    fs::write(&path, "nothing that can be read").unwrap();
    assert_eq!(fs::read(aside(&restore().unwrap())).unwrap(), b"nothing that can be read");
    // A link is not followed: it could lead to a file of somebody else.
    let precious = folder.path().join("precious");
    fs::write(&precious, "something else").unwrap();
    std::os::unix::fs::symlink(&precious, &part).unwrap();
    assert!(restore().unwrap_err().contains("cannot write"));
    assert_eq!(fs::read(&precious).unwrap(), b"something else");
}

/// Whenever it is killed, a backup is there whole or not at all, and the database is the former one or the restored one.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_the_old_file_or_the_new_one() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    fill(&database, 20, 20_000).await;
    let (path, folder) = (database.path(), tempfile::tempdir().unwrap());
    let whole = folder.path().join("whole.db");
    let begun = Instant::now();
    command(&path, &whole);
    let backup_time = begun.elapsed();
    let (all, backup) = (count(&whole), folder.path().join("backup.db"));
    // Kills the command after a part of the time that it takes; gives whether it was done before.
    let killed = |mut command: std::process::Command, after: Duration| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = tokio::process::Command::from(command).spawn().unwrap();
        async move {
            match tokio::time::timeout(after, child.wait()).await {
                Ok(_) => true,
                Err(_elapsed) => {
                    child.kill().await.unwrap();
                    false
                }
            }
        }
    };
    let parts = u32::try_from(short_or_long(8, 40)).unwrap();
    for part in 0..parts {
        let done = killed(duologue(&["backup", backup.to_str().unwrap()], &path), backup_time * part / parts).await;
        assert!(backup.exists() || !done);
        if backup.exists() {
            assert_eq!(count(&backup), all);
            fs::remove_file(&backup).unwrap();
        }
    }
    for part in 0..parts {
        // One message more is in the database than in the backup.
        Connection::open(&path).unwrap().execute_batch(EXTRA).unwrap();
        let there = count(&path);
        let done = killed(duologue(&["restore", whole.to_str().unwrap()], &path), backup_time * part / parts).await;
        let left = count(&path);
        assert!(left == all || (left == there && !done), "{left} of {there} and {all}, {done}");
    }
}

/// Their tokens are signed with the same key, and say which session they are of.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_not_in_a_backup_are_nobodys() {
    let database = Database::new().await;
    if signed_in() || !database.is_sqlite() {
        return;
    }
    let chat = Chat::on(database, &ACCOUNTS).await;
    let backup = Database::at("backup.db");
    command(&chat.database.path(), &backup.path());
    let eve = Member::signs_up(&chat, "Eve").await;
    let database = chat.stop().await;
    said(duologue(&["restore", backup.path().to_str().unwrap()], &database.path())).unwrap();
    let chat = Chat::on(database, &ACCOUNTS).await;
    let bob = Member::signs_up(&chat, "Bob").await;
    assert_eq!(bob.id, eve.id);
    let answer = eve.asks(&chat, "{ messages { nodes { id } } }", json!({})).await;
    assert_eq!(code(&answer), "UNAUTHENTICATED");
    assert_eq!(refresh(&chat, &eve.refresh).await["userErrors"][0]["code"], "TOKEN_EXPIRED");
    assert!(bob.is_signed_in(&chat).await);
}
