//! What keeps a server from starting: `duologue check` finds it, and changes nothing; `duologue serve` ends with it.

use std::{
    fs::{self, Permissions},
    io::{self, PipeWriter},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
    sync::Barrier,
    thread,
};

use duologue::secrets::Keys;
use tokio::process::Command;

#[cfg(target_os = "linux")]
use crate::disk::Disk;
use crate::{
    harness::{ACCOUNTS, Database, signed_in, soon},
    ports::own_address,
    ports::own_port,
    program::{program, run, serve, started, terminate},
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
    let metrics = own_address();
    let (child, address) = serve(&database, &["--metrics-listen", &metrics]).await;
    let listen = address.to_string();
    let (is_well, lines, error) = checks(&database, &["--listen", &listen, "--metrics-listen", &metrics]).await;
    assert!(is_well, "{lines:?} {error}");
    assert_eq!(
        lines[..8],
        [
            "settings: can be used".to_owned(),
            "signing key: none, as nobody signs in".to_owned(),
            "issuer: none".to_owned(),
            "embedding model: none".to_owned(),
            "trusted documents: none".to_owned(),
            "NATS: none".to_owned(),
            format!("database: {}, and up to date", sound(&database)),
            format!("address: {address} is used by a server that is ready"),
        ]
    );
    assert_eq!(lines[8], format!("address of metrics: {metrics} is used by a server that is ready"));
    assert!(lines[9].starts_with("open files: "), "{lines:?}");
    assert_eq!(terminate(child).await, Some(0));

    undo_from(&database, "2026-11-29-000002_plain_letters").await;
    let of_old = format!("database: {}; the next start, or `duologue migrate`, runs a migration", sound(&database));
    for _ in 0..2 {
        // It is not run by the check.
        let (is_well, lines, _) = checks(&database, &[&ACCOUNTS[..], &["--listen", &listen]].concat()).await;
        assert!(is_well, "{lines:?}");
        assert_eq!(lines[1], "signing key: can be used");
        assert_eq!(lines[6], of_old);
        assert_eq!(lines[7], format!("address: {address} is free"));
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
        "signing key: PROBLEM: the signing key in /",
        "database: PROBLEM: cannot open the database ",
        "address: PROBLEM: cannot listen on ",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(problem)), "{problem} {lines:?}");
    }
    let one = format!("127.0.0.1:{}", own_port());
    let nowhere = database.folder().join("none/key").display().to_string();
    let wrong = ["--auth", "jwt", "--signing-key-file", &nowhere, "--listen", &one, "--metrics-listen", &one];
    let (_, lines, _) = checks(&database, &wrong).await;
    for problem in ["signing key: PROBLEM: ", "address of metrics: PROBLEM: cannot listen on "] {
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
    assert_eq!(lines[6], format!("database: the first start creates SQLite, {}", path.display()));
    let files: Vec<_> = fs::read_dir(database.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["short.key"]);
}

