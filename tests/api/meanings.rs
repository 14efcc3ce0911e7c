//! Searches by meaning, with the real model: what is found, how soon, by whom, and that it is gone when its message is.

use duologue::{
    domain::{Viewer, embedding, indexing, reindexing},
    store,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use crate::{
    embedders::model,
    endpoints::{Program, good, status},
    harness::{Chat, Database, Person, code, soon},
    indexing::with_vectors,
    program::program,
    searches::{SEARCH, found, texts},
};

/// A server with the model, and with the jobs that keep its index up to date.
pub(crate) struct Reader {
    pub(crate) chat: Chat,
    jobs: JoinSet<()>,
}

impl Reader {
    pub(crate) async fn open(flags: &[&str]) -> Self {
        Self::on(Database::new().await, flags).await
    }

    pub(crate) async fn on(database: Database, flags: &[&str]) -> Self {
        let chat = Chat::on(database, flags).await;
        let mut jobs = JoinSet::new();
        jobs.spawn(indexing::run_words_job(chat.app.clone()));
        jobs.spawn(embedding::run_job(chat.app.clone()));
        Self { chat, jobs }
    }

    /// The same, with another program that makes the vectors.
    pub(crate) async fn asking(endpoint: &Program) -> Self {
        Self::open(&["--embedding-url", &endpoint.url, "--embedding-name", "small"]).await
    }

    /// Ends it; gives its database.
    async fn stop(mut self) -> Database {
        self.jobs.shutdown().await;
        self.chat.stop().await
    }
}

/// What is found by meaning alone, best first.
pub(crate) async fn means(person: &Person<'_>, sentence: &str) -> Vec<String> {
    texts(person.chat, json!({ "text": sentence, "userId": person.id, "mode": "SEMANTIC" })).await
}

/// Waits until all messages of a user have vectors.
pub(crate) async fn is_indexed(person: &Person<'_>) {
    let input = json!({ "text": "anything", "userId": person.id, "mode": "SEMANTIC" });
    soon(async { while found(person.chat, input.clone()).await["pending"] != 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_their_meaning() {
    let Some(model) = model() else { return };
    let reader = Reader::open(&["--embedding-model", model.to_str().unwrap()]).await;
    let chat = &reader.chat;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let wanted = "I forgot my password and cannot sign in";
    for content in ["Shall we have lunch at noon?", wanted, "The train was an hour late again", "Happy birthday!"] {
        ada.sends(content, &bob).await;
    }
    eve.sends("how do I log into my account", &ada).await;
    is_indexed(&bob).await;
    is_indexed(&ada).await;
    assert_eq!(means(&bob, "how to log into my account").await[0], wanted);
    assert_eq!(means(&bob, "how to log into my account").await.len(), 4, "only the own messages");
    // By words nothing is found, and both together find it all the same.
    let both = found(chat, json!({ "text": "how to log into my account", "userId": bob.id })).await;
    assert_eq!(both["mode"], "HYBRID");
    assert_eq!(both["edges"][0]["node"]["content"], wanted);
    let words = found(chat, json!({ "text": "how to log into my account", "userId": bob.id, "mode": "TEXT" })).await;
    assert_eq!((&words["mode"], &words["edges"]), (&json!("TEXT"), &json!([])));
    // In order of time words decide.
    let newest = found(chat, json!({ "text": "password", "userId": bob.id, "order": "NEWEST" })).await;
    assert_eq!((&newest["mode"], newest["edges"].as_array().unwrap().len()), (&json!("TEXT"), 1));
    let features = chat.data("{ server { features } }", json!({})).await["server"]["features"].take();
    assert!(features.as_array().unwrap().contains(&json!("search:semantic")), "{features}");
    // Narrowed down, before the best are chosen.
    for (filter, expected) in [
        (json!({ "senderId": bob.id }), 0),
        (json!({ "senderId": ada.id }), 4),
        (json!({ "userId": ada.id }), 5),
        (json!({ "userId": ada.id, "senderId": eve.id }), 1),
        (json!({ "userId": ada.id, "until": "2000-01-01T00:00:00Z" }), 0),
        (json!({ "userId": ada.id, "since": "2000-01-01T00:00:00Z" }), 5),
        (json!({ "conversationId": format!("cnv_{}_{}", &ada.id[4..], &eve.id[4..]), "userId": ada.id }), 1),
    ] {
        let mut input = json!({ "text": "signing in", "userId": bob.id, "mode": "SEMANTIC" });
        input.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        assert_eq!(texts(chat, input.clone()).await.len(), expected, "{input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_edited_or_deleted_is_found_by_its_former_meaning_no_more() {
    let Some(model) = model() else { return };
    let reader = Reader::open(&["--embedding-model", model.to_str().unwrap()]).await;
    let chat = &reader.chat;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let first = ada.sends("The cat sleeps on the sofa", &bob).await;
    let second = ada.sends("A dog barks in the garden", &bob).await;
    is_indexed(&ada).await;
    ada.edits(&first, "The invoice was paid yesterday").await;
    ada.deletes(&second).await;
    // At once, before its new text has a vector.
    let input = json!({ "text": "pets", "userId": bob.id, "mode": "SEMANTIC" });
    let at_once = found(chat, input).await["edges"].take();
    let is_new = |edge: &Value| edge["node"]["content"].as_str().unwrap().starts_with("The invoice");
    assert!(at_once.as_array().unwrap().iter().all(is_new), "{at_once}");
    is_indexed(&ada).await;
    assert_eq!(means(&bob, "money").await, ["The invoice was paid yesterday"]);
    let vectors = soon(async {
        loop {
            let count = chat.app.store.read(|conn| {
                let mut count = 0;
                for model in store::vectors::models(conn)? {
                    store::vectors::scan(conn, &model, duologue::model::searches::Scope::All, |(_, _, entries, _)| {
                        count += entries.len() / 16;
                        Ok::<_, store::Error>(())
                    })?;
                }
                Ok::<_, store::Error>(count)
            });
            let count = count.await.unwrap();
            if count == 1 {
                return count;
            }
        }
    });
    assert_eq!(vectors.await, 1);
    ada.leaves(true).await;
    assert_eq!(means(&bob, "money").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_other_dimensions_are_made_by_a_new_index() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    let message = reader.chat.person("Ada").await.sends("hello", &reader.chat.person("Bob").await).await;
    is_indexed(&Person { chat: &reader.chat, id: "usr_1".into() }).await;
    let database = reader.stop().await;
    endpoint.set(|body| {
        let vector = |index| json!({ "index": index, "embedding": [0.6, 0.8] });
        let data: Vec<Value> = (0..body["input"].as_array().unwrap().len()).map(vector).collect();
        status(200, &json!({ "data": data }))
    });
    let reader = Reader::on(database, &["--embedding-url", &endpoint.url, "--embedding-name", "small"]).await;
    let app = &reader.chat.app;
    // It is seen at the start, before there is something to make, and no search takes it for an answer.
    let failed = || app.counters.embeddings.get_or_create(&[("outcome", "failed")]).get();
    soon(async {
        while failed() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let semantic = json!({ "input": { "text": "hello", "userId": "usr_1", "mode": "SEMANTIC" } });
    assert_eq!(reader.chat.code(SEARCH, semantic).await, "UNAVAILABLE");
    let by_words = found(&reader.chat, json!({ "text": "hello", "userId": "usr_1" })).await;
    assert_eq!((&by_words["mode"], &by_words["nodes"]), (&json!("TEXT"), &json!([{ "id": message }])));
    reindexing::reindex(app, &Viewer::operator(app), |_, _| {}).await.unwrap();
    let input = json!({ "text": "hello", "userId": "usr_1", "mode": "SEMANTIC" });
    let found = found(&reader.chat, input).await;
    assert_eq!((&found["pending"], &found["nodes"]), (&json!(0), &json!([{ "id": message }])));
}

/// What others write changes neither what is found, nor the scores, nor how much is pending.
#[tokio::test(flavor = "multi_thread")]
async fn others_learn_nothing_from_scores_and_counts() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    let chat = &reader.chat;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (eve, pal) = (chat.person("Eve").await, chat.person("Pal").await);
    for number in 0..20 {
        eve.sends(&format!("the merger {}", "of things ".repeat(number)), &pal).await;
    }
    is_indexed(&eve).await;
    let learns = async || {
        let mut answers = Vec::new();
        for (text, mode) in [("the merger", "SEMANTIC"), ("the merger", "HYBRID"), ("secret", "HYBRID")] {
            answers.push(found(chat, json!({ "text": text, "mode": mode, "userId": eve.id })).await);
        }
        answers
    };
    let before = learns().await;
    for number in 0..100 {
        ada.sends(&format!("the secret merger {number}"), &bob).await;
        if number == 0 {
            assert_eq!(learns().await, before);
        }
    }
    assert_eq!(learns().await, before);
    is_indexed(&ada).await;
    assert_eq!(learns().await, before);
}

/// Its former vector is removed from those of all models, and only one of them makes a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_edited_under_another_model_is_found_after_going_back() {
    let endpoint = Program::start(good).await;
    let flags = |name| ["--embedding-url", &endpoint.url, "--embedding-name", name];
    let reader = Reader::open(&flags("small")).await;
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    let (edited, deleted) = (ada.sends("first", &bob).await, ada.sends("second", &bob).await);
    ada.sends("the third", &bob).await;
    is_indexed(&ada).await;
    let database = reader.stop().await;
    // The other model never gets so far that the vectors of this one are removed.
    endpoint.set(|body| {
        let is_new = |text: &Value| text == "hello" || text == "edited";
        if body["input"].as_array().unwrap().iter().all(is_new) { good(body) } else { status(503, body) }
    });
    let reader = Reader::on(database, &flags("large")).await;
    let ada = Person { chat: &reader.chat, id: "usr_1".into() };
    ada.edits(&edited, "edited").await;
    ada.deletes(&deleted).await;
    let is_done = |conn: &mut store::Conn<'_>| {
        let (left, removed) = (store::indexing::changes(conn, false, 1)?, store::indexing::changes(conn, true, 1)?);
        Ok::<_, store::Error>(left.is_empty() && removed.is_empty())
    };
    soon(async { while !reader.chat.app.store.read(is_done).await.unwrap() {} }).await;
    let database = reader.stop().await;
    endpoint.set(good);
    let chat = Chat::on(database, &flags("small")).await;
    let ada = Person { chat: &chat, id: "usr_1".into() };
    let input = json!({ "text": "edited", "userId": ada.id, "mode": "SEMANTIC" });
    assert_eq!(found(&chat, input).await["pending"], 1);
    assert_eq!(embedding::count_pending(&chat.app, 10).await.unwrap(), Some(1));
    let reader = Reader::on(chat.stop().await, &flags("small")).await;
    let ada = Person { chat: &reader.chat, id: "usr_1".into() };
    is_indexed(&ada).await;
    assert_eq!(means(&ada, "edited").await, ["edited", "the third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_another_model_take_the_place_of_the_former_ones() {
    let endpoint = Program::start(good).await;
    let mut database = Database::new().await;
    let mut is_first = true;
    for (name, prefix) in [("small", ""), ("large", ""), ("large", "passage: ")] {
        let flags = ["--embedding-url", &endpoint.url, "--embedding-name", name, "--embedding-passage-prefix", prefix];
        let reader = Reader::on(database, &flags).await;
        let chat = &reader.chat;
        if is_first {
            let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
            for content in ["one", "three", "eleven"] {
                ada.sends(content, &bob).await;
            }
            is_first = false;
        }
        let ada = Person { chat, id: "usr_1".into() };
        is_indexed(&ada).await;
        assert_eq!(means(&ada, "three").await.len(), 3);
        // The former ones are deleted.
        soon(async { while chat.app.store.read(store::vectors::models).await.unwrap().len() > 1 {} }).await;
        database = reader.stop().await;
    }
    let given = endpoint.seen();
    let texts_of = |name: &str, text: &str| {
        let of_name = given.iter().filter(|(_, body)| body["model"] == name);
        of_name.filter(|(_, body)| body["input"].as_array().unwrap().contains(&json!(text))).count()
    };
    assert_eq!(
        [texts_of("small", "eleven"), texts_of("large", "eleven"), texts_of("large", "passage: eleven")],
        [1; 3]
    );
}

/// Otherwise it would keep a connection from others, though nobody waits for it any more.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_compared_for_no_longer_than_a_request_may_take() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    // On PostgreSQL the database ends such a statement.
    if !reader.chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    ada.sends("one", &bob).await;
    is_indexed(&ada).await;
    let flags = ["--embedding-url", &endpoint.url, "--embedding-name", "small", "--request-timeout", "4"];
    let chat = Chat::on(reader.stop().await, &flags).await;
    let endless = "ALTER TABLE embedding_chunks RENAME TO chunks;
        CREATE VIEW embedding_chunks AS
            WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers)
            SELECT chunks.* FROM numbers CROSS JOIN chunks";
    drop(chat.database.run(endless).await);
    // As many as there are connections for what takes long.
    let searches = (0..3).map(|number| {
        let input = json!({ "text": format!("search {number}"), "mode": "SEMANTIC" });
        chat.ask(SEARCH, json!({ "input": input }))
    });
    for answer in join_all(searches).await {
        assert!(["TIMEOUT", "DATABASE_BUSY"].contains(&code(&answer).as_str()), "{answer}");
    }
    // Where words are wanted too, they are found without.
    let both = found(&chat, json!({ "text": "one" })).await;
    assert_eq!((&both["mode"], &both["nodes"]), (&json!("TEXT"), &json!([{ "id": "msg_1" }])));
    // For all that one answer looks for.
    let two = "{ a: searchMessages(input: { text: \"one\" }) { mode nodes { id } }
        b: searchMessages(input: { text: \"ONE\" }) { mode nodes { id } } }";
    let by_words = json!({ "mode": "TEXT", "nodes": [{ "id": "msg_1" }] });
    assert_eq!(chat.data(two, json!({})).await, json!({ "a": by_words, "b": by_words }));
    // It needs one of these connections.
    assert_eq!(found(&chat, json!({ "text": "one", "mode": "TEXT" })).await["nodes"], json!([{ "id": "msg_1" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_stays_if_the_model_that_is_to_make_it_anew_does_not_answer() {
    let endpoint = Program::start(good).await;
    let flags = ["--embedding-url", &endpoint.url, "--embedding-name", "small"];
    let reader = Reader::open(&flags).await;
    let (ada, bob) = (reader.chat.person("Ada").await, reader.chat.person("Bob").await);
    ada.sends("one", &bob).await;
    is_indexed(&ada).await;
    endpoint.set(|body| status(503, body));
    let mut command: Command =
        program(&[&["reindex", "--vectors", "--database", &reader.chat.database.url], &flags[..]].concat());
    let output = soon(command.env_remove("DUOLOGUE_NO_EMBEDDINGS").output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("the endpoint answers 503"), "{said}");
    assert_eq!(with_vectors(&reader.chat.app).await.len(), 1);
}
