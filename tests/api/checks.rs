//! What keeps a server from starting: `duologue check` finds it, and changes nothing; `duologue serve` ends with it.

use std::{fs, net::TcpListener};

use crate::{
    harness::{ACCOUNTS, Database, signed_in},
    program::{run, serve, terminate},
    upgrades::undo_from,
};

/// Whether all is well, the lines, and the error.
async fn checks(database: &Database, flags: &[&str]) -> (bool, Vec<String>, String) {
    let output = run(&[&["check", "--database", &database.url, "--no-embeddings"], flags].concat()).await;
    let [lines, error] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    (output.status.success(), lines.lines().map(str::to_owned).collect(), error)
}

/// What is said of a database that is whole.
fn sound(database: &Database) -> String {
    if database.is_sqlite() {
        format!("{} is sound", database.url.replace("sqlite:", "SQLite, "))
    } else {
        "PostgreSQL can be used (it checks its files itself: see pg_amcheck in its manual)".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_needs_is_checked_while_it_runs_and_before() {
    let database = Database::new().await;
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (child, address) = serve(&database, &["--metrics-listen", &metrics]).await;
    let listen = address.to_string();
    let (is_well, lines, error) = checks(&database, &["--listen", &listen, "--metrics-listen", &metrics]).await;
    assert!(is_well, "{lines:?} {error}");
    assert_eq!(
        lines[..6],
        [
            "settings: can be used".to_owned(),
            "signing key: none, as nobody signs in".to_owned(),
            "issuer: none".to_owned(),
            "embedding model: none".to_owned(),
            format!("database: {}, and up to date", sound(&database)),
            format!("address: {address} is used by a server that is ready"),
        ]
    );
    assert_eq!(lines[6], format!("address of metrics: {metrics} is used by a server that is ready"));
    assert!(lines[7].starts_with("open files: "), "{lines:?}");
    assert_eq!(terminate(child).await, Some(0));

    undo_from(&database, "2026-11-28-000000_suspensions").await;
    let of_old = format!("database: {}; the next start, or `duologue migrate`, runs a migration", sound(&database));
    for _ in 0..2 {
        // It is not run by the check.
        let (is_well, lines, _) = checks(&database, &[&ACCOUNTS[..], &["--listen", &listen]].concat()).await;
        assert!(is_well, "{lines:?}");
        assert_eq!(lines[1], "signing key: can be used");
        assert_eq!(lines[4], of_old);
        assert_eq!(lines[5], format!("address: {address} is free"));
    }
    if database.is_sqlite() {
        assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 1, "nothing is left beside the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_keeps_a_server_from_starting_is_told_at_once() {
    if signed_in() {
        return;
    }
    let mut database = Database::at("none/chat.db");
    let key = database.folder().join("short.key");
    fs::write(&key, "c2hvcnQ=\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let key = key.display().to_string();
    let wrong = ["--auth", "jwt", "--signing-key-file", &key, "--listen", &listen, "--cors-origin", "example.com"];
    let (is_well, lines, error) = checks(&database, &wrong).await;
    assert!(!is_well);
    assert_eq!(error, "duologue: there are 4 problems: a server with these settings could not start\n");
    for problem in [
        "settings: PROBLEM: ",
        "signing key: PROBLEM: a signing key must be at least 32 random bytes",
        "database: PROBLEM: cannot open the database ",
        "address: PROBLEM: cannot listen on ",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(problem)), "{problem} {lines:?}");
    }
    // Nothing was created, neither now nor where all would be well.
    database.url = database.url.replace("none/", "");
    let new = database.folder().join("new.key").display().to_string();
    let (_, lines, _) = checks(&database, &["--auth", "jwt", "--signing-key-file", &new]).await;
    assert!(
        lines[1].starts_with("signing key: the first start creates ") && lines[1].ends_with("/new.key"),
        "{lines:?}"
    );
    let path = database.path();
    assert_eq!(lines[4], format!("database: the first start creates SQLite, {}", path.display()));
    let files: Vec<_> = fs::read_dir(database.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["short.key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_no_server_can_start_with_have_an_exit_code_of_their_own_and_create_nothing() {
    let database = Database::at("chat.db");
    let of_key = ["--auth", "jwt", "--signing-key", "c2hvcnQ="];
    for (flags, why) in [
        (&["--listen", "0.0.0.0:0"][..], "duologue: 0.0.0.0:0 can be reached by others"),
        (&["--cors-origin", "*"], "duologue: \"*\" is no origin"),
        (&["--ping-interval", "9", "--dead-after", "9"], "duologue: --dead-after must be longer than --ping-interval"),
        (&of_key, "duologue: a signing key must be at least 32 random bytes"),
        (
            &["--access-token-lifetime", "60", "--refresh-token-lifetime", "30s"],
            "duologue: --refresh-token-lifetime must",
        ),
        (&["--database", "mysql://x/y"], "duologue: the database must be given as sqlite:PATH or postgres://"),
        (&["--config", "/no/such/file"], "error: cannot read /no/such/file"),
        (&["--nonsense"], "error: unexpected argument '--nonsense'"),
    ] {
        let named: &[&str] = if flags[0] == "--database" { &[] } else { &["--database", &database.url] };
        let output = run(&[&["serve"], named, flags].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.starts_with(why), "{flags:?} {said}");
    }
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_meant_are_refused() {
    let database = Database::new().await;
    let issuer = ["--issuer", "https://login.example.com/", "--audience", "chat", "--jwks", "keys.json"];
    for (flags, why) in [
        (&issuer[..], "say --auth jwt"),
        (&["--access-token-lifetime", "500ms"], "at least a second"),
        (&["--max-batch", "0"], "1 or more"),
        (&["--max-answer", "0"], "1 or more"),
    ] {
        let output = run(&[&["serve", "--database", &database.url, "--listen", "127.0.0.1:0"], flags].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{flags:?}: {said}");
    }
}
