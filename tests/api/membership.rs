//! Servers on one PostgreSQL database agree on the time, the signing keys and the schema, or do not use it together.

use std::{sync::Arc, time::Duration};

use duologue::{
    app::App,
    domain::nodes::{CannotServe, Membership},
    model::timestamps::Timestamp,
};

use crate::harness::{ACCOUNTS, Database, soon};

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
    database.run("UPDATE nodes SET renewed_at = renewed_at - 11000").await;
    let newer = signing(&database, OTHER_KEY).await;
    Membership::join(&newer).await.unwrap();
    assert!(matches!(soon(away.run(app)).await, CannotServe::Keys));
}
