//! The index of searches stays in step with the messages: after an update, crashes, edits and deletions, with an endpoint that
//! fails, and with several servers on one database.

use std::{collections::BTreeSet, fs, time::Duration};

use aho_corasick::AhoCorasick;
use axum::response::Response;
use duologue::{
    app::{App, open_embedder},
    domain::{changes, indexing::index_words},
    model::{
        ids::{ConversationId, MessageId},
        searches::Scope,
        vectors::{QueryVector, Vector},
    },
    store,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    checks::unread,
    crowd::short_or_long,
    embedders::model,
    endpoints::{Program, good, status},
    harness::{Chat, Database, Person, authorization, client, soon},
    meanings::{Reader, is_indexed},
    program::{program, server, started, terminate},
    searches::{SEARCH, found, texts},
    upgrades::undo_from,
};

/// The migration that adds the index.
const SEARCH_TABLES: &str = "2026-11-26-000004_search";

/// The messages of a stored chunk.
fn messages(entries: &[u8], vectors: &[u8]) -> Vec<MessageId> {
    let dimensions = vectors.len() / (entries.len() / 16) - 4;
    let any = QueryVector::from(&Vector::new(vec![1.0; dimensions]).unwrap());
    any.scores(entries, vectors).unwrap().map(|(entry, _)| entry.message).collect()
}

