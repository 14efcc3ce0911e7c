//! Races: many who change the same things at once, on connections of their own.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use diesel::{dsl::sql, sql_types::Integer};
use diesel_async::SimpleAsyncConnection;
use duologue::{
    domain::{
        Viewer, changes, demo, feed,
        imports::{self, Line, MessageLine, UserLine},
        nodes::Membership,
    },
    model::{ids::UserId, timestamps::Timestamp},
    store,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    crowd::short_or_long,
    database::Lock,
    harness::{Chat, Database, code, text},
    servers::followed,
};

/// Servers look for what others have added until nothing more can come: not for as long as anybody writes anything at all.
#[tokio::test(flavor = "multi_thread")]
async fn ids_are_settled_once_all_who_may_have_drawn_them_are_done() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let unsettled = || chat.app.store.read(store::feed::unsettled);
    let elsewhere = chat.database.run("BEGIN; CREATE TABLE elsewhere (id BIGINT)").await;
    ada.sends("first", &bob).await;
    let earlier = unsettled().await.unwrap();
    assert_eq!(unsettled().await.unwrap().settled_since(&earlier), Some(1));
    drop(elsewhere);
    let insert = "BEGIN; INSERT INTO messages (sender_id, receiver_id, content, created_at) VALUES (1, 2, 'late', 0)";
    let Lock::Postgres(mut late) = chat.database.run(insert).await else { unreachable!() };
    let earlier = unsettled().await.unwrap();
    let now = unsettled().await.unwrap();
    assert_eq!(now.settled_since(&earlier), None);
    let process = diesel::select(sql::<Integer>("pg_backend_pid()"));
    let process: i32 = diesel_async::RunQueryDsl::get_result(process, &mut *late).await.unwrap();
    assert_eq!(now.remaining(&earlier), [process]);
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(unsettled().await.unwrap().settled_since(&earlier), Some(2));
}

/// However many ids others were given since.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_joins_hears_of_transactions_that_began_before() {
    let chat = Chat::in_real_time(Database::new().await, &[]).await;
    if chat.database.is_sqlite() {
        return;
    }
    let (_ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (_eve, _pal) = (chat.person("Eve").await, chat.person("Pal").await);
    let mut feed = followed(&bob).await;
    let columns = "INSERT INTO messages (sender_id, receiver_id, content, created_at)";
    let late = format!("BEGIN; {columns} VALUES (1, 2, 'late', 0)");
    let Lock::Postgres(mut late) = chat.database.run(&late).await else { unreachable!() };
    let others = format!("{columns} SELECT 3, 4, 'early', 0 FROM generate_series(1, 2000)");
    drop(chat.database.run(&others).await);
    let member = Membership::join(&chat.app).await.unwrap();
    let _running = AbortOnDropHandle::new(tokio::spawn(member.run(chat.app.clone())));
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(feed.next().await["message"]["content"], "late");
}

