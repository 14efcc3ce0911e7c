//! The last steps of a move: between the moment in which the new database is whole and the one in which it may be served.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use diesel::{dsl::sql, sql_types::BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use duologue::{
    domain::Viewer,
    execution::Request,
    graphql::Api,
    store::{Store, moving},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    database::Lock,
    demo::fill,
    harness::{Chat, Database, Socket, code, soon},
    move_targets::{interrupted, is_gone, stores},
    moving::{checks, dump, moves, postgres_database},
    program::{program, run, serve, terminate},
};

/// Lets no transaction commit that says that everything is copied, while somebody has the lock.
const HOLD: &str = "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON moving DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.name = 'all of it') EXECUTE FUNCTION hold()";

/// A move, of which all is to be seen in the databases.
fn begins(from: &Database, to: &Database) -> Child {
    let mut command = program(&["move", "--from", &from.url, "--to", &to.url]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until there is one of what is counted.
async fn is_there(conn: &mut AsyncPgConnection, counted: &str) {
    let count = format!("SELECT count(*) FROM {counted}");
    soon(async { while sql::<BigInt>(&count).get_result::<i64>(conn).await.unwrap() == 0 {} }).await;
}

/// One more of everything that people do.
async fn goes_on(file: &Database, number: usize) {
    let changes = format!(
        "UPDATE messages SET content = 'Changed', edited_at = 1 WHERE id = {number};
         DELETE FROM blocks; INSERT INTO blocks (user_id, blocked_id, created_at) VALUES ({number}, 9, 1);
         INSERT INTO messages (id, sender_id, receiver_id, content, created_at) SELECT max(id) + 1, 1, 2, 'New', 1 FROM messages"
    );
    drop(file.run(&changes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_in_its_last_steps_is_finished_by_the_next_one() {
    let Some(postgres) = postgres_database().await else { return };
    let file = Database::at("chat.db");
    fill(&file, 20, 500).await;
    interrupted(&file, &postgres).await;
    goes_on(&file, 1).await;
    let waits = |what: &str| {
        format!(
            "pg_locks JOIN pg_database ON oid = database WHERE datname = current_database() AND NOT granted AND {what}"
        )
    };

    // The new one is whole, and the former one is not closed.
    let Lock::Postgres(mut held) = postgres.run(&format!("{HOLD}; SELECT pg_advisory_lock(7)")).await else {
        unreachable!()
    };
    let mut killed = begins(&file, &postgres);
    is_there(&mut held, &waits("locktype = 'advisory'")).await;
    let process = killed.id().unwrap().to_string();
    assert!(soon(Command::new("kill").args(["-STOP", &process]).status()).await.unwrap().success());
    held.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    is_there(&mut held, "moving WHERE name = 'all of it'").await;
    killed.kill().await.unwrap();
    is_gone(&postgres).await;
    assert!(checks(&postgres).await.1.contains("database: PROBLEM: the database is being moved here"));
    // Its server goes on.
    let (child, _) = serve(&file, &[]).await;
    goes_on(&file, 2).await;
    assert_eq!(terminate(child).await, Some(0));

    // The former one is closed, and the new one may not be served yet.
    held.batch_execute("BEGIN; SELECT FROM moving").await.unwrap();
    let mut killed = begins(&file, &postgres);
    is_there(&mut held, &waits("mode = 'AccessExclusiveLock'")).await;
    killed.kill().await.unwrap();
    held.batch_execute("ROLLBACK").await.unwrap();
    is_gone(&postgres).await;
    assert!(checks(&file).await.1.contains("database: PROBLEM: the database was moved with `duologue move`"));
    assert!(checks(&postgres).await.1.contains("database: PROBLEM: the database is being moved here"));
    // It is all that there is now, and no other one may begin anew there.
    let other = Database::at("other.db");
    assert!(run(&["migrate", "--database", &other.url]).await.status.success());
    let (done, said) = moves(&other, &postgres, &[]).await;
    assert!(!done && said.contains("another move has filled the new database"), "{said}");

    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(done && said.contains("is closed"), "{said}");
    let (child, _) = serve(&postgres, &[]).await;
    assert_eq!(terminate(child).await, Some(0));
    // That it was moved is recorded once, and there alone.
    let recorded = "SELECT count(*) FROM audit WHERE action = 'move'";
    assert_eq!(sql::<BigInt>(recorded).get_result::<i64>(&mut *held).await.unwrap(), 1);
    drop(postgres.run("DELETE FROM audit WHERE action = 'move'").await);
    assert!(dump(&postgres).await == dump(&file).await);
    let (done, said) = moves(&file, &postgres, &[]).await;
    assert!(!done && said.contains("was moved already"), "{said}");
}

/// For how long neither database may be used.
async fn closed([from, to]: &[Store; 2]) -> Duration {
    while !from.read(moving::is_moved).await.unwrap() {}
    let begun = Instant::now();
    while to.read(moving::is_move_target).await.unwrap() {}
    begun.elapsed()
}

/// Otherwise it would contradict the new one: a cursor of that one is none of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_former_server_answers_nothing_any_more_when_the_new_one_may_begin() {
    let Some(postgres) = postgres_database().await else { return };
    let (file, back) = (Database::at("chat.db"), Database::at("back.db"));
    fill(&file, 20, 500).await;
    let http = reqwest::Client::new();
    for (from, to) in [(&file, &postgres), (&postgres, &back)] {
        let (mut former, address) = serve(from, &[]).await;
        let asks = async || {
            let query = json!({ "query": "{ feedCursor(userId: 1) }" });
            http.post(format!("http://{address}/graphql")).json(&query).send().await
        };
        assert!(soon(asks()).await.unwrap().status().is_success());
        let stores = stores(from, to).await;
        let ((done, said), closed) = tokio::join!(moves(from, to, &[]), soon(closed(&stores)));
        assert!(done, "{said}");
        // Had the former server not stopped, it would be waited for longer.
        assert!(closed < Duration::from_millis(1_500), "{closed:?}");
        for store in stores {
            store.close().await;
        }
        if let Ok(answer) = soon(asks()).await {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(code(&answer.json::<Value>().await.unwrap()), "UNAVAILABLE");
        }
        assert!(soon(former.wait()).await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_was_moved_refuses_all_that_it_is_asked() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let api = Api::open(&chat.app, &chat.database.settings(&[]).limits).unwrap();
    let request: Request = serde_json::from_value(json!({ "query": "{ server { version } }" })).unwrap();
    let prepared = api.prepare(&request).ok().unwrap();
    chat.app.set_moved();
    let answer = Api::execute(&api, &Viewer::operator(&chat.app).into(), prepared, 1_000).await.into_json();
    let answer: Value = serde_json::from_slice(&answer.into_bytes()).unwrap();
    assert_eq!(code(&answer), "UNAVAILABLE", "{answer}");
    assert_eq!(chat.code("{ server { version } }", json!({})).await, "UNAVAILABLE");
    socket.subscribes("1", "subscription { feed(userId: 1) { kind } }", json!({})).await;
    let heard = socket.hears().await;
    assert_eq!(heard["payload"][0]["extensions"]["code"], "UNAVAILABLE", "{heard}");
    let ready = soon(reqwest::get(chat.url("/health/ready"))).await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(soon(ready.text()).await.unwrap().contains("moved elsewhere"));
}
