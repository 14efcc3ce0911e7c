//! Sessions: the exchange of refresh tokens, once and again, and ends that other processes made.

use std::{sync::Arc, time::Duration};

use diesel::{QueryResult, RunQueryDsl, dsl::sql, sql_types::BigInt};
use duologue::{
    app::App,
    domain::{Viewer, accounts, admin},
    model::{texts::Name, timestamps::Timestamp},
    store::{self, Conn},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    accounts::{Member, PASSWORD, refresh},
    harness::{ACCOUNTS, Chat, Database, HeldClock, KEY, Socket, code, soon, text},
};

/// Another server on the same database.
async fn another(chat: &Chat, clock: &HeldClock) -> Arc<App> {
    let settings = chat.database.settings(&ACCOUNTS);
    let mut app = App::open_with_clock(&settings.database, clock.reader()).await.unwrap();
    app.configure(&settings).await.unwrap();
    Arc::new(app)
}

async fn served(clock: &HeldClock) -> Chat {
    Chat::by(clock, Database::new().await, &ACCOUNTS).await
}

impl Member {
    /// The id of the session.
    pub(crate) async fn session(&self, chat: &Chat) -> String {
        let answer = self.asks(chat, "{ me { sessions { id current } } }", json!({})).await;
        let sessions = answer["data"]["me"]["sessions"].as_array().unwrap();
        text(&sessions.iter().find(|session| session["current"] == true).unwrap()["id"])
    }
}

/// All accounts are lost, as where a standby takes over that lacks them: the next one gets the id of the first.
pub(crate) async fn lose_accounts(chat: &Chat) {
    let ids = if chat.database.is_sqlite() {
        "DELETE FROM sqlite_sequence"
    } else {
        "SELECT setval('users_id_seq', 1, false), setval('sessions_id_seq', 1, false)"
    };
    let rows = "DELETE FROM identities; DELETE FROM sessions; DELETE FROM name_words; DELETE FROM users";
    drop(chat.database.run(&format!("{rows}; {ids}")).await);
    let before = chat.app.store.connections();
    let reconnects = async {
        while chat.app.store.connections() == before && !chat.database.is_sqlite() {
            join_all((0..8).map(|_| chat.app.store.read(store::server::epoch))).await;
        }
    };
    soon(reconnects).await;
}

/// The code of the error with which a socket refuses an operation.
pub(crate) async fn socket_code(socket: &mut Socket, id: &str, query: &str) -> String {
    socket.subscribes(id, query, json!({})).await;
    let said = socket.hears().await;
    text(&said["payload"][0]["extensions"]["code"])
}

