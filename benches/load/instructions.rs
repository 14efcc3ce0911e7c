//! How many instructions an answer takes, counted by valgrind: a figure that a busy machine does not disturb.
//!
//! Each server answers a few and many requests of one connection, from its start to its end; the difference is that of
//! the requests between.

use std::{fs, process::Command, thread};

use serde_json::json;

use crate::{
    client::{Script, Until, load},
    demo,
    limits::{NAME_INSTRUCTIONS, PAGE_INSTRUCTIONS},
    report::{Report, number},
    server::{self, Database, Server},
    works::{self, Work},
};

const FEW: u32 = 100;
const MANY: u32 = 300;
const COLUMNS: [&str; 4] = ["instructions", "Duologue, thousands", "the baseline, thousands", "x the baseline's"];

pub(crate) fn measure(report: &mut Report) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        report.leave_out("instructions: valgrind counts them, and it is not there. Install the package valgrind.");
        return;
    }
    let one = demo();
    let other = one.copy();
    let mut figures = serde_json::Map::new();
    for (key, work) in
        [("page", works::page()), ("users", works::users()), ("send", works::send().work), ("name", works::name())]
    {
        eprintln!("  {}", work.name);
        let Work { name, duologue, baseline } = work;
        let script = |requests| Script::new(requests, works::any_data());
        // Two cores have two emulators to run.
        let (own, baseline) = thread::scope(|scope| {
            let own = scope.spawn(|| each(&one, server::duologue, &script(duologue)));
            let baseline = scope.spawn(|| each(&other, server::baseline, &script(baseline)));
            (own.join().unwrap(), baseline.join().unwrap())
        });
        let cells = vec![name.to_owned(), number(own / 1e3), number(baseline / 1e3), number(own / baseline)];
        report.row("Instructions", &COLUMNS, cells);
        figures.insert(key.to_owned(), json!({ "duologue": own, "baseline": baseline }));
        match key {
            "page" => report.keep(PAGE_INSTRUCTIONS, own / baseline),
            "name" => report.keep(NAME_INSTRUCTIONS, own / baseline),
            _ => {}
        }
    }
    report.figures("instructions", figures.into());
}

/// For each answer.
fn each(database: &Database, program: fn(&Database) -> Command, script: &Script) -> f64 {
    let [few, many] = [FEW, MANY].map(|answers| counted(database, &program(database), script, answers));
    (many - few) / f64::from(MANY - FEW)
}

/// Of a whole life.
fn counted(database: &Database, command: &Command, script: &Script, answers: u32) -> f64 {
    let log = database.beside("valgrind.log");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.display()));
    let server = Server::start(server::under(valgrind, command));
    load(server.address, 1, script, Until::Answered(answers.try_into().unwrap()));
    server.stop();
    let text = fs::read_to_string(log).unwrap();
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).unwrap();
    collected.1.trim().parse().unwrap()
}
