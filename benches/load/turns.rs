//! Pages and sends at full load: Duologue and the baseline take turns on the same machine and disk, so that what else goes on
//! there meets both. What counts is the median of the ratios of the rounds.

use std::{process, time::Duration};

use serde_json::{Value, json};

use crate::{
    client::{Expected, Outcome, Script, Until, body, load},
    demo,
    limits::{
        CHAT_CPU, CONVERSATIONS_CPU, INDEXED_RATE, INDEXED_TAIL, Limit, PAGE_CPU, PAGE_RATE, RANDOM_ALONE_RATE,
        RANDOM_RATE, RANDOM_TAIL, SEND_ALONE_RATE, SEND_RATE, SEND_TAIL, USERS_CPU, USERS_RATE,
    },
    report::{Report, median, number},
    server::{Database, Server, baseline, cpu_of, duologue, indexing_baseline},
    works::{self, Sends, Work},
};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_millis(1_200);
const WARM_UP: Duration = Duration::from_millis(500);
/// The number of connections that limits are for.
const USUAL: usize = 32;

const CHAT: &str = "What chat clients ask for";
const CHAT_COLUMNS: [&str; 6] = ["what", "answers/s", "p50 ms", "p99 ms", "CPU us", "x the page's CPU"];
const LOAD: &str = "Load";
const LOAD_COLUMNS: [&str; 8] =
    ["what", "connections", "answers/s", "of the baseline's", "p50 ms", "p99 ms", "CPU us", "x the baseline's CPU"];
const SENDS: &str = "Sends: commits that are shared";
const SEND_COLUMNS: [&str; 7] = [
    "what",
    "connections",
    "messages/s",
    "the baseline, messages/s",
    "one commit each, messages/s",
    "x one commit each",
    "p99 / p50",
];

const LIBRARY: &str = "The same API behind async-graphql-axum, 32 connections";
const LIBRARY_COLUMNS: [&str; 5] = ["what", "answers/s", "async-graphql-axum, answers/s", "of its rate", "x its CPU"];

const WORDS: &str = "Sends whose words are indexed, random pairs, 32 connections";
const WORDS_COLUMNS: [&str; 5] =
    ["messages/s", "without the index, messages/s", "of its rate", "x its p99", "x its CPU"];

/// Both servers, each on data of its own.
struct Pair {
    duologue: Server,
    baseline: Server,
    _databases: [Database; 2],
}

impl Pair {
    fn start() -> Self {
        let one = demo();
        let other = one.copy();
        Self {
            duologue: Server::start(duologue(&one)),
            baseline: Server::start(baseline(&other)),
            _databases: [one, other],
        }
    }
}

/// A turn of one server.
struct Turn {
    outcome: Outcome,
    /// Microseconds for each answer.
    cpu: f64,
    /// The same of the client, which shares the cores.
    client_cpu: f64,
}

/// All turns of one server.
struct Turns(Vec<Turn>);

impl Turns {
    fn median(&self, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(self.0.iter().map(figure))
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, to: &Self, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(self.0.iter().zip(&to.0).map(|(one, other)| figure(one) / figure(other)))
    }

