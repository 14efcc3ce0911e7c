//! What the server costs under load, measured from outside: the program is a process of its own, the clients come over
//! loopback. `docs/concepts/performance.md` says how, and what the figures do not say.
//!
//! `cargo bench --bench load` measures all parts; `cargo bench --bench load -- page send` only those. Prints tables, writes
//! `target/load.json`, and ends with an error where a limit of `limits.rs` is not kept. Needs Linux (`/proc`), 20,000 open
//! files (`ulimit -n`) for the part `feeds`, and valgrind for the part `instructions`, which is left out without it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{env, process::ExitCode};

mod limits;
mod report;
mod server;
mod client;
mod baseline;
mod works;
mod turns;
mod backups;
mod feeds;
mod resources;
mod instructions;

use feeds::OPEN_FILES;
use report::Report;
use server::{BASELINE, Database, INDEXES};

type Part = fn(&mut Report);
const PARTS: [(&str, Part); 10] = [
    ("chat", turns::chat),
    ("page", turns::page),
    ("users", turns::users),
    ("send", turns::send),
    ("words", turns::words),
    ("library", turns::library),
    ("backup", backups::measure),
    ("feeds", feeds::measure),
    ("resources", resources::measure),
    ("instructions", instructions::measure),
];

fn main() -> ExitCode {
    // Cargo says `--bench` to every bench.
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [first, url, flags @ ..] = arguments.as_slice()
        && first == BASELINE
    {
        baseline::serve(url, flags == [INDEXES]).unwrap();
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments.iter().find(|argument| !PARTS.iter().any(|(name, _)| name == argument)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        eprintln!("There is no part {unknown}. The parts are: {names}.");
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    if wanted("feeds") && feeds::may_open_files() < OPEN_FILES {
        eprintln!("The part feeds needs {OPEN_FILES} open files: ulimit -n {OPEN_FILES}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("Measuring: {name}");
        part(&mut report);
    }
    if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 1,000 users and 200,000 messages; users 1 and 2 have 10,000 of them.
fn demo() -> Database {
    Database::demo(1_000, 200_000)
}
