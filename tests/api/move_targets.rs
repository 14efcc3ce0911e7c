//! What a database may be moved to: one that is empty and that no server uses, or that this move has begun to fill; and one move at a time.

use std::{pin::pin, process::Stdio};

use duologue::{
    app::{App, database_url},
    domain::{
        moving::{self, CannotMove, Move},
        nodes::{CannotServe, Membership},
    },
    store::{Error, Store},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Notify,
};

use crate::{
    demo::fill,
    harness::{Database, soon},
    migrations::described,
    moving::{checks, dump, moves, postgres_database, ready},
    program::{error, run, serve, server, terminate},
    upgrades::undo_from,
};

/// Whoever names the wrong one finds it as it was, and can go back to the release that it is of.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_empty_or_that_is_served_is_not_even_brought_up_to_date() {
    let Some(postgres) = postgres_database().await else { return };
    let (served, file, of_users) = (postgres_database().await.unwrap(), Database::at("chat.db"), Database::at("x.db"));
    for database in [&postgres, &served, &file, &of_users] {
        assert!(run(&["migrate", "--database", &database.url]).await.status.success());
    }
    for database in [&postgres, &of_users] {
        drop(database.run("INSERT INTO users (name, name_key, created_at) VALUES ('Ada', 'ada', 1)").await);
    }
    served.used_by("", "99999999999999").await;
    for (from, to, why) in [
        (&file, &postgres, "users in the new database already"),
        (&postgres, &of_users, "users in the new database already"),
        (&file, &served, "a server uses the new database"),
    ] {
        let current = described(to);
        undo_from(to, "2026-11-28-000000_suspensions").await;
        let before = described(to);
        assert_ne!(before, current);
        let (done, said) = moves(from, to, &[]).await;
        assert!(!done && said.contains(why), "{said}");
        assert_eq!(described(to), before);
        assert!(run(&["migrate", "--database", &to.url]).await.status.success());
    }
}

/// Begins a move, and breaks it off when something has arrived.
pub(crate) async fn interrupted(from: &Database, to: &Database) {
    let postgres = if from.is_sqlite() { to } else { from };
    let [from, to] = stores(from, to).await;
    let (mut moving, begun) = (Move::new(from.clone(), to.clone()).await.unwrap(), Notify::new());
    tokio::select! {
        biased;
        () = begun.notified() => {}
        done = moving.run(true, |_, _| begun.notify_one()) => panic!("it ended before: {done:?}"),
    }
    drop(moving);
    to.close().await;
    from.close().await;
    is_gone(postgres).await;
}

/// The databases, as a move opens them.
pub(crate) async fn stores(from: &Database, to: &Database) -> [Store; 2] {
    let [from, to] = [from, to].map(|database| database_url(&database.settings(&[]).database).unwrap());
    [Store::open_existing(&from, 4).await.unwrap(), Store::open(&to, 4).await.unwrap()]
}

