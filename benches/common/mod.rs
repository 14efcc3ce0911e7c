//! What the benches share that measure the CPU time of one process on a SQLite file.

use std::time::{Duration, Instant};

use clap::Parser;
use duologue::{
    app::App,
    config::{Cli, Command},
    domain::{Viewer, demo, imports, indexing},
    model::timestamps::Timestamp,
};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

/// CPU time of this process in seconds.
pub(crate) fn cpu() -> f64 {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap().as_secs_f64()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An application with so many users and messages of `duologue demo`, whose words are indexed, and the folder of its database.
pub(crate) async fn filled(users: u32, messages: u32) -> (App, TempDir) {
    // On the disk of the project: the folder for temporary files may be small.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let url = format!("sqlite:{}", folder.path().join("chat.db").display());
    let Command::Serve(settings) = Cli::parse_from(["duologue", "serve", "--database", &url]).command else {
        unreachable!()
    };
    let begun = Instant::now();
    let app = App::open(&settings.database).await.unwrap();
    let lines = (1..).zip(demo::lines(users, messages, 1, Timestamp::now()).map(Ok));
    imports::import(&app, &Viewer::operator(&app), lines).await.unwrap();
    indexing::index_words(&app).await.unwrap();
    eprintln!("Made {messages} messages in {:.1} s", begun.elapsed().as_secs_f64());
    (app, folder)
}
