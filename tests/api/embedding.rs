//! Messages get vectors in the background: soon, older ones too, by one of several servers, whatever happens meanwhile.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use duologue::{
    app::App,
    domain::embedding,
    model::{ids::MessageId, timestamps::Timestamp},
    store,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    embedders::model,
    endpoints::{Program, good, status},
    expiry::{DAY, keep_for},
    harness::{Chat, Database, Person, soon},
    indexing::with_vectors,
    meanings::{Reader, is_indexed, means},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_message_is_found_by_its_meaning_within_seconds() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    // Nothing is left to do when the next one is sent.
    for content in ["one", "three", "eleven"] {
        let begun = Instant::now();
        ada.sends(content, &bob).await;
        is_indexed(&bob).await;
        // Sooner than it would be seen without a signal.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert!(means(&bob, content).await.contains(&content.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_there_before_the_model_get_vectors() {
    let Some(model) = model() else { return };
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..100 {
        ada.sends(&format!("Message number {number}"), &bob).await;
    }
    ada.sends("We are out of milk and bread", &bob).await;
    let (ada, bob) = (ada.id.clone(), bob.id.clone());
    let database = chat.stop().await;
    let flags = ["--embedding-model", model.to_str().unwrap()];
    let reader = Reader::on(database, &flags).await;
    let person = |id: &str| Person { chat: &reader.chat, id: id.to_owned() };
    is_indexed(&person(&bob)).await;
    assert_eq!(means(&person(&bob), "groceries to buy").await[0], "We are out of milk and bread");
    person(&ada).sends("The meeting moved to Friday", &person(&bob)).await;
    is_indexed(&person(&bob)).await;
    assert_eq!(means(&person(&bob), "an appointment was rescheduled").await[0], "The meeting moved to Friday");
}

/// Its new vector is still to be made when it is hidden.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_that_becomes_too_old_is_done() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    let chat = &reader.chat;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("first", &bob).await;
    is_indexed(&ada).await;
    endpoint.set(|body| status(503, body));
    ada.edits(&id, "second").await;
    let waits_for_its_vector = async |expected: bool| {
        let waiting = || chat.app.store.read(|conn| store::indexing::changes(conn, true, 1));
        soon(async { while waiting().await.unwrap().is_empty() == expected {} }).await;
    };
    waits_for_its_vector(true).await;
    // The clock of the server stands in the past, and that of the database does not.
    keep_for(chat, DAY).await;
    endpoint.set(good);
    waits_for_its_vector(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beside_a_long_transaction_get_vectors_too() {
    const MESSAGES: usize = 600;
    let endpoint = Program::start(good).await;
    let flags = ["--embedding-url", &endpoint.url, "--embedding-name", "small", "--embedding-batch", "100"];
    let chat = Chat::on(Database::new().await, &flags).await;
    if chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hello", &bob).await;
    let mut jobs = JoinSet::new();
    jobs.spawn(embedding::run_job(chat.app.clone()));
    is_indexed(&bob).await;
    jobs.shutdown().await;
    for number in 0..MESSAGES {
        ada.sends(&format!("number {number}"), &bob).await;
    }
    let insert = "BEGIN; INSERT INTO messages (sender_id, receiver_id, content, created_at) VALUES (1, 2, 'late', 0)";
    let late = chat.database.run(insert).await;
    jobs.spawn(embedding::run_job(chat.app.clone()));
    // As many as are looked at together.
    soon(async { while with_vectors(&chat.app).await.len() < 1 + 256 {} }).await;
    drop(late);
    soon(async { while with_vectors(&chat.app).await.len() < 1 + MESSAGES {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_model_fails_leaves_the_messages_to_another() {
    let (failing, working) = (Program::start(|_| status(401, &json!({}))).await, Program::start(good).await);
    let reader = Reader::asking(&failing).await;
    if reader.chat.database.is_sqlite() {
        // Several servers do not use a file.
        return;
    }
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    ada.sends("hello", &bob).await;
    soon(async {
        while failing.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let settings = reader.chat.database.settings(&["--embedding-url", &working.url, "--embedding-name", "small"]);
    let mut other = App::open(&settings.database).await.unwrap();
    other.configure(&settings).await.unwrap();
    let other = Arc::new(other);
    let job = tokio::spawn(embedding::run_job(other.clone()));
    soon(async { while with_vectors(&other).await.is_empty() {} }).await;
    job.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_give_each_message_one_vector() {
    let endpoint = Program::start(good).await;
    let flags = ["--embedding-url", &endpoint.url, "--embedding-name", "small"];
    let reader = Reader::open(&flags).await;
    let settings = reader.chat.database.settings(&flags);
    let mut other = App::open(&settings.database).await.unwrap();
    other.configure(&settings).await.unwrap();
    let other = Arc::new(other);
    let job = tokio::spawn(embedding::run_job(other.clone()));
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    for number in 0..200 {
        ada.sends(&format!("message {number}"), &bob).await;
    }
    is_indexed(&ada).await;
    job.abort();
    assert_eq!(with_vectors(&other).await.len(), 200);
    if reader.chat.database.is_sqlite() {
        // Several servers do not use a file.
        return;
    }
    let batches: Vec<Value> = endpoint.seen().into_iter().map(|(_, mut body)| body["input"].take()).collect();
    let texts = batches.iter().flat_map(|batch| batch.as_array().unwrap()).map(Value::to_string);
    let texts: Vec<_> = texts.filter(|text| text.contains("message")).collect();
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "none was asked for twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_ready_before_the_first_message_and_what_cannot_be_embedded_is_given_up() {
    let endpoint = Program::start(good).await;
    let reader = Reader::open(&["--embedding-url", &endpoint.url, "--embedding-name", "small"]).await;
    let app = &reader.chat.app;
    let model = soon(async {
        loop {
            if let Some(model) = app.store.read(store::vectors::models).await.unwrap().pop() {
                break model;
            }
        }
    });
    model.await;
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    let first = ada.sends("first", &bob).await;
    is_indexed(&ada).await;
    assert_eq!(with_vectors(app).await.len(), 1);
    // Refused a while ago, and deleted since: it is not tried for ever.
    let id: MessageId = first.parse().unwrap();
    ada.deletes(&first).await;
    let fail = move |conn: &mut store::Conn<'_>| {
        let model = store::vectors::models(conn)?.pop().unwrap();
        store::vectors::note_failure(conn, &model, id, Timestamp::MIN, 3)
    };
    app.store.write::<_, store::Error>(fail).await.unwrap();
    app.unembedded.notify_one();
    let is_left = |conn: &mut store::Conn<'_>| {
        let model = store::vectors::models(conn)?.pop().unwrap();
        Ok::<_, store::Error>(!store::vectors::failures(conn, &model, Timestamp::MAX, 1)?.is_empty())
    };
    soon(async { while app.store.read(is_left).await.unwrap() {} }).await;
    // After the last attempt it is forgotten.
    let exhaust = move |conn: &mut store::Conn<'_>| {
        let model = store::vectors::models(conn)?.pop().unwrap();
        (0..3).try_for_each(|_| store::vectors::note_failure(conn, &model, id, Timestamp::MIN, 3))?;
        is_left(conn)
    };
    assert!(!app.store.write(exhaust).await.unwrap());
}