/// The messages that have vectors, each as often as it has one.
pub(crate) async fn with_vectors(app: &App) -> Vec<MessageId> {
    let read = |conn: &mut store::Conn<'_>| {
        let mut found = Vec::new();
        for model in store::vectors::models(conn)? {
            store::vectors::scan(conn, &model, Scope::All, |(_, _, entries, vectors)| {
                found.extend(messages(&entries, &vectors));
                Ok::<_, store::Error>(())
            })?;
        }
        found.sort();
        Ok::<_, store::Error>(found)
    };
    app.store.read(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_earlier_release_are_indexed_while_people_search() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..150 {
        ada.sends(&format!("Message number {number}"), &bob).await;
    }
    let deleted = ada.sends("Message that goes", &bob).await;
    ada.deletes(&deleted).await;
    let (ada, bob) = (ada.id.clone(), bob.id.clone());
    let database = chat.stop().await;
    undo_from(&database, SEARCH_TABLES).await;
    let chat = Chat::on(database, &[]).await;
    let person = |id: &str| Person { chat: &chat, id: id.to_owned() };
    // No job runs yet: what is not found is told.
    person(&ada).sends("Message of now", &person(&bob)).await;
    let input = json!({ "text": "message", "userId": ada });
    let first = found(&chat, input.clone()).await;
    assert_eq!((&first["pending"], first["edges"].as_array().unwrap().len()), (&json!(150), 1));
    person(&ada).edits("msg_7", "Edited message").await;
    index_words(&chat.app).await.unwrap();
    let all = found(&chat, input).await;
    assert_eq!((&all["pending"], all["pageInfo"]["hasNextPage"].clone()), (&json!(0), json!(true)));
    for (words, expected) in [("number 149", 1), ("number 6", 0), ("edited", 1), ("goes", 0), ("now", 1)] {
        assert_eq!(texts(&chat, json!({ "text": words, "userId": bob })).await.len(), expected, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_vectors_of_what_was_deleted_are_in_no_byte_of_the_file() {
    let endpoint = Program::start(long_vectors).await;
    let reader = Reader::open(&["--embedding-url", &endpoint.url, "--embedding-name", "small"]).await;
    let chat = &reader.chat;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let mut sent = Vec::new();
    for number in 0..120 {
        // Each is as long as no other: so are the vectors.
        sent.push(ada.sends(&format!("zqword{number}zq {}", "x".repeat(number)), &bob).await);
    }
    for number in 120..150 {
        eve.sends(&format!("zqword{number}zq {}", "x".repeat(number)), &bob).await;
    }
    is_indexed(&bob).await;
    let vectors = vectors(&chat.app).await;
    assert_eq!(vectors.len(), 150);
    // It answers no more: what is deleted goes all the same.
    endpoint.set(|_| status(503, &json!({})));
    for (number, id) in sent.iter().enumerate() {
        match number % 3 {
            0 => drop(ada.deletes(id).await),
            1 => drop(ada.edits(id, &format!("Edited {number}")).await),
            _ => {}
        }
    }
    eve.leaves(true).await;
    changes::finish_all(&chat.app).await.unwrap();
    soon(async { while with_vectors(&chat.app).await.len() > 40 {} }).await;
    let words: Vec<_> = (0..150).map(|number| format!("zqword{number}zq").into_bytes()).collect();
    let (words, vectors) = (AhoCorasick::new(words).unwrap(), AhoCorasick::new(vectors).unwrap());
    let path = chat.database.path();
    let left = |of: &AhoCorasick| {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(fs::read(format!("{}-wal", path.display())).unwrap_or_default());
        of.find_overlapping_iter(&bytes).map(|found| found.pattern().as_usize()).collect::<BTreeSet<_>>()
    };
    let kept: BTreeSet<usize> = (0..120).filter(|number| number % 3 == 2).collect();
    let app = chat.app.clone();
    let removal = tokio::spawn(async move { app.run_removal_job().await });
    let removes = async {
        while left(&words) != kept || left(&vectors) != kept {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), removes).await.unwrap();
    removal.abort();
}

/// Vectors of some numbers, each unlike the others. Those of texts of the same length are the same.
fn long_vectors(body: &Value) -> Option<Response> {
    let vector = |text: &Value| {
        let mut dice = ChaCha8Rng::seed_from_u64(text.as_str().unwrap().len() as u64);
        (0..64).map(|_| dice.random_range(-1.0..1.0)).collect::<Vec<f32>>()
    };
    let texts = body["input"].as_array().unwrap().iter().enumerate();
    let data: Vec<_> = texts.map(|(index, text)| json!({ "index": index, "embedding": vector(text) })).collect();
    status(200, &json!({ "data": data }))
}

/// Of each stored vector, in the order of the messages, 16 bytes.
async fn vectors(app: &App) -> Vec<Vec<u8>> {
    let read = |conn: &mut store::Conn<'_>| {
        let (model, mut found) = (store::vectors::models(conn)?.pop().unwrap(), Vec::new());
        store::vectors::scan(conn, &model, Scope::All, |(_, _, entries, vectors)| {
            let (count, size) = (entries.len() / 16, vectors.len() / (entries.len() / 16));
            let messages = messages(&entries, &vectors);
            assert_eq!(messages.len(), count);
            found.extend(messages.into_iter().zip(vectors.chunks(size).map(|vector| vector[4..20].to_vec())));
            Ok::<_, store::Error>(())
        })?;
        found.sort();
        Ok::<_, store::Error>(found.into_iter().map(|(_, vector)| vector).collect())
    };
    app.store.read(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_delays_no_send_and_is_tried_again() {
    let endpoint = Program::start(|_| status(429, &json!({ "error": { "message": "later" } }))).await;
    let reader = Reader::open(&["--embedding-url", &endpoint.url, "--embedding-name", "small"]).await;
    let chat = &reader.chat;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..20 {
        ada.sends(&format!("message {number}"), &bob).await;
    }
    let by_words = found(chat, json!({ "text": "message", "userId": bob.id })).await;
    assert_eq!((&by_words["mode"], by_words["edges"].as_array().unwrap().len()), (&json!("TEXT"), 20));
    let semantic = json!({ "input": { "text": "message", "userId": bob.id, "mode": "SEMANTIC" } });
    assert_eq!(chat.code(SEARCH, semantic).await, "UNAVAILABLE");
    // One text is refused for itself; the others get their vectors.
    endpoint.set(|body| {
        let is_poison = body["input"].as_array().unwrap().iter().any(|text| text.as_str().unwrap().ends_with(" 7"));
        if is_poison { status(400, &json!({ "error": { "message": "no" } })) } else { good(body) }
    });
    soon(async { while with_vectors(&chat.app).await.len() < 19 {} }).await;
    let refused = json!({ "input": { "text": "message 7", "userId": bob.id, "mode": "SEMANTIC" } });
    assert_eq!(chat.code(SEARCH, refused).await, "BAD_USER_INPUT");
    ada.sends("one more", &bob).await;
    soon(async { while with_vectors(&chat.app).await.len() < 20 {} }).await;
}

/// The job may read a message before an edit, and index it after that.
#[tokio::test(flavor = "multi_thread")]
async fn words_of_an_edit_outlive_those_that_were_read_before() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        // It has one writer.
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id: MessageId = ada.sends("before", &bob).await.parse().unwrap();
    ada.edits(&id.to_string(), "after").await;
    let conversation = ConversationId::between(ada.id.parse().unwrap(), bob.id.parse().unwrap()).unwrap();
    let words = store::words::MessageWords::of(id, conversation, "before");
    chat.app.store.write(move |conn| store::words::add(conn, &[words])).await.unwrap();
    for (words, expected) in [("before", 0), ("after", 1)] {
        let found = found(&chat, json!({ "text": words, "userId": bob.id, "mode": "TEXT" })).await;
        assert_eq!(found["edges"].as_array().unwrap().len(), expected, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_found_by_its_new_words_alone_before_they_are_indexed() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 1..=6 {
        ada.sends(&format!("plan {number}"), &bob).await;
    }
    index_words(&chat.app).await.unwrap();
    ada.sends("plan 7", &bob).await;
    for (message, content) in [("msg_1", "idea 1"), ("msg_3", "plan three"), ("msg_7", "plan seven")] {
        ada.edits(message, content).await;
    }
    ada.deletes("msg_4").await;
    let all = "plan seven, plan 6, plan 5, plan three, plan 2";
    let table = [("plan", all), ("pla*", all), ("idea", "idea 1"), ("plan thr*", "plan three"), ("plan 1", "")];
    for _ in 0..2 {
        for (words, expected) in table {
            for user in [json!(bob.id), Value::Null] {
                let found = found(&chat, json!({ "text": words, "userId": user, "order": "NEWEST" })).await;
                let edges = found["edges"].as_array().unwrap().iter();
                let texts: Vec<_> = edges.map(|edge| edge["node"]["content"].as_str().unwrap()).collect();
                assert_eq!((texts.join(", ").as_str(), &found["pending"]), (expected, &json!(0)), "{words}");
            }
        }
        index_words(&chat.app).await.unwrap();
    }
}

/// The program with the model, on a database.
async fn serve(database: &Database, model: &str) -> (Child, std::net::SocketAddr) {
    let mut server = server(database, &["--embedding-model", model]);
    server.env_remove("DUOLOGUE_NO_EMBEDDINGS");
    started(server).await
}

async fn pending(http: &reqwest::Client, address: std::net::SocketAddr, mode: &str) -> Option<u64> {
    let query = format!("{{ searchMessages(input: {{ text: \"x\", mode: {mode} }}) {{ pending }} }}");
    let answer = http.post(format!("http://{address}/graphql")).json(&json!({ "query": query })).send().await.ok()?;
    answer.json::<Value>().await.ok()?["data"]["searchMessages"]["pending"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_indexes_indexes_each_message_once() {
    let Some(model) = model() else { return };
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let messages = short_or_long(300, 1_000);
    for number in 0..messages {
        ada.sends(&format!("This is message wq{number}"), &bob).await;
    }
    let database = chat.stop().await;
    undo_from(&database, SEARCH_TABLES).await;
    let http = client(authorization(&database).await.as_deref());
    let edit = async |address: std::net::SocketAddr, number: u32| {
        let query = format!(
            "mutation {{ a: updateMessage(id: {}, input: {{ content: \"Edited to eq{number}\" }}) {{ message {{ id }} }}
                b: deleteMessage(id: {}) {{ deletedId }} }}",
            number * 3 + 1,
            number * 3 + 2
        );
        let _ = http.post(format!("http://{address}/graphql")).json(&json!({ "query": query })).send().await;
    };
    let rounds = short_or_long(4, 20);
    for round in 0..rounds {
        let (mut child, address) = serve(&database, model.to_str().unwrap()).await;
        let changes = async {
            for number in round * 10..round * 10 + 10 {
                edit(address, number).await;
            }
        };
        soon(changes).await;
        // At a moment of its own, while it indexes.
        tokio::time::sleep(Duration::from_millis(u64::from(37 * round % 200))).await;
        child.kill().await.unwrap();
    }
    let (child, address) = serve(&database, model.to_str().unwrap()).await;
    for mode in ["TEXT", "SEMANTIC"] {
        let indexed = async { while pending(&http, address, mode).await != Some(0) {} };
        tokio::time::timeout(Duration::from_mins(2), indexed).await.unwrap();
    }
    drop(child);
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let live = app.store.read(|conn| store::indexing::messages_after(conn, 0, 10_000)).await.unwrap();
    let live: Vec<_> = live.into_iter().filter(|message| !message.is_deleted).collect();
    let expected: BTreeSet<MessageId> = live.iter().map(|message| message.id).collect();
    let vectors = with_vectors(&app).await;
    assert_eq!(vectors.len(), expected.len(), "each has one vector");
    assert_eq!(vectors.into_iter().collect::<BTreeSet<_>>(), expected);
    for message in live {
        let word = message.content.rsplit(' ').next().unwrap().to_owned();
        let found = app.store.read(move |conn| {
            let phrases = duologue::model::phrases::Phrases::parse(&word);
            let filter = duologue::model::searches::Filter {
                scope: Scope::All,
                sender: None,
                since: None,
                until: None,
                through: None,
            };
            store::words::find(conn, &phrases, &filter, 10, usize::MAX)
        });
        let found: Vec<MessageId> = found.await.unwrap().into_iter().map(|found| found.id).collect();
        assert_eq!(found, [message.id]);
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_can_be_made_anew() {
    let endpoint = Program::start(good).await;
    let flags = ["--embedding-url", &endpoint.url, "--embedding-name", "small"];
    let reader = Reader::open(&flags).await;
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    for number in 0..150 {
        ada.sends(&format!("message {number}"), &bob).await;
    }
    is_indexed(&ada).await;
    let reindex = async |arguments: &[&str]| {
        let mut command: Command =
            program(&[&["reindex", "--database", &reader.chat.database.url], arguments].concat());
        command.env_remove("DUOLOGUE_NO_EMBEDDINGS");
        let output = soon(command.output()).await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (done, said) = reindex(&flags).await;
    assert!(done && said.contains("words of all messages") && said.contains("All messages have vectors"), "{said}");
    assert_eq!(with_vectors(&reader.chat.app).await.len(), 150);
    assert_eq!(texts(&reader.chat, json!({ "text": "message 149", "userId": bob.id, "mode": "TEXT" })).await.len(), 1);
    let (done, said) = reindex(&["--words"]).await;
    assert!(done && !said.contains("vectors"), "{said}");
    let (done, said) = reindex(&["--vectors", "--no-embeddings"]).await;
    assert!(!done && said.contains("no embedding model") && said.trim().lines().count() == 1, "{said}");
}

/// The server would remove its vectors again, or never leave any to it.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_another_model_than_that_of_the_server_are_not_begun() {
    let (endpoint, database) = (Program::start(good).await, Database::new().await);
    let with_model = |mut command: Command, name: &str| {
        command.args(["--embedding-url", &endpoint.url, "--embedding-name", name]).env_remove("DUOLOGUE_NO_EMBEDDINGS");
        command
    };
    let (child, _) = started(with_model(server(&database, &[]), "small")).await;
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let is_complete = async || {
        let models = app.store.read(store::vectors::models).await.unwrap();
        models.iter().any(|model| model.from == 0)
    };
    soon(async { while !is_complete().await {} }).await;
    let reindex = || program(&["reindex", "--database", &database.url]);
    let output = soon(with_model(reindex(), "large").output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("another embedding model"), "{said}");
    app.close().await;
    assert_eq!(terminate(child).await, Some(0));
    if database.is_sqlite() {
        // It is not known whether there is a server.
        let lock = format!("{}-server", database.path().display());
        fs::create_dir(&lock).unwrap();
        let output = soon(with_model(reindex(), "large").output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(&format!("cannot lock {lock}: ")), "{said}");
        fs::remove_dir(&lock).unwrap();
    }
    let demo = program(&["demo", "--users", "3", "--messages", "9", "--database", &database.url]).output();
    assert!(soon(demo).await.unwrap().status.success());
    // Without a server they are made, also if nobody reads that the words are done.
    assert_eq!(unread(with_model(reindex(), "large")).await, (Some(0), String::new()));
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let settings = database.settings(&["--embedding-url", &endpoint.url, "--embedding-name", "large"]);
    let identity = open_embedder(&settings.embeddings).await.unwrap().unwrap().identity().to_owned();
    let large = app.store.read(move |conn| store::vectors::model(conn, &identity)).await.unwrap();
    assert!(large.is_some());
    app.close().await;
}
