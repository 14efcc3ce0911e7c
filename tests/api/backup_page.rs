//! What docs/how-to/backup.md says, done as it says it: backups of both databases, made while a server runs, and restores.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use duologue::model::timestamps::Timestamp;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    harness::{Chat, Database, Person, signed_in, soon},
    litestream::{blocks_in, hears_reset, path},
    outages::Cluster,
    program::run,
    resume::cursor,
};

const PAGE: &str = include_str!("../../docs/how-to/backup.md");
const AFTER: &str = "after the restore";

/// Runs a block of the page in a folder; gives what it prints.
async fn runs(block: &str, folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", block]).current_dir(folder).env_clear().env("PATH", path(&[]));
    let output = soon(command.envs(variables.iter().copied()).output()).await.unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{block}: {}{}", said(output.stdout), said(output.stderr));
    said(output.stdout)
}

/// The names of the files in a folder that begin and end like this, in order.
fn files(folder: &Path, beginning: &str, end: &str) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names.filter(|name| name.starts_with(beginning) && name.ends_with(end)).collect();
    files.sort();
    files
}

/// Ada and Bob, who were made first.
fn people(chat: &Chat) -> [Person<'_>; 2] {
    ["usr_1", "usr_2"].map(|id| Person { chat, id: id.to_owned() })
}

/// A server on the restored database, and what the two people have said there. Whoever comes back is told to begin anew, also when
/// as much was sent as was lost.
async fn restored(database: Database, after: &Value) -> (Chat, Vec<String>) {
    let chat = Chat::on(database, &[]).await;
    let [ada, bob] = people(&chat);
    let texts = chat.texts(&ada, &bob).await;
    ada.sends(AFTER, &bob).await;
    hears_reset(chat.address, after).await;
    (chat, texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backups_of_a_sqlite_file_are_made_and_restored() {
    if signed_in() || !Database::new().await.is_sqlite() {
        return;
    }
    let [backup, restore, audit, _, _] = blocks_in(PAGE, "sh")[..] else { panic!("other blocks") };
    let [cron] = blocks_in(PAGE, "text")[..] else { panic!("other blocks") };
    // The folder is another one here.
    let (_, nightly) = cron.split_once("cd /var/lib/duologue && ").unwrap();
    let chat = Chat::on(Database::at("duologue.db"), &[]).await;
    let folder = chat.database.folder().to_owned();
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("one", &bob).await;
    runs(backup, &folder, &[]).await;
    ada.sends("two", &bob).await;
    runs(nightly, &folder, &[]).await;
    let kept = files(&folder, "backup-", ".db");
    assert_eq!((kept.len(), files(&folder, "backup", "").len()), (2, 3), "{kept:?}");
    ada.sends("after the backups", &bob).await;
    assert!(run(&["admin", "issue-token", "billing", "--database", &chat.database.url]).await.status.success());
    let after = cursor(&ada).await;
    let database = chat.stop().await;

    runs(restore, &folder, &[]).await;
    let former = files(&folder, "duologue.db.before-", "Z");
    assert_eq!(former.len(), 1, "{former:?}");
    let named = "duologue.db.before-20261127T031500Z";
    assert!(audit.contains(named));
    let since = runs(&audit.replace(named, &former[0]), &folder, &[]).await;
    assert!(since.contains("\tadmin issue-token\t"), "{since}");
    let (chat, texts) = restored(database, &after).await;
    assert_eq!(texts, ["one"]);
    let database = chat.stop().await;

    // The newest of those that are kept.
    runs(&restore.replace("backup.db", &kept[1]), &folder, &[]).await;
    let (chat, texts) = restored(database, &after).await;
    assert_eq!(texts, ["one", "two"]);
    chat.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backups_of_a_postgresql_database_are_made_and_restored_twice_on_a_day() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let [.., dump, restore] = blocks_in(PAGE, "sh")[..] else { panic!("other blocks") };
    let cluster = Cluster::with(&[]).await;
    let mut admin = AsyncPgConnection::establish(&cluster.url).await.unwrap();
    for make in ["CREATE ROLE duologue LOGIN", "CREATE DATABASE duologue OWNER duologue"] {
        admin.batch_execute(make).await.unwrap();
    }
    let url = cluster.url.strip_suffix("/postgres").unwrap().replace("//postgres@", "//duologue@") + "/duologue";
    let variables = [("ADMIN", cluster.url.as_str()), ("DUOLOGUE_DATABASE", &url)];
    let mut chat = Chat::on(Database::on(&url), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["Ada", "Bob"] {
        chat.person(name).await;
    }
    let mut expected = Vec::new();
    for time in ["one", "two"] {
        let [ada, bob] = people(&chat);
        ada.sends(time, &bob).await;
        expected.push(time.to_owned());
        runs(dump, folder.path(), &variables).await;
        ada.sends("after the backup", &bob).await;
        let after = cursor(&ada).await;
        chat.stop().await;

        let said = runs(restore, folder.path(), &variables).await;
        assert!(said.contains("The database has a new epoch"), "{said}");
        // The names of backups and of what was replaced have the second.
        let second = || Timestamp::now().milliseconds() / 1_000;
        let restored_at = second();
        let (again, texts) = restored(Database::on(&url), &after).await;
        assert_eq!(texts, expected);
        expected.push(AFTER.to_owned());
        chat = again;
        while second() == restored_at {
            chat.data("{ __typename }", Value::Null).await;
        }
    }
    let dumps = files(folder.path(), "backup-", ".dump");
    assert_eq!(dumps.len(), 2, "{dumps:?}");
    for dump in dumps {
        let mode = fs::metadata(folder.path().join(dump)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
    }
    chat.stop().await;
}
