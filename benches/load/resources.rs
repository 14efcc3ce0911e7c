//! What the server needs before anybody uses it: memory, time to start, room on the disk.

use std::{fs, path::Path, time::Instant};

use serde_json::json;

use crate::{
    client,
    limits::{MEMORY, SIZE, START},
    report::{Report, median, number},
    server::{Database, PROGRAM, Server, duologue},
    works::query,
};

const STARTS: usize = 5;
const FIRST: &str = "{ users { nodes { id name } } }";
const COLUMNS: [&str; 3] = ["what", "measured", "unit"];

pub(crate) fn measure(report: &mut Report) {
    let [idle, answered] = memory();
    let start = median((0..STARTS).map(|_| start()));
    let size = size();
    let rows = [
        ("memory of an idle server, just started", idle, "MiB"),
        ("memory of an idle server, after one answer", answered, "MiB"),
        ("start on no database, to the first answer", start, "ms"),
        ("the program, without the pages in it", size, "MiB"),
    ];
    for (what, figure, unit) in rows {
        report.row("Resources", &COLUMNS, vec![what.to_owned(), number(figure), unit.to_owned()]);
    }
    let figures = json!({ "idleMiB": idle, "answeredMiB": answered, "startMilliseconds": start, "programMiB": size });
    report.figures("resources", figures);
    report.keep(MEMORY, answered.max(idle));
    report.keep(START, start);
    report.keep(SIZE, size);
}

/// MiB when it is ready, and after its first answer.
fn memory() -> [f64; 2] {
    let database = Database::absent();
    let server = Server::start(duologue(&database));
    let idle = server.resident();
    client::body(server.address, &query(FIRST));
    [idle, server.resident()].map(|kib| kib / 1_024.0)
}

/// Milliseconds until the first answer, the making of the database among them.
fn start() -> f64 {
    let database = Database::absent();
    let begun = Instant::now();
    let server = Server::start(duologue(&database));
    client::body(server.address, &query(FIRST));
    begun.elapsed().as_secs_f64() * 1e3
}

/// MiB of the program. The pages are in it only if they were built before it.
fn size() -> f64 {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist");
    let bytes = fs::metadata(PROGRAM).unwrap().len() - compressed(&pages);
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of the files that are embedded.
fn compressed(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes += compressed(&path);
        } else if path.extension().is_some_and(|its| its == "gz") {
            bytes += fs::metadata(&path).unwrap().len();
        }
    }
    bytes
}
