//! Servers on one PostgreSQL database agree on the time, the signing keys and the schema, or do not use it together.

use std::{process::Stdio, sync::Arc, time::Duration};

use duologue::{
    app::App,
    domain::nodes::{CannotServe, Membership},
    model::timestamps::Timestamp,
};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    crowd::short_or_long,
    damage::NEWER,
    harness::{ACCOUNTS, Database, soon},
    program::server,
};

/// Another signing key than that of the tests.
const OTHER_KEY: &str = "ZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZzZz";

/// A server with a clock that is so far ahead and with flags, which does not join yet.
async fn opened(database: &Database, ahead: Duration, flags: &[&str]) -> Arc<App> {
    let settings = database.settings(flags);
    let clock = move || Timestamp::now().later(ahead);
    let mut app = App::open_with_clock(&settings.database, clock).await.unwrap();
    app.configure(&settings).await.unwrap();
    Arc::new(app)
}

/// A server that signs with the first of these keys.
async fn signing(database: &Database, keys: &str) -> Arc<App> {
    opened(database, Duration::ZERO, &["--auth", "jwt", "--signing-key", keys]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_database_rules() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let app = opened(&database, Duration::from_secs(30), &[]).await;
    Membership::join(&app).await.unwrap();
    let offset = (app.now().milliseconds() - Timestamp::now().milliseconds()).abs();
    assert!(offset < 1_000, "{offset}");
    let wrong = opened(&database, Duration::from_hours(1), &[]).await;
    let Err(CannotServe::Clock(seconds)) = Membership::join(&wrong).await else { panic!() };
    assert!((3_595..=3_600).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_must_know_the_keys_that_the_others_sign_with() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let own = ACCOUNTS[3];
    let with = async |keys: &str| {
        let app = signing(&database, keys).await;
        match Membership::join(&app).await {
            Ok(membership) => Some((app, membership)),
            Err(CannotServe::Keys) => None,
            Err(other) => panic!("{other}"),
        }
    };
    let (app, first) = with(own).await.unwrap();
    assert!(with(OTHER_KEY).await.is_none());
    let (both, other_first) = (format!("{own},{OTHER_KEY}"), format!("{OTHER_KEY},{own}"));
    assert!(with(&other_first).await.is_none(), "the first one does not know the other key");
    let (app_of_second, second) = with(&both).await.unwrap();
    first.leave(&app).await.unwrap();
    // All know the new key now: it may sign.
    assert!(with(&other_first).await.is_some());
    second.leave(&app_of_second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_servers_that_join_at_the_same_time_and_do_not_agree_one_does() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let (one, other) = (signing(&database, ACCOUNTS[3]).await, signing(&database, OTHER_KEY).await);
    for _ in 0..20 {
        let mut members = 0;
        let (first, second) = tokio::join!(Membership::join(&one), Membership::join(&other));
        for (app, joined) in [(&one, first), (&other, second)] {
            match joined {
                Ok(member) => {
                    members += 1;
                    member.leave(app).await.unwrap();
                }
                Err(why) => assert!(matches!(why, CannotServe::Keys), "{why}"),
            }
        }
        assert_eq!(members, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_ends_if_it_does_not_agree_with_those_that_came_meanwhile() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let app = signing(&database, ACCOUNTS[3]).await;
    let away = Membership::join(&app).await.unwrap();
    drop(database.run("UPDATE nodes SET started_at = started_at - 60000, renewed_at = renewed_at - 11000").await);
    let newer = signing(&database, OTHER_KEY).await;
    let id = Membership::join(&newer).await.unwrap().id();
    drop(database.run(&format!("UPDATE nodes SET started_at = started_at - 11000 WHERE id = {id}")).await);
    assert!(matches!(soon(away.run(app)).await, CannotServe::Keys));
}

/// A crash of PostgreSQL empties the table of servers, and a clean restart may take longer than the leases: one that was refused may come
/// before those that were there.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_the_database_who_was_there_first_stays() {
    for outage in ["TRUNCATE nodes CASCADE", "UPDATE nodes SET renewed_at = renewed_at - 11000"] {
        let database = Database::new().await;
        if database.is_sqlite() {
            return;
        }
        let (first, refused) = (signing(&database, ACCOUNTS[3]).await, signing(&database, OTHER_KEY).await);
        let stays = Membership::join(&first).await.unwrap();
        assert!(matches!(Membership::join(&refused).await, Err(CannotServe::Keys)));
        drop(database.run(outage).await);
        let leaves = Membership::join(&refused).await.unwrap();
        let staying = tokio::spawn(stays.run(first));
        assert!(matches!(soon(leaves.run(refused)).await, CannotServe::Keys));
        assert!(!staying.is_finished(), "{outage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_ends_if_it_does_not_agree_with_those_that_have_been_there_for_long() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let app = signing(&database, ACCOUNTS[3]).await;
    let away = Membership::join(&app).await.unwrap();
    drop(database.run("UPDATE nodes SET started_at = started_at - 60000").await);
    let away = tokio::spawn(away.run(app));
    let until = async |exists: &str| {
        let waits = format!("DO $$ BEGIN WHILE NOT EXISTS ({exists}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$");
        drop(soon(database.run(&waits)).await);
    };
    until("SELECT FROM nodes WHERE renewed_at > started_at + 61000").await;
    // Nobody remembers it.
    let others = async |knows: &str, ago: u32| {
        let others = format!(
            "DELETE FROM nodes; INSERT INTO nodes (id, version, key_ids, knows, started_at, renewed_at)
             SELECT 1, '', 'other', '{knows}', now - {ago}, now
             FROM (SELECT CAST(extract(epoch FROM now()) * 1000 AS BIGINT) AS now) AS clock"
        );
        drop(database.run(&others).await);
    };
    // Of an earlier release one that came back leaves by itself.
    others("20261128000000", 90_000).await;
    until("SELECT FROM nodes WHERE id <> 1").await;
    others("20261129000001", 30_000).await;
    assert!(matches!(soon(away).await.unwrap(), CannotServe::Keys));
    // The others do not even hear of it.
    drop(database.run("DO $$ BEGIN ASSERT (SELECT array_agg(id) FROM nodes) = ARRAY[1::BIGINT]; END $$").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_become_too_old_since_it_was_opened_does_not_join() {
    let database = Database::new().await;
    let app = opened(&database, Duration::ZERO, &[]).await;
    drop(database.run(NEWER).await);
    let Err(why @ CannotServe::TooOld) = Membership::join(&app).await else { panic!("it joined") };
    assert!(why.to_string().contains("this release is too old for it"), "{why}");
    if !database.is_sqlite() {
        drop(database.run("DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM nodes); END $$").await);
    }
}

/// It takes half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_do_not_end_are_warned_of() {
    let database = Database::new().await;
    if database.is_sqlite() || short_or_long(true, false) {
        return;
    }
    App::open(&database.settings(&[]).database).await.unwrap().close().await;
    let _open = database.run("BEGIN; LOCK TABLE messages IN ROW EXCLUSIVE MODE").await;
    let mut server = server(&database, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    soon(async { while !log.next_line().await.unwrap().unwrap().contains("have not ended for 30 seconds") {} }).await;
}

/// The server that committed it, and told its clients, may be gone with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_what_a_server_has_only_read_is_noticed() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let app = opened(&database, Duration::ZERO, &[]).await;
    let running = tokio::spawn(Membership::join(&app).await.unwrap().run(app.clone()));
    let added = "INSERT INTO users (name, name_key, created_at) VALUES ('Ada', 'ada', 1);
        INSERT INTO events (id, user_id, kind, message_id, peer_id, at) VALUES (nextval('messages_id_seq'), 1, 4, 0, 1, 1)";
    drop(database.run(added).await);
    let known = app.known_entries.as_ref().unwrap();
    soon(async {
        while known.entries().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let epoch = app.epoch();
    drop(database.run("DELETE FROM events").await);
    soon(async {
        while app.epoch() == epoch {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!running.is_finished());
}