/// No answer has an error but the one that says to try again.
fn assert_retryable(answers: &[Value]) {
    for answer in answers {
        if answer.get("errors").is_some() {
            assert_eq!(code(answer), "DATABASE_BUSY", "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_to_try_again() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let lock = chat.database.locked().await;
    let send = r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "Hi" }) { duplicate } }"#;
    let (answer, read) = tokio::join!(chat.ask(send, json!({})), chat.data("{ users { nodes { id } } }", json!({})));
    assert_eq!(code(&answer), "DATABASE_BUSY");
    assert_eq!(read["users"]["nodes"].as_array().unwrap().len(), 2);
    drop(lock);
    assert!(chat.texts(&ada, &bob).await.is_empty());
    ada.sends("Hi", &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_tells_the_id_of_the_request_and_nothing_else() {
    let chat = Chat::open().await;
    let (_ada, _bob) = (chat.person("Ada").await, chat.person("Bob").await);
    drop(chat.database.run("DROP TABLE members").await);
    let send = r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "secret" }) { duplicate } }"#;
    let mut answer = chat.ask(send, json!({})).await;
    let id = text(&answer["errors"][0]["extensions"]["requestId"].take());
    assert_eq!(id.len(), 16);
    assert_eq!(
        answer,
        json!({ "data": null, "errors": [{
        "message": "Something went wrong on the server.",
        "locations": [{ "line": 1, "column": 12 }],
        "path": ["sendMessage"],
        "extensions": { "code": "INTERNAL", "requestId": null },
    }] })
    );
    // Nothing was sent.
    let data = chat.data("{ messages { nodes { id } } }", json!({})).await;
    assert_eq!(data["messages"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_stands_in_nobodys_way() {
    let chat = Chat::open().await;
    let mut people = Vec::new();
    for number in 0..8 {
        people.push(chat.person(&format!("P{number}")).await);
    }
    let send = async |from: usize, to: usize| {
        let input = json!({ "senderId": people[from].id, "receiverId": people[to].id, "content": "Hi" });
        let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { userErrors { code } } }";
        chat.ask(query, json!({ "input": input })).await
    };
    let sends = join_all((0..240).map(|n| send(n % 8, (n % 8 + 1 + n / 8 % 7) % 8)));
    // Who is told to try again does so.
    let leave = async |who: usize| {
        let query = "mutation ($id: ID!) { deleteUser(id: $id, eraseMessages: true) { deletedId } }";
        loop {
            let answer = chat.ask(query, json!({ "id": people[who].id })).await;
            assert_retryable(std::slice::from_ref(&answer));
            if answer.get("errors").is_none() {
                return answer;
            }
        }
    };
    let (answers, left) = tokio::join!(sends, join_all([1, 4, 6].map(leave)));
    assert_retryable(&answers);
    // What is left with those who are gone was sent to them, not by them.
    let query = "query ($one: ID!, $other: ID!) {
        conversation(user1: $one, user2: $other) { messages { nodes { receiver { id } } } }
    }";
    for (who, answer) in [1, 4, 6].into_iter().zip(&left) {
        assert_eq!(answer["data"]["deleteUser"]["deletedId"], people[who].id);
        for other in people.iter().filter(|other| other.id != people[who].id) {
            let data = chat.data(query, json!({ "one": people[who].id, "other": other.id })).await;
            for node in data["conversation"]["messages"]["nodes"].as_array().into_iter().flatten() {
                assert_eq!(node["receiver"], json!(null));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_end_of_an_erasure() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let cem = chat.person("Cem").await;
    let lines = (1..).zip(demo::lines(3, 6_000, 1, Timestamp::now()).map(Ok));
    imports::import(&chat.app, &Viewer::operator(&chat.app), lines).await.unwrap();
    let left = chat.ask(r#"mutation { deleteUser(id: "usr_4", eraseMessages: true) { deletedId } }"#, json!({})).await;
    assert_eq!(left["data"]["deleteUser"]["deletedId"], "usr_4");
    let sends = async {
        ada.sends("still here", &bob).await;
        bob.sends("so am I", &cem).await;
        chat.app.store.read(|conn| store::messages::oldest_sent_by(conn, UserId::new(4).unwrap(), 1)).await.unwrap()
    };
    let (left, finished) = tokio::join!(sends, changes::finish_all(&chat.app));
    finished.unwrap();
    assert_eq!(left.len(), 1, "the erasure has ended before the sends");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_edit_of_a_version_wins_also_between_erased_users() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hi", &bob).await;
    ada.leaves(false).await;
    bob.leaves(false).await;
    let edit = "mutation ($id: ID!) { updateMessage(id: $id, input: { content: \"x\", expectedVersion: 1 }) {
        message { version } userErrors { code }
    } }";
    let edits = join_all((0..20).map(|_| chat.data(edit, json!({ "id": id })))).await;
    assert_eq!(edits.iter().filter(|edit| edit["updateMessage"]["message"].is_object()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_swap_addresses_do_not_break_anything() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let update = "mutation ($id: ID!, $email: String!) { updateUser(id: $id, input: { email: $email }) { userErrors { code } } }";
    let emails = ["one@x", "two@x"];
    let change = |n: usize| {
        let (id, email) = ([&ada.id, &bob.id][n % 2], emails[(n + n / 2) % 2]);
        chat.ask(update, json!({ "id": id, "email": email }))
    };
    assert_retryable(&join_all((0..60).map(change)).await);
    let data = chat.data("{ users { nodes { email } } }", json!({})).await;
    let mut found: Vec<String> =
        data["users"]["nodes"].as_array().unwrap().iter().map(|user| text(&user["email"])).collect();
    found.sort();
    assert_eq!(found, emails);
}

/// Whatever others change meanwhile, they and the import wait for each other, and not in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_and_those_who_change_things_meanwhile_do_not_block_each_other() {
    let chat = Chat::open().await;
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(chat.person(&format!("P{number}")).await);
    }
    let is_done = AtomicBool::new(false);
    let changes = async |who: usize| {
        let (me, peer) = (&people[who], &people[(who + 1) % people.len()]);
        let mut number = 0;
        while !is_done.load(Ordering::Relaxed) {
            number += 1;
            let id = me.sends("Hi", peer).await;
            me.edits(&id, "Hello").await;
            let read =
                "mutation ($id: ID!, $user: ID!) { markRead(messageId: $id, userId: $user) { userErrors { code } } }";
            chat.data(read, json!({ "id": id, "user": peer.id })).await;
            let rename = "mutation ($id: ID!, $name: String!) {
                updateUser(id: $id, input: { name: $name }) { userErrors { code } }
            }";
            chat.data(rename, json!({ "id": me.id, "name": format!("P{number}") })).await;
            me.deletes(&id).await;
            if who == 0 {
                feed::trim(&chat.app, Duration::ZERO).await.unwrap();
            } else {
                let leaver = chat.person(&format!("L{who}of{number}")).await;
                leaver.sends("Hi", me).await;
                leaver.leaves(true).await;
            }
        }
    };
    let importing = async {
        for number in 0..short_or_long(15, 200) {
            let at = "2026-01-31T12:00:00Z".to_owned();
            let mut lines = Vec::new();
            for id in 1..=2 {
                let (name, email) = (format!("I{id}"), format!("i{id}of{number}@x"));
                lines.push(Line::User(UserLine {
                    id,
                    name,
                    email: Some(email),
                    created_at: at.clone(),
                    ..UserLine::default()
                }));
            }
            let (sender_id, receiver_id, content) = (1, 2, "imported".to_owned());
            lines.push(Line::Message(MessageLine {
                id: 1,
                sender_id,
                receiver_id,
                content,
                created_at: at,
                ..MessageLine::default()
            }));
            let operator = Viewer::operator(&chat.app);
            imports::import(&chat.app, &operator, (1..).zip(lines.into_iter().map(Ok))).await.unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    };
    // An error of any of them is one of this test: a circle would end by one.
    tokio::join!(importing, join_all((0..people.len()).map(changes)));
}
