//! Point-in-time recovery of a PostgreSQL server with pgBackRest, set up and restored as docs/how-to/pgbackrest.md says.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
};

use diesel::{
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::process::Command;

use crate::{
    crowd::Crowd,
    harness::{Database, signed_in, soon},
    litestream::{blocks_in, hears_reset, path},
    outages::Cluster,
    program::serve,
};

const PAGE: &str = include_str!("../../docs/how-to/pgbackrest.md");

/// Runs a block of the page, with pgBackRest as the user of the PostgreSQL server; gives what it prints.
async fn runs(block: &str, cluster: &Cluster, variables: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new("sh");
    command.args(["-euc", block]).current_dir(cluster.folder()).env_clear().env("PATH", path(&[]));
    command.envs(variables.iter().copied()).env("DUOLOGUE_DATABASE", &cluster.url);
    let folder = fs::metadata(cluster.folder()).unwrap();
    if block.starts_with("pgbackrest ") && folder.uid() != rustix::process::getuid().as_raw() {
        command.gid(folder.gid()).uid(folder.uid());
    }
    let output = soon(Command::from(command).output()).await.unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{block}: {}{}", said(output.stdout), said(output.stderr));
    said(output.stdout)
}

/// The value of a setting in a block of `postgresql.conf`.
fn setting<'a>(block: &'a str, name: &str) -> &'a str {
    let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {name}")).trim_matches('\'')
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_restored_to_a_moment_and_clients_begin_anew() {
    let without = std::env::var_os("DUOLOGUE_TEST_WITHOUT_PGBACKREST").is_some();
    if signed_in() || without || Database::new().await.is_sqlite() {
        return;
    }
    let [config, postgresql] = blocks_in(PAGE, "ini")[..] else { panic!("other blocks") };
    let [backup, restore, state, new_epoch] = blocks_in(PAGE, "sh")[..] else { panic!("other blocks") };
    let elsewhere = tempfile::tempdir().unwrap();
    let place = |name: &str| elsewhere.path().join(name).display().to_string();
    let (file, spool, locks) = (place("pgbackrest.conf"), place("spool"), place("locks"));
    let options = format!("-c archive_mode={}", setting(postgresql, "archive_mode"));
    let mut variables = vec![
        ("PGBACKREST_CONFIG", file.as_str()),
        ("PGBACKREST_SPOOL_PATH", &spool),
        ("PGBACKREST_LOCK_PATH", &locks),
        ("PGBACKREST_LOG_LEVEL_FILE", "off"),
        ("PGBACKREST_PG1_USER", "postgres"),
        ("DUOLOGUE_TEST_PG_OPTIONS", &options),
    ];
    let cluster = Cluster::with(&variables).await;
    let folder = cluster.folder().display().to_string();
    variables.push(("PGBACKREST_PG1_SOCKET_PATH", &folder));
    let owner = fs::metadata(cluster.folder()).unwrap();
    chown(elsewhere.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    let config = config
        .replace("/var/lib/pgbackrest", &place("repository"))
        .replace("/var/lib/postgresql/15/main", &format!("{folder}/data"));
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();

    let database = Database::on(&cluster.url);
    let mut operator = AsyncPgConnection::establish(&cluster.url).await.unwrap();
    for name in ["archive_command", "archive_timeout"] {
        let set = format!("ALTER SYSTEM SET {name} = '{}'", setting(postgresql, name));
        operator.batch_execute(&set).await.unwrap();
    }
    operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let (mut server, address) = serve(&database, &[]).await;
    let mut crowd = Crowd::gathers(&database, address, 8, 16).await;
    // Under load.
    runs(backup, &cluster, &variables).await;
    // pgBackRest restores to a second after that in which the backup ended.
    let mut second = async || {
        let second = sql::<BigInt>("SELECT extract(epoch FROM clock_timestamp())::bigint");
        second.get_result::<i64>(&mut operator).await.unwrap()
    };
    let ended = second().await;
    soon(async {
        while second().await <= ended + 1 {
            crowd.until_answered(10).await;
        }
    })
    .await;
    let answered = crowd.tally(|tally| tally.answered.clone());
    let moment = sql::<Text>("SELECT clock_timestamp()::text").get_result::<String>(&mut operator).await.unwrap();
    crowd.until_answered(50).await;
    // The backup reads and writes as fast as it can, on the disk that the users write to.
    crowd.failed_only_with(&[(503, "DATABASE_BUSY")]);
    crowd.rests().await;
    assert!(crowd.sends_one_more().await);
    let cursor = crowd.reads("{ feedCursor(userId: \"usr_1\") }").await["data"]["feedCursor"].take();
    server.kill().await.unwrap();
    drop(operator);

    let pg_ctl = async |arguments: &[&str]| {
        let mut command = Command::new(&cluster.pg_ctl);
        command.args(arguments).envs(variables.iter().copied());
        assert!(soon(command.status()).await.unwrap().success());
    };
    pg_ctl(&["stop", "--mode=fast"]).await;
    let target = "2026-11-27 03:15:00+00";
    assert!(restore.contains(target));
    runs(&restore.replace(target, &moment), &cluster, &variables).await;
    // What was on its command line is no part of a backup.
    let options =
        format!("-c listen_addresses='' -c unix_socket_directories='{folder}' -c max_connections=300 {options}");
    pg_ctl(&["start", "-o", &options]).await;
    let mut operator = AsyncPgConnection::establish(&cluster.url).await.unwrap();
    let recovers = || sql::<Bool>("SELECT pg_is_in_recovery()");
    soon(async { while recovers().get_result::<bool>(&mut operator).await.unwrap() {} }).await;
    assert_eq!(runs(state, &cluster, &variables).await, "f\n");
    runs(new_epoch, &cluster, &variables).await;

    let (mut server, address) = serve(&database, &[]).await;
    crowd.turns_to(address);
    let found = crowd.found().await;
    for (name, id) in answered {
        let id = id.strip_prefix("msg_").unwrap().parse().unwrap();
        assert_eq!(found.get(&id), Some(&name));
    }
    assert!(found.values().all(|name| name != "alone/0"), "it was sent after the moment");
    hears_reset(address, &cursor).await;
    server.kill().await.unwrap();
}
