//! What sends wait for while the database is backed up: 500 in a second, without a backup and during backups that follow each other.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    client::{Script, paced},
    demo,
    limits::BACKUP_TAIL,
    report::{Report, number},
    server::{Database, PROGRAM, Server, duologue},
    works,
};

const SENDS_PER_SECOND: u32 = 500;
const TIME: Duration = Duration::from_secs(10);
const COLUMNS: [&str; 5] = ["500 sends a second", "sends", "p50 ms", "p99 ms", "backups"];

pub(crate) fn measure(report: &mut Report) {
    let database = demo();
    let server = Server::start(duologue(&database));
    let script = Script::new(works::send_random().work.duologue, works::sent());
    let send = || paced(server.address, SENDS_PER_SECOND, &script, TIME);
    let alone = send();
    let is_over = AtomicBool::new(false);
    let (during, backups) = thread::scope(|scope| {
        let backups = scope.spawn(|| back_up(&database, &is_over));
        let during = send();
        is_over.store(true, Ordering::Relaxed);
        (during, backups.join().unwrap())
    });
    for (what, outcome, backups) in [("without a backup", &alone, 0), ("during backups", &during, backups)] {
        let [p50, p99] = [outcome.p50, outcome.p99].map(number);
        let cells = vec![what.to_owned(), outcome.answers.to_string(), p50, p99, backups.to_string()];
        report.row("Sends during backups", &COLUMNS, cells);
    }
    report.figures("backup", json!({ "p99Milliseconds": during.p99, "withoutBackup": alone.p99, "backups": backups }));
    report.keep(BACKUP_TAIL, during.p99);
}

/// Backs the database up until it is over; gives how often.
fn back_up(database: &Database, is_over: &AtomicBool) -> usize {
    let mut backups = 0;
    while !is_over.load(Ordering::Relaxed) {
        let file = database.beside(&format!("backup-{backups}.db"));
        let output =
            Command::new(PROGRAM).arg("backup").arg(&file).args(["--database", &database.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        backups += 1;
    }
    backups
}
