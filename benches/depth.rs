//! What a page costs deep in a conversation, against the newest one: in one process, in turns, without a network.
//!
//! Ends with an error if the deep page costs more than 1.2 times the newest.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use duologue::{
    app::App,
    config::{Cli, Command},
    domain::{Viewer, demo, imports},
    graphql::{Api, Asker, Request},
};
use serde_json::{Value, json};

/// Messages of the conversation, and how deep the deep page is.
const MESSAGES: u32 = 10_000;
const DEPTH: usize = 9_000;
const ROUNDS: usize = 60;
const REQUESTS_PER_ROUND: u32 = 50;
const LIMIT: f64 = 1.2;

const PAGE: &str = "query ($last: Int, $before: String) {
    conversation(user1: 1, user2: 2) { messages(last: $last, before: $before) {
        nodes { id content createdAt sender { id name } receiver { id name } }
        pageInfo { hasPreviousPage startCursor }
    } }
}";

struct Server {
    api: Api,
    asker: Asker,
}

impl Server {
    async fn page(&self, last: usize, before: &Value) -> Value {
        let request = json!({ "query": PAGE, "variables": { "last": last, "before": before } });
        let request: Request = serde_json::from_value(request).unwrap();
        let prepared = self.api.prepare(request).ok().unwrap();
        serde_json::to_value(self.api.execute(&self.asker, prepared).await).unwrap()
    }

    /// Microseconds for each of some requests.
    async fn timed(&self, before: &Value) -> f64 {
        let begun = Instant::now();
        for _ in 0..REQUESTS_PER_ROUND {
            self.page(50, before).await;
        }
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS_PER_ROUND)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("chat.db").display());
    let cli = Cli::parse_from(["duologue", "serve", "--database", &url]);
    let Command::Serve(settings) = cli.command else { return ExitCode::FAILURE };
    let app = App::open(&settings.database).await.unwrap();
    let viewer = Viewer::operator(&app);
    let lines = (1..).zip(demo::lines(100, MESSAGES * 10, 1).map(Ok));
    imports::import(&app, &viewer, lines).await.unwrap();
    let server = Server { api: Api::open(&app, &settings.limits).unwrap(), asker: viewer.into() };

    let mut deep = Value::Null;
    for _ in 0..DEPTH / 100 {
        let page = server.page(100, &deep).await;
        deep = page["data"]["conversation"]["messages"]["pageInfo"]["startCursor"].clone();
    }
    assert_eq!(server.page(50, &deep).await["data"]["conversation"]["messages"]["nodes"].as_array().unwrap().len(), 50);

    let (mut newest_times, mut deep_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (newest_time, deep_time) = (server.timed(&Value::Null).await, server.timed(&deep).await);
        ratios.push(deep_time / newest_time);
        newest_times.push(newest_time);
        deep_times.push(deep_time);
    }
    println!("newest page of 50:           {:6.0} us", median(newest_times));
    println!("page of 50, 9,000 deep:      {:6.0} us", median(deep_times));
    let ratio = median(ratios);
    println!("ratio, median of {ROUNDS} pairs:  {ratio:6.2} (at most {LIMIT})");
    if ratio <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