fn refused(payload: &Value) -> bool {
    payload["userErrors"][0]["code"] == "TOKEN_EXPIRED" && payload["refreshToken"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_works_once_and_its_later_use_ends_the_session() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let other = Member::signs_in(&chat, "Ada").await;
    let second = Member::of(&refresh(&chat, &ada.refresh).await);
    assert!(second.is_signed_in(&chat).await && ada.is_signed_in(&chat).await);
    let mut socket = second.connects(&chat).await;
    clock.advance(Duration::from_millis(10_001));
    assert!(refused(&refresh(&chat, &ada.refresh).await));
    assert_eq!(soon(socket.hears_close()).await, 4403);
    assert!(!second.is_signed_in(&chat).await && other.is_signed_in(&chat).await);
    assert!(refused(&refresh(&chat, &second.refresh).await));
    // What was made up ends nothing.
    for wrong in ["", "x", &other.refresh[1..], &format!("{}A", other.refresh), &other.access] {
        assert!(refused(&refresh(&chat, wrong).await), "{wrong}");
    }
    assert!(other.is_signed_in(&chat).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_is_answered_before_the_connection_ends() {
    let chat = served(&HeldClock::new()).await;
    Member::signs_up(&chat, "Ada").await;
    let sign_out = json!({ "query": "mutation { signOut { sessionId } }" });
    for (protocol, start) in [("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")] {
        let bearer = format!("Bearer {}", Member::signs_in(&chat, "Ada").await.access);
        let mut socket = Socket::open_with(chat.address, protocol, Some(&bearer)).await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        socket.says(json!({ "type": start, "id": "1", "payload": sign_out })).await;
        let answer = socket.hears().await;
        assert!(answer["payload"]["data"]["signOut"]["sessionId"].is_string(), "{answer}");
        assert_eq!(socket.hears().await["type"], "complete");
        assert_eq!(socket.hears_close().await, 4403);
    }
    let ada = Member::signs_in(&chat, "Ada").await;
    let request = chat.http.post(chat.url("/graphql")).header("accept", "text/event-stream").bearer_auth(&ada.access);
    let events = soon(request.json(&sign_out).send()).await.unwrap().text().await.unwrap();
    assert!(events.contains("sessionId") && events.ends_with("event: complete\ndata:\n\n"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_repeated_gives_the_same_token() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let first = Member::of(&refresh(&chat, &ada.refresh).await);
    assert_ne!(first.refresh, ada.refresh);
    clock.advance(Duration::from_secs(4));
    let again = Member::of(&refresh(&chat, &ada.refresh).await);
    assert_eq!(again.refresh, first.refresh);
    assert!(first.is_signed_in(&chat).await && again.is_signed_in(&chat).await);
    // By a server that was started since, and by one with a new key.
    let chat = Chat::by(&clock, chat.stop().await, &ACCOUNTS).await;
    assert_eq!(Member::of(&refresh(&chat, &ada.refresh).await).refresh, first.refresh);
    let keys = format!("bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=,{KEY}");
    let flags = ["--auth", "jwt", "--signing-key", &keys];
    let chat = Chat::by(&clock, chat.stop().await, &flags).await;
    clock.advance(Duration::from_secs(6));
    assert_eq!(Member::of(&refresh(&chat, &ada.refresh).await).refresh, first.refresh);
    // The chain goes on with the new key.
    let second = Member::of(&refresh(&chat, &first.refresh).await);
    assert_eq!(Member::of(&refresh(&chat, &first.refresh).await).refresh, second.refresh);
    let third = Member::of(&refresh(&chat, &second.refresh).await);
    // Only the last token is given again: one from before it was not lost on the way.
    assert!(refused(&refresh(&chat, &first.refresh).await));
    assert!(!third.is_signed_in(&chat).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_how_long_a_refresh_can_be_repeated_is_a_setting() {
    for (period, after_ms, is_repeated) in [("60", 60_000, true), ("60", 60_001, false), ("0", 1, false)] {
        let clock = HeldClock::new();
        let flags = [&ACCOUNTS[..], &["--refresh-grace-period", period]].concat();
        let chat = Chat::by(&clock, Database::new().await, &flags).await;
        let ada = Member::signs_up(&chat, "Ada").await;
        let first = Member::of(&refresh(&chat, &ada.refresh).await);
        clock.advance(Duration::from_millis(after_ms));
        let again = refresh(&chat, &ada.refresh).await;
        assert_eq!(refused(&again), !is_repeated, "{period}: {again}");
        assert_eq!(first.is_signed_in(&chat).await, is_repeated, "{period}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_refresh_at_once_get_the_same_token() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let other = another(&chat, &clock).await;
    for name in ["Ada", "Bob", "Eve"] {
        let member = Member::signs_up(&chat, name).await;
        let (here, there) = tokio::join!(
            join_all((0..8).map(|_| refresh(&chat, &member.refresh))),
            join_all((0..8).map(|_| accounts::refresh(&other, &member.refresh, None))),
        );
        let mut tokens: Vec<String> = here.iter().map(|payload| Member::of(payload).refresh).collect();
        tokens.extend(there.into_iter().map(|signed_in| signed_in.unwrap().refresh_token));
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "{tokens:?}");
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_asks_for_no_transaction() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let (out, session) = ("mutation { signOut { sessionId } }", ada.session(&chat).await);
    assert_eq!(ada.asks(&chat, out, json!({})).await["data"]["signOut"]["sessionId"], session);
    let next = Member::of(&refresh(&chat, &bob.refresh).await);
    // Nobody can change a session.
    let lock =
        if chat.database.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN; LOCK TABLE sessions IN EXCLUSIVE MODE" };
    let _lock = chat.database.run(lock).await;
    assert!(refused(&refresh(&chat, &ada.refresh).await));
    assert_eq!(Member::of(&refresh(&chat, &bob.refresh).await).refresh, next.refresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_another_process_made_is_found_however_late() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let slow = HeldClock::new();
    let other = another(&chat, &slow).await;
    let ends = async |member: &Member| {
        let viewer = Viewer::of(&other, Some(&format!("Bearer {}", member.access))).await.unwrap();
        accounts::sign_out(&other, &viewer, None, None).await.unwrap();
    };
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let operator = Viewer::operator(&other);
    let (id, token) = admin::issue_token(&other, &operator, Name::parse("billing".into()).unwrap()).await.unwrap();
    let mut sockets = [ada.connects(&chat).await, bob.connects(&chat).await];
    let mut service = Socket::open_with(chat.address, "graphql-transport-ws", Some(&format!("Bearer {token}"))).await;
    service.says(json!({ "type": "connection_init" })).await;
    assert_eq!(service.hears().await["type"], "connection_ack");

    // By a clock that is behind.
    clock.advance(Duration::from_secs(40));
    accounts::poll_revocations(&chat.app).await;
    ends(&ada).await;
    accounts::poll_revocations(&chat.app).await;
    assert_eq!(sockets[0].hears_close().await, 4403);

    // While nobody could look.
    slow.advance(Duration::from_secs(40));
    ends(&bob).await;
    assert!(admin::revoke_token(&other, &operator, id).await.unwrap());
    chat.database.run("ALTER TABLE service_tokens RENAME TO moved").await;
    for _ in 0..10 {
        clock.advance(Duration::from_mins(5));
        accounts::poll_revocations(&chat.app).await;
    }
    chat.database.run("ALTER TABLE moved RENAME TO service_tokens").await;
    accounts::poll_revocations(&chat.app).await;
    assert_eq!(sockets[1].hears_close().await, 4403);
    assert_eq!(service.hears_close().await, 4403);
    other.close().await;
}

/// Also before this process has heard of the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_on_a_socket_looks_its_session_up_when_it_begins() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let other = another(&chat, &clock).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let mut socket = ada.connects(&chat).await;
    let viewer = Viewer::of(&other, Some(&format!("Bearer {}", ada.access))).await.unwrap();
    Member::signs_up(&chat, "Bob").await;
    let send = r#"mutation { sendMessage(input: { receiverId: 2, content: "hello" }) { message { content } } }"#;
    socket.subscribes("1", send, json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["sendMessage"]["message"]["content"], "hello");
    assert_eq!(socket.hears().await["type"], "complete");
    accounts::sign_out(&other, &viewer, None, None).await.unwrap();
    socket.subscribes("2", send, json!({})).await;
    let said = socket.hears().await;
    assert_eq!(said["payload"][0]["extensions"]["code"], "UNAUTHENTICATED", "{said}");
    other.close().await;
}

/// All of them must be ended in one transaction, when the password is changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_sessions_and_old_ones_are_deleted() {
    let clock = HeldClock::new();
    let chat = served(&clock).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let count = async |of: &str| {
        let query = format!("SELECT count(*) FROM sessions WHERE {of}");
        let read = move |conn: &mut Conn<'_>| {
            let query = sql::<BigInt>(&query);
            let count: QueryResult<i64> = match conn {
                Conn::Sqlite(conn) => query.get_result(*conn),
                Conn::Postgres(conn) => query.get_result(*conn),
            };
            Ok::<_, store::Error>(count.unwrap())
        };
        chat.app.store.read(read).await.unwrap()
    };
    clock.advance(Duration::from_secs(1));
    let now = clock.reader()().milliseconds();
    let hash = if chat.database.is_sqlite() { "randomblob(32)" } else { "sha256(CAST(CAST(number AS TEXT) AS BYTEA))" };
    let later = clock.reader()().later(Duration::from_hours(100)).milliseconds();
    let insert = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 1200)
         INSERT INTO sessions (user_id, device, refresh_hash, created_at, last_used_at, expires_at)
         SELECT 1, '', {hash}, {now}, 1, {later} FROM numbers"
    );
    drop(chat.database.run(&insert).await);
    assert_eq!(count("ended_at IS NULL").await, 1_201);
    clock.advance(Duration::from_secs(1));
    let newest = Member::signs_in(&chat, "Ada").await;
    assert_eq!(count("ended_at IS NULL").await, 1_000);
    assert!(!ada.is_signed_in(&chat).await && newest.is_signed_in(&chat).await);

    let purge = || chat.app.store.write(move |conn| store::sessions::purge(conn, Timestamp::from_milliseconds(later)));
    let mut steps = 0;
    while purge().await.unwrap() > 0 {
        steps += 1;
    }
    assert_eq!((count("ended_at IS NOT NULL").await, count("TRUE").await, steps), (0, 1_000, 1));
    drop(chat.database.run("UPDATE sessions SET expires_at = 1").await);
    while purge().await.unwrap() > 0 {
        steps += 1;
    }
    assert_eq!((count("TRUE").await, steps), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_sign_out_in_the_same_request_is_not_done() {
    let chat = Chat::with(&ACCOUNTS).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let mutation = "mutation ($to: ID!) {
        one: sendMessage(input: { receiverId: $to, content: \"before\" }) { message { id } }
        signOut { sessionId }
        two: sendMessage(input: { receiverId: $to, content: \"after\" }) { message { id } }
        three: signIn(input: { email: \"ada@example.com\", password: \"x\" }) { viewer { user { id } } }
    }";
    let answer = ada.asks(&chat, mutation, json!({ "to": bob.id })).await;
    assert_eq!((&answer["errors"][0]["path"], code(&answer)), (&json!(["two"]), "UNAUTHENTICATED".to_owned()));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    let messages = bob.asks(&chat, "{ messages { nodes { content } } }", json!({})).await;
    assert_eq!(messages["data"]["messages"]["nodes"], json!([{ "content": "before" }]));
    // Nor does the socket go on with another session.
    let eve = Member::signs_up(&chat, "Eve").await;
    let mut socket = eve.connects(&chat).await;
    let other = Member::signs_in(&chat, "Eve").await;
    let renew =
        "mutation ($token: String!) { signOut { sessionId } renewConnection(accessToken: $token) { expiresAt } }";
    socket.subscribes("1", renew, json!({ "token": other.access })).await;
    let answer = socket.hears().await;
    assert_eq!(code(&answer["payload"]), "UNAUTHENTICATED", "{answer}");
    // Others may sign in then.
    let mutation = "mutation ($input: SignInInput!) {
        signOut { sessionId }
        signIn(input: $input) { viewer { user { id } } }
    }";
    let input = json!({ "email": "bob@example.com", "password": PASSWORD });
    let answer = ada.asks(&chat, mutation, json!({ "input": input })).await;
    assert_eq!(code(&answer), "UNAUTHENTICATED", "her session has ended");
    let answer = bob.asks(&chat, mutation, json!({ "input": input })).await;
    assert_eq!(answer["data"]["signIn"]["viewer"]["user"]["id"], json!(bob.id), "{answer}");
}

/// Otherwise the tokens of the first would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_where_somebody_signs_in_twice_in_an_operation() {
    let chat = Chat::with(&ACCOUNTS).await;
    let up = |name: &str| {
        format!(
            "signUp(input: {{ name: \"{name}\", email: \"{name}@example.com\", password: \"{PASSWORD}\" }}) {{ accessToken }}"
        )
    };
    let sign_in =
        format!("signIn(input: {{ email: \"Ada@example.com\", password: \"{PASSWORD}\" }}) {{ accessToken }}");
    for twice in [
        format!("mutation {{ a: {} b: {} }}", up("Ada"), up("Bob")),
        format!("mutation {{ {} ...B }} fragment B on Mutation {{ {sign_in} }}", up("Ada")),
        format!("mutation {{ {} ... @include(if: true) {{ {sign_in} }} }}", up("Ada")),
    ] {
        let answer = chat.ask(&twice, json!({})).await;
        assert_eq!((code(&answer), answer.get("data")), ("QUERY_TOO_COMPLEX".to_owned(), None), "{answer}");
    }
    let once = format!("mutation ($no: Boolean!) {{ {} ... @include(if: $no) {{ {sign_in} }} }}", up("Ada"));
    let answer = chat.ask(&once, json!({ "no": true })).await;
    assert_eq!(code(&answer), "QUERY_TOO_COMPLEX");
    // Had she signed up before, her address were taken.
    let answer = chat.data(&once, json!({ "no": false })).await;
    assert!(answer["signUp"]["accessToken"].is_string(), "{answer}");
    // In a batch the first one keeps its tokens.
    let batch =
        json!([{ "query": format!("mutation {{ {} }}", up("Bob")) }, { "query": format!("mutation {{ {sign_in} }}") }]);
    let batch = chat.http.post(chat.url("/graphql")).json(&batch).send().await.unwrap().json::<Value>().await.unwrap();
    assert!(batch[0]["data"]["signUp"]["accessToken"].is_string(), "{batch}");
    assert_eq!(code(&batch[1]), "QUERY_TOO_COMPLEX");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_an_account_that_was_lost_are_nobodys() {
    let chat = Chat::with(&ACCOUNTS).await;
    let eve = Member::signs_up(&chat, "Eve").await;
    let mut socket = eve.connects(&chat).await;
    socket.subscribes("feed", "subscription { feed { kind } }", json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    lose_accounts(&chat).await;
    let bob = Member::signs_up(&chat, "Bob").await;
    assert_eq!(bob.id, eve.id);
    assert!(!eve.is_signed_in(&chat).await);
    assert!(refused(&refresh(&chat, &eve.refresh).await));
    assert!(bob.is_signed_in(&chat).await);
    // A SQLite file is not replaced under a server that runs.
    if !chat.database.is_sqlite() {
        assert_eq!(socket_code(&mut socket, "1", "{ me { user { name } } }").await, "UNAUTHENTICATED");
        let cyn = Member::signs_up(&chat, "Cyn").await;
        let send = r#"mutation { sendMessage(input: { receiverId: 1, content: "to Bob" }) { userErrors { code } } }"#;
        assert_eq!(cyn.asks(&chat, send, json!({})).await["data"]["sendMessage"]["userErrors"], json!([]));
        let said = socket.hears().await;
        assert_eq!(said["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{said}");
    }
}