    fn figures(&self) -> Value {
        json!({ "perSecond": self.median(rate), "p50Milliseconds": self.median(p50), "p99Milliseconds": self.median(p99),
            "cpuMicroseconds": self.median(cpu), "clientCpuMicroseconds": self.median(|turn| turn.client_cpu) })
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.outcome.rate()
}

fn p50(turn: &Turn) -> f64 {
    turn.outcome.p50
}

fn p99(turn: &Turn) -> f64 {
    turn.outcome.p99
}

fn cpu(turn: &Turn) -> f64 {
    turn.cpu
}

fn turn(server: &Server, connections: usize, script: &Script, time: Duration) -> Turn {
    let (servers, clients) = (server.cpu(), cpu_of(process::id()));
    let outcome = load(server.address, connections, script, Until::Passed(time));
    let each = |seconds: f64| seconds * 1e6 / outcome.answers as f64;
    let (cpu, client_cpu) = (each(server.cpu() - servers), each(cpu_of(process::id()) - clients));
    Turn { outcome, cpu, client_cpu }
}

/// Rounds in which each has a turn, the other way round every other time.
fn in_turns<const N: usize>(connections: usize, contenders: &[(&Server, Script); N]) -> [Turns; N] {
    let mut all = [const { Turns(Vec::new()) }; N];
    for (server, script) in contenders {
        turn(server, connections, script, WARM_UP);
    }
    for round in 0..ROUNDS {
        for place in 0..N {
            let number = if round % 2 == 0 { place } else { N - 1 - place };
            let (server, script) = &contenders[number];
            all[number].0.push(turn(server, connections, script, TURN));
        }
    }
    all
}

fn row(report: &mut Report, name: &str, connections: usize, own: &Turns, baseline: &Turns) {
    let cells = vec![
        name.to_owned(),
        connections.to_string(),
        number(own.median(rate)),
        number(own.ratio(baseline, rate)),
        number(own.median(p50)),
        number(own.median(p99)),
        number(own.median(cpu)),
        number(own.ratio(baseline, cpu)),
    ];
    report.row(LOAD, &LOAD_COLUMNS, cells);
}

/// Reads the same at several numbers of connections; gives the turns at the usual one.
fn read(report: &mut Report, part: &str, work: &Work, connections: &[usize]) -> [Turns; 2] {
    let pair = Pair::start();
    let scripts = work.scripts(&work.agreed(&pair.duologue, &pair.baseline));
    let mut figures = Vec::new();
    let mut usual = None;
    for &connections in connections {
        eprintln!("  connections: {connections}");
        let [one, other] = scripts.clone();
        let [own, baseline] = in_turns(connections, &[(&pair.duologue, one), (&pair.baseline, other)]);
        row(report, work.name, connections, &own, &baseline);
        figures.push(json!({ "connections": connections, "duologue": own.figures(), "baseline": baseline.figures(),
            "rateOfBaseline": own.ratio(&baseline, rate), "cpuOfBaseline": own.ratio(&baseline, cpu) }));
        if connections == USUAL {
            usual = Some([own, baseline]);
        }
    }
    report.figures(part, figures.into());
    usual.unwrap()
}

pub(crate) fn page(report: &mut Report) {
    let [own, baseline] = read(report, "page", &works::page(), &[1, USUAL, 128]);
    report.keep(PAGE_RATE, own.ratio(&baseline, rate));
    report.keep(PAGE_CPU, own.ratio(&baseline, cpu));
}

pub(crate) fn users(report: &mut Report) {
    let [own, baseline] = read(report, "users", &works::users(), &[USUAL]);
    report.keep(USERS_RATE, own.ratio(&baseline, rate));
    report.keep(USERS_CPU, own.ratio(&baseline, cpu));
}

/// Sends while the words of messages are indexed, and while they are not.
pub(crate) fn words(report: &mut Report) {
    let one = demo();
    let other = one.copy();
    let (indexing, plain) = (Server::start(indexing_baseline(&one)), Server::start(baseline(&other)));
    let script = Script::new(works::send_random().work.baseline, works::sent());
    let [indexed, plain] = in_turns(USUAL, &[(&indexing, script.clone()), (&plain, script)]);
    let ratios = [rate, p99, cpu].map(|figure| indexed.ratio(&plain, figure));
    let shown = [indexed.median(rate), plain.median(rate)].into_iter().chain(ratios);
    report.row(WORDS, &WORDS_COLUMNS, shown.map(number).collect());
    report.figures("words", json!({ "indexed": indexed.figures(), "plain": plain.figures() }));
    report.keep(INDEXED_RATE, ratios[0]);
    report.keep(INDEXED_TAIL, ratios[1]);
}

/// The same requests to the same API, as async-graphql-axum serves it.
pub(crate) fn library(report: &mut Report) {
    let pair = Pair::start();
    let mut figures = Vec::new();
    for Work { name, duologue, .. } in [works::name(), works::page(), works::send().work] {
        eprintln!("  {name}");
        let script = Script::new(duologue, works::any_data());
        let [own, library] = in_turns(USUAL, &[(&pair.duologue, script.clone()), (&pair.baseline, script)]);
        let shown = [own.median(rate), library.median(rate), own.ratio(&library, rate), own.ratio(&library, cpu)];
        let cells = [name.to_owned()].into_iter().chain(shown.map(number));
        report.row(LIBRARY, &LIBRARY_COLUMNS, cells.collect());
        figures.push(json!({ "what": name, "duologue": own.figures(), "library": library.figures() }));
    }
    report.figures("library", figures.into());
}

/// What chat clients ask for, beside the plain page.
pub(crate) fn chat(report: &mut Report) {
    let database = demo();
    let server = Server::start(duologue(&database));
    let plain = works::page();
    let [chat, conversations, snapshot] = works::realistic();
    let works = [(plain.name, plain.duologue[0].clone()), chat, conversations, snapshot];
    let contenders = works.each_ref().map(|(_, request)| {
        let answer = body(server.address, request);
        assert!(!String::from_utf8_lossy(&answer).contains(r#""errors""#));
        (&server, Script::new(vec![request.clone()], Expected::Exactly(answer)))
    });
    let turns = in_turns(USUAL, &contenders);
    let mut figures = Vec::new();
    for ((name, _), turns_of_one) in works.iter().zip(&turns) {
        let times = turns_of_one.ratio(&turns[0], cpu);
        let medians = [rate, p50, p99, cpu].map(|figure| number(turns_of_one.median(figure)));
        let cells = [(*name).to_owned()].into_iter().chain(medians).chain([number(times)]);
        report.row(CHAT, &CHAT_COLUMNS, cells.collect());
        figures.push(json!({ "what": name, "duologue": turns_of_one.figures(), "cpuOfPage": times }));
    }
    report.figures("chat", figures.into());
    report.keep(CHAT_CPU, turns[1].ratio(&turns[0], cpu));
    report.keep(CONVERSATIONS_CPU, turns[2].median(cpu));
}

pub(crate) fn send(report: &mut Report) {
    for (sends, limits) in [
        (works::send(), [SEND_ALONE_RATE, SEND_RATE, SEND_TAIL]),
        (works::send_random(), [RANDOM_ALONE_RATE, RANDOM_RATE, RANDOM_TAIL]),
    ] {
        measure_sends(report, &sends, limits);
    }
}

fn measure_sends(report: &mut Report, sends: &Sends, [alone_rate, shared_rate, tail_limit]: [Limit; 3]) {
    let (pair, work) = (Pair::start(), &sends.work);
    work.agreed(&pair.duologue, &pair.baseline);
    let mut figures = Vec::new();
    for connections in [1, USUAL, 128] {
        eprintln!("  {}, connections: {connections}", work.name);
        let script = |requests: &[Vec<u8>]| Script::new(requests.to_vec(), works::sent());
        let [own, baseline, alone] = in_turns(
            connections,
            &[
                (&pair.duologue, script(&work.duologue)),
                (&pair.baseline, script(&work.baseline)),
                (&pair.baseline, script(&sends.alone)),
            ],
        );
        row(report, work.name, connections, &own, &baseline);
        let (gain, tail) = (own.ratio(&alone, rate), own.median(|turn| turn.outcome.p99 / turn.outcome.p50));
        let rates = [&own, &baseline, &alone].map(|turns| number(turns.median(rate)));
        let named = [work.name.into(), connections.to_string()];
        let cells = named.into_iter().chain(rates).chain([number(gain), number(tail)]);
        report.row(SENDS, &SEND_COLUMNS, cells.collect());
        figures.push(json!({ "connections": connections, "duologue": own.figures(), "baseline": baseline.figures(),
            "oneCommitEach": alone.figures(), "rateOfBaseline": own.ratio(&baseline, rate),
            "cpuOfBaseline": own.ratio(&baseline, cpu), "rateOfOneCommitEach": gain, "p99OfP50": tail }));
        match connections {
            1 => report.keep(alone_rate, gain),
            USUAL => {
                report.keep(shared_rate, gain);
                report.keep(tail_limit, tail);
            }
            _ => {}
        }
    }
    report.figures(work.name, figures.into());
}
