//! What a search costs among a million messages: of words for a viewer of some 1,600 of them, and of vectors; and what a snippet costs. In
//! one process, on a SQLite file, in CPU time; `docs/concepts/search.md` has a run.
//!
//! `cargo bench --bench search` makes the messages of `duologue demo`, and vectors that are not those of a model: a comparison takes
//! as long whatever they mean. Prints a table, and ends with an error where a limit is not kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]

mod common;

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Instant};

use common::{cpu, filled, median};
use duologue::{
    app::App,
    domain::{
        TextBudget, Viewer,
        searches::{self, Search},
    },
    model::{
        ids::{ConversationId, UserId},
        phrases::Phrases,
        searches::{Mode, Order},
        vectors::{Entry, Vector},
    },
    search::{Embedder, EndpointSettings, Settings, Source, snippets::snippet},
    store::{self, Error},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const USERS: u32 = 1_250;
const MESSAGES: u32 = 1_000_000;
/// How many of them the smaller model has vectors of.
const FEWER: usize = 100_000;
const DIMENSIONS: usize = 384;
const ROUNDS: usize = 15;

/// What is looked for, in which order, by whom (`None`: among all), with the vectors of which model; the most CPU milliseconds.
type Case = (&'static str, &'static str, Order, Option<UserId>, Option<usize>, f64);

/// Something with the identity of a model: it is asked for no vector.
fn embedder(name: &str) -> Arc<Embedder> {
    let endpoint = EndpointSettings {
        url: "http://127.0.0.1:9/v1".into(),
        key: None,
        name: name.into(),
        query_name: None,
        dimensions: None,
        batch_size: 32,
        timeout: std::time::Duration::from_secs(1),
        allows_plain_http: false,
    };
    let settings = Settings { source: Source::Endpoint(endpoint), query_prefix: None, passage_prefix: None };
    Arc::new(Embedder::open(settings).unwrap())
}

fn vector(dice: &mut ChaCha8Rng) -> Vector {
    Vector::new((0..DIMENSIONS).map(|_| dice.random_range(-1.0..1.0)).collect()).unwrap()
}

/// Gives the first messages vectors.
async fn embed(app: &App, identity: String, count: usize) {
    let begun = Instant::now();
    let mut of_conversation: BTreeMap<ConversationId, Vec<Entry>> = BTreeMap::new();
    let (mut after, mut left) = (0, count);
    while left > 0 {
        let limit = i64::try_from(left.min(10_000)).unwrap();
        let page = app.store.read(move |conn| store::indexing::messages_after(conn, after, limit)).await.unwrap();
        after = page.last().unwrap().id.key();
        left -= page.len();
        for message in page {
            of_conversation.entry(message.conversation_id()).or_default().push(message.entry());
        }
    }
    let write = move |conn: &mut store::Conn<'_>| {
        store::vectors::add_model(conn, &identity, DIMENSIONS, after)?;
        let model = store::vectors::model(conn, &identity)?.unwrap();
        let mut dice = ChaCha8Rng::seed_from_u64(1);
        for (conversation, entries) in of_conversation {
            let vectors: Vec<_> = entries.into_iter().map(|entry| (entry, vector(&mut dice))).collect();
            store::vectors::add(conn, &model, conversation, &vectors)?;
        }
        store::vectors::set_range(conn, &model, (0, after))
    };
    app.store.write::<_, Error>(write).await.unwrap();
    eprintln!("Made {count} vectors in {:.1} s", begun.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() -> ExitCode {
    let (mut app, _folder) = filled(USERS, MESSAGES).await;
    let models = [(embedder("small"), FEWER), (embedder("large"), MESSAGES as usize)];
    for (model, count) in &models {
        embed(&app, model.identity().to_owned(), *count).await;
    }
    let viewer = UserId::new(700);
    let cases: [Case; 10] = [
        ("words, newest", "early flight", Order::Newest, viewer, None, 3.0),
        ("words, best", "early flight", Order::Relevance, viewer, None, 30.0),
        ("a word of many messages, best", "the", Order::Relevance, viewer, None, 30.0),
        ("a word of many messages, best, among all", "the", Order::Relevance, None, None, 60.0),
        ("the beginning of many words, best", "th*", Order::Relevance, viewer, None, 30.0),
        ("the beginning of many words, newest", "th*", Order::Newest, viewer, None, 30.0),
        ("the beginning of many words, newest, among all", "th*", Order::Newest, None, None, 150.0),
        ("meaning, of one user", "x", Order::Relevance, viewer, Some(1), 3.0),
        ("meaning, 100,000 vectors", "x", Order::Relevance, None, Some(0), 20.0),
        ("meaning, 1,000,000 vectors", "x", Order::Relevance, None, Some(1), 150.0),
    ];
    let query = vector(&mut ChaCha8Rng::seed_from_u64(2));
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, text, order, user, model, _), times) in cases.iter().zip(&mut times) {
            app.embedder = model.map(|model| models[model].0.clone());
            let shared = Arc::new(app);
            let mode = if model.is_some() { Mode::Semantic } else { Mode::Text };
            let text = (*text).to_owned();
            let (user, order, conversation, sender, since, until, after) =
                (*user, *order, None, None, None, None, None);
            let search = Search { text, mode, order, user, conversation, sender, since, until, first: 50, after };
            let (inner, vector) = (shared.clone(), model.map(|_| query.clone()));
            let work = move |conn: &mut store::Conn<'_>| {
                let begun = cpu();
                let viewer = Viewer::operator(&inner);
                let found = searches::find(
                    conn,
                    &inner,
                    &viewer,
                    &search,
                    vector.as_ref(),
                    searches::deadline(&inner),
                    &mut TextBudget::new(1 << 23),
                )?;
                Ok::<_, duologue::domain::Error>((cpu() - begun, found.hits.len()))
            };
            let (time, hits) = shared.store.read(work).await.unwrap();
            assert!(hits > 0);
            times.push(time * 1e3);
            app = Arc::into_inner(shared).unwrap();
        }
    }
    let (text, phrases) = ("the flight is early. ".repeat(500)[..10_000].to_owned(), Phrases::parse("early flight is"));
    let snippets = (0..ROUNDS).map(|_| {
        let begun = cpu();
        assert!(!snippet(&text, &phrases, 160).is_empty());
        (cpu() - begun) * 1e3
    });
    times.push(snippets.collect());
    println!("| search | CPU ms, median | at most | holds |\n| --- | ---: | ---: | --- |");
    let mut all_hold = true;
    let limits = cases.into_iter().map(|(what, .., limit)| (what, limit));
    for ((what, limit), times) in limits.chain([("a snippet of 10,000 characters", 1.0)]).zip(times) {
        let median = median(times.into_iter());
        all_hold &= median <= limit;
        println!("| {what} | {median:.2} | {limit} | {} |", if median <= limit { "yes" } else { "**no**" });
    }
    app.close().await;
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