/// The lock of a move is gone a moment after its connection.
pub(crate) async fn is_gone(postgres: &Database) {
    let locked = "SELECT FROM pg_locks JOIN pg_database ON oid = database WHERE locktype = 'advisory' AND datname = current_database()";
    let waits = format!("DO $$ BEGIN WHILE EXISTS ({locked}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$");
    drop(soon(postgres.run(&waits)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_new_file_is_in_the_way_of_a_move_that_begins_and_waits_for_one_that_goes_on() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&postgres, 20, 500).await;
    let (child, _) = serve(&file, &[]).await;
    let (done, said) = moves(&postgres, &file, &[]).await;
    assert!(!done && said.contains("a server uses the new database"), "{said}");
    assert_eq!(terminate(child).await, Some(0));

    interrupted(&postgres, &file).await;
    let (is_well, said) = checks(&file).await;
    assert!(!is_well && said.contains("database: PROBLEM: the database is being moved here"), "{said}");
    let mut server = server(&file, &[]);
    let mut waiting = server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(waiting.stderr.take().unwrap()).lines();
    soon(async { while !log.next_line().await.unwrap().unwrap().contains("waiting until `duologue move` is done") {} })
        .await;
    let (done, said) = moves(&postgres, &file, &[]).await;
    assert!(done, "{said}");
    ready(&mut waiting).await;
    assert_eq!(terminate(waiting).await, Some(0));
    drop(file.run("DELETE FROM audit WHERE action = 'move'").await);
    assert!(dump(&file).await == dump(&postgres).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_given_up_leaves_the_former_database_as_it_was() {
    let Some(postgres) = postgres_database().await else { return };
    let (file, new_file, elsewhere) =
        (Database::at("chat.db"), Database::at("new.db"), postgres_database().await.unwrap());
    for (from, to) in [(&file, &elsewhere), (&postgres, &new_file)] {
        fill(from, 20, 500).await;
        let (schema, rows) = (described(from), dump(from).await);
        interrupted(from, to).await;
        assert_ne!(described(from), schema);
        let cancel = ["move", "--from", &from.url, "--cancel"];
        let said = String::from_utf8(run(&cancel).await.stdout).unwrap();
        assert!(said.starts_with("The move is given up: "), "{said}");
        assert_eq!(described(from), schema);
        assert!(dump(from).await == rows);
        assert!(error(&cancel).await.contains("no move of this database was begun"));
    }
    let (done, said) = moves(&file, &elsewhere, &[]).await;
    assert!(done, "{said}");
    assert!(error(&["move", "--from", &file.url, "--cancel"]).await.contains("was moved already"));
}

/// Changes of some tables are not logged any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_end_is_interrupted_does_not_go_on() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&postgres, 20, 500).await;
    let schema = described(&postgres);
    interrupted(&postgres, &file).await;
    let [from, to] = stores(&postgres, &file).await;
    let read = postgres.run("BEGIN; LOCK TABLE messages IN ACCESS SHARE MODE").await;
    let is_logged = "SELECT FROM pg_trigger WHERE tgname = 'moving' AND tgrelid = CAST('users' AS regclass)";
    let waits = format!("DO $$ BEGIN WHILE EXISTS ({is_logged}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$");
    tokio::select! {
        ended = moving::cancel(&from) => panic!("{ended:?}"),
        lock = soon(postgres.run(&waits)) => drop(lock),
    }
    from.close().await;
    to.close().await;
    drop(read);
    is_gone(&postgres).await;
    drop(postgres.run("UPDATE users SET name = 'Changed' WHERE id = 1").await);
    let (done, said) = moves(&postgres, &file, &[]).await;
    assert!(!done && said.contains("it was being given up, only --cancel is left"), "{said}");
    assert!(run(&["move", "--from", &postgres.url, "--cancel"]).await.status.success());
    assert_eq!(described(&postgres), schema);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_moved_to_one_place_at_a_time() {
    let Some(postgres) = postgres_database().await else { return };
    let (file, elsewhere) = (Database::at("chat.db"), postgres_database().await.unwrap());
    fill(&file, 20, 500).await;
    let [from, to] = stores(&file, &postgres).await;
    let (mut first, begun) = (Move::new(from.clone(), to.clone()).await.unwrap(), Notify::new());
    let mut first = pin!(first.run(true, |_, _| begun.notify_one()));
    tokio::select! {
        biased;
        () = begun.notified() => {}
        done = &mut first => panic!("it ended before: {done:?}"),
    }
    drop(file.run("UPDATE users SET name = 'Changed' WHERE id = 1").await);
    let (done, said) = moves(&file, &elsewhere, &[]).await;
    assert!(!done && said.contains("to another one was begun: run that one again, or give it up"), "{said}");

    // The first one has not carried over the change, and must not end with the log of the second one, which does not have it.
    moving::cancel(&from).await.unwrap();
    interrupted(&file, &elsewhere).await;
    let done = first.await;
    assert!(matches!(done, Err(CannotMove::Running)), "{done:?}");
    to.close().await;
    from.close().await;
    let (done, said) = moves(&file, &elsewhere, &[]).await;
    assert!(done, "{said}");
    drop(elsewhere.run("DELETE FROM audit WHERE action = 'move'").await);
    assert!(dump(&elsewhere).await == dump(&file).await);
    assert!(checks(&postgres).await.1.contains("database: PROBLEM: the database is being moved here"));
}

/// As one that waits for the keys of an issuer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_slowly_looks_again_before_it_serves() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&file, 20, 500).await;
    let [new, former] = [&postgres, &file].map(|database| database.settings(&[]).database);
    let (new, former) = (App::open(&new).await.unwrap(), App::open(&former).await.unwrap());
    let refusal = async |app: &App| match Membership::join(app).await {
        Err(CannotServe::Store(Error::Unusable(why))) => why,
        joined => panic!("{:?}", joined.err()),
    };
    interrupted(&file, &postgres).await;
    assert!(refusal(&new).await.contains("the database is being moved here"));
    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(done, "{said}");
    assert!(refusal(&former).await.contains("the database was moved with `duologue move`"));
    let membership = Membership::join(&new).await.unwrap();
    membership.leave(&new).await.unwrap();
    for app in [new, former] {
        app.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_lock_is_lost_says_so_and_goes_on_when_it_is_run_again() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&file, 2, 10).await;
    let [from, to] = stores(&file, &postgres).await;
    let mut moving = Move::new(from.clone(), to.clone()).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database
        WHERE locktype = 'advisory' AND datname = current_database()";
    drop(postgres.run(end).await);
    is_gone(&postgres).await;
    let lost = moving.run(true, |_, _| {}).await;
    assert!(matches!(lost, Err(CannotMove::LockLost)), "{lost:?}");
    to.close().await;
    from.close().await;
    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(done, "{said}");
}