/// Something else may have the names of the files that it makes, or the folder may be one of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_could_not_create_is_told() {
    let database = Database::at("a.db");
    if signed_in() {
        return;
    }
    let [key, lock] = ["link.key", "a.db-server"].map(|name| database.folder().join(name));
    symlink("missing.key", &key).unwrap();
    fs::create_dir(&lock).unwrap();
    let told = async |key: &Path, problems: [String; 2]| {
        let flags = ["--auth", "jwt", "--signing-key-file", key.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let (is_well, lines, _) = checks(&database, &flags).await;
        assert!(!is_well && problems.iter().all(|problem| lines.contains(problem)), "{problems:?} {lines:?}");
    };
    let of_key = |key: &Path, why| {
        format!("signing key: PROBLEM: cannot use the file of the signing key, {}: {why}", key.display())
    };
    let open = format!("database: PROBLEM: cannot open the database {}: ", database.path().display());
    let of_lock = format!("{open}cannot lock {}: it is no file", lock.display());
    told(&key, [of_key(&key, "it is a link to a file that is not there"), of_lock.clone()]).await;
    // Root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
        let key = folder.path().join("new.key");
        told(&key, [of_key(&key, "Permission denied (os error 13)"), of_lock]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_database_in_which_the_tables_cannot_be_made_is_told() {
    let Some(server) = std::env::var("DUOLOGUE_TEST_DATABASE").ok().filter(|_| !signed_in()) else { return };
    let finds = async |url: &str, problem: &str| {
        let (is_well, lines, _) = checks(&Database::on(url), &[]).await;
        assert!(!is_well && lines[6].starts_with(&format!("database: PROBLEM: {problem}")), "{problem}: {lines:?}");
    };
    let (database, role) = (Database::new().await, format!("reader_{}", std::process::id()));
    drop(database.run(&format!("CREATE ROLE {role} LOGIN")).await);
    let url = database.url.replace("postgres@", &format!("{role}@"));
    finds(&url, "tables cannot be made in the database: ").await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", encoding.to_lowercase(), std::process::id());
        let make = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        drop(database.run(&make).await);
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        finds(&url, &format!("the database has the encoding {encoding}, ")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_documents_and_settings_of_nats_are_read() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    let file = |name: &str, text: &str| {
        let path = database.folder().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let missing = database.folder().join("missing").display().to_string();
    let (list, other) = (file("list.json", r#"{ "one": "{ me { user { id } } }" }"#), file("other.json", "[]"));
    let nats = "nats://127.0.0.1:1";
    for (flags, told, of_sqlite) in [
        (&["--trusted-documents", &*list][..], "trusted documents: can be used", None),
        (
            &["--trusted-documents", &*missing],
            "trusted documents: PROBLEM: cannot read the trusted documents in ",
            None,
        ),
        (&["--trusted-documents", &*other], "trusted documents: PROBLEM: /", None),
        (&["--nats", nats], "NATS: the settings can be used", Some("NATS: not used, ")),
        (&["--nats", "http://127.0.0.1:1"], "NATS: PROBLEM: --nats: write it as nats://", Some("NATS: not used, ")),
        (
            &["--nats", "nats://a:b@c,nats://d:e@f"],
            "NATS: PROBLEM: --nats: all URLs must have",
            Some("NATS: not used, "),
        ),
        (
            &["--nats", "nats://:b@c"],
            "NATS: PROBLEM: --nats: write a user before the password",
            Some("NATS: not used, "),
        ),
        (
            &["--nats", "nats://token@c", "--nats-credentials", &*missing],
            "NATS: PROBLEM: --nats: take the user out of the URL",
            Some("NATS: not used, "),
        ),
        (
            &["--nats", nats, "--nats-credentials", &*missing],
            "NATS: PROBLEM: --nats-credentials: /",
            Some("NATS: not used, "),
        ),
        (
            &["--nats", nats, "--nats-credentials", &*other],
            "NATS: PROBLEM: --nats-credentials: /",
            Some("NATS: not used, "),
        ),
    ] {
        let told = of_sqlite.filter(|_| database.is_sqlite()).unwrap_or(told);
        let (is_well, lines, error) = checks(&database, &[flags, &["--listen", "127.0.0.1:0"]].concat()).await;
        assert!(lines.iter().any(|line| line.starts_with(told)), "{told} {lines:?}");
        assert_eq!(is_well, !told.contains("PROBLEM"), "{lines:?} {error}");
        // So it is with a server.
        if !is_well {
            let serve = ["serve", "--database", &database.url, "--listen", "127.0.0.1:0"];
            let output = run(&[&serve, flags].concat()).await;
            let (said, why) = (String::from_utf8(output.stderr).unwrap(), told.split_once("PROBLEM: ").unwrap().1);
            assert!(!output.status.success() && said.starts_with(&format!("duologue: {why}")), "{said}");
        }
    }
}

/// The exit code, and what is said on standard error, with this output. How far it is, which a slow machine tells, is left out.
async fn writes_to(output: impl Into<Stdio>, mut program: Command) -> (Option<i32>, String) {
    let child = program.stdout(output).stderr(Stdio::piped()).spawn().unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let said = said.split_inclusive('\n').filter(|line| !line.ends_with("% done\n")).collect();
    (output.status.code(), said)
}

/// The same when nobody reads the output.
pub(crate) async fn unread(program: Command) -> (Option<i32>, String) {
    writes_to(nobody(), program).await
}

/// A pipe that nobody reads.
fn nobody() -> PipeWriter {
    let (_reader, writer) = io::pipe().unwrap();
    writer
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_nobody_reads_changes_no_answer() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    let place = ["--database", &*database.url];
    let with = |arguments: &[&str]| program(&[arguments, &place].concat());
    assert!(soon(with(&["migrate"]).output()).await.unwrap().status.success());
    assert_eq!(unread(program(&["schema"])).await, (Some(0), String::new()));
    let check = ["check", "--no-embeddings", "--listen", "127.0.0.1:0"];
    assert_eq!(unread(with(&check)).await, (Some(0), String::new()));
    // The last of what is checked.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap().to_string();
    let problem = "duologue: there is a problem: a server with these settings could not start\n";
    let of_metrics = with(&[&check[..], &["--metrics-listen", &metrics]].concat());
    assert_eq!(unread(of_metrics).await, (Some(1), problem.to_owned()));
    if cfg!(target_os = "linux") {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, said) = writes_to(full, with(&check)).await;
        assert!(code == Some(1) && said.starts_with("duologue: No space left"), "{said}");
        // That something was done is also true if it cannot be said.
        for command in [&["migrate"][..], &["new-epoch"], &["demo", "--messages", "1"], &["reindex", "--words"]] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            assert_eq!(writes_to(full, with(command)).await, (Some(0), String::new()), "{command:?}");
        }
    }

    let (code, said) = unread(with(&["admin", "issue-token", "billing"])).await;
    let lost = "duologue: svc_1 was issued, and its token could not be shown: duologue admin revoke-token svc_1: ";
    assert!(code == Some(1) && said.lines().any(|line| line.starts_with(lost)), "{said}");
    let revoke = ["admin", "revoke-token", "svc_1"];
    assert_eq!(unread(with(&revoke)).await, (Some(0), String::new()));
    let mut issue = with(&["admin", "issue-token", "backups"]);
    issue.stdout(Stdio::piped()).stderr(nobody());
    let issued = soon(issue.spawn().unwrap().wait_with_output()).await.unwrap();
    assert!(issued.status.success() && issued.stdout.starts_with(b"duo_"), "{issued:?}");
    let gone = "duologue: there is no active service token svc_1\n";
    assert_eq!(unread(with(&revoke)).await, (Some(1), gone.to_owned()));

    let password = database.folder().join("password");
    fs::write(&password, "correct horse battery\n").unwrap();
    let mut create = with(&["admin", "create", "root@example.com"]);
    create.stdin(fs::File::open(password).unwrap());
    assert_eq!(unread(create).await, (Some(0), String::new()));
    let (code, said) = unread(with(&["admin", "revoke", "root@example.com"])).await;
    assert!(code == Some(0) && said.starts_with("This was the last admin"), "{said}");
}

/// A server that found half a file would not start, and nor would any after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_signing_key_is_made_whole_or_not_at_all() {
    let (database, place) = (Database::new().await, Database::at("key"));
    if signed_in() {
        return;
    }
    let key = place.path().display().to_string();
    let server = || {
        let fixed = ["serve", "--auth", "jwt", "--listen", "127.0.0.1:0", "--database", &database.url];
        program(&[&fixed[..], &["--signing-key-file", &key]].concat())
    };
    let files = || {
        let files = fs::read_dir(place.folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        files.collect::<Vec<_>>()
    };
    #[cfg(target_os = "linux")]
    {
        let (disk, mut server) = (Disk::under(&place), server());
        disk.carries(&mut server);
        disk.fails("write 28");
        let output = soon(server.stderr(Stdio::piped()).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("cannot use the file of the signing key, {key}: No space left")), "{said}");
        assert_eq!(files(), [""; 0]);
    }
    fs::write(&key, "").unwrap();
    let output = soon(server().output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("duologue: the signing key in {key} cannot be used: ")), "{said}");
    assert!(output.status.code() == Some(1) && said.contains("remove the file"), "{said}");
    fs::remove_file(&key).unwrap();
    let (child, _) = started(server()).await;
    assert_eq!(terminate(child).await, Some(0));
    assert_eq!(files(), ["key"]);

    // Of several that start at once, one makes the key.
    let (path, all) = (place.folder().join("other.key"), Barrier::new(8));
    let ids = thread::scope(|scope| {
        let create = || {
            all.wait();
            Keys::create(&path).map(|keys| keys.ids()).unwrap()
        };
        let threads = [(); 8].map(|()| scope.spawn(create));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(ids, [(); 8].map(|()| ids[0].clone()));
    assert_eq!(Keys::read(&path).unwrap().unwrap().ids(), ids[0]);
    assert_eq!(files().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_no_server_can_start_with_have_an_exit_code_of_their_own_and_create_nothing() {
    let database = Database::at("chat.db");
    let of_key = ["--auth", "jwt", "--signing-key", "c2hvcnQ="];
    for (flags, why) in [
        (&["--listen", "0.0.0.0:0"][..], "duologue: 0.0.0.0:0 can be reached by others"),
        (&["--cors-origin", "*"], "duologue: \"*\" is no origin for --cors-origin (DUOLOGUE_CORS_ORIGIN)"),
        (&["--cors-origin", "https://a.example:443"], "duologue: \"https://a.example:443\" is no origin"),
        (&["--cors-origin", "https://a.example?b"], "duologue: \"https://a.example?b\" is no origin"),
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
    // Of other commands, too.
    for command in [&["admin", "users"][..], &["export", "-"], &["demo"], &["backup", "/no/such/copy"], &["audit"]] {
        let output = run(&[command, &["--database", "mysql://x/y"]].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains("must be given as sqlite:PATH"), "{command:?} {said}");
    }
    let output = run(&["move", "--from", "sqlite:chat.db", "--to", "mysql://x/y"]).await;
    assert_eq!(output.status.code(), Some(2));
}
