//! How the cost of a page grows with the length of the conversation, the number of users and the size of the page: in one
//! process, in turns, without a network. `docs/concepts/performance.md` has a run.
//!
//! Prints tables, writes `target/growth.json`, and ends with an error where a limit below is not kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{fs, process::ExitCode, rc::Rc, sync::Arc, time::Instant};

use clap::Parser;
use duologue::{
    app::App,
    config::{Cli, Command},
    domain::{
        Viewer,
        imports::{self, Line, MessageLine, UserLine},
    },
    execution::Request,
    graphql::{Api, Caller},
    model::timestamps::Timestamp,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const LENGTHS: [i64; 5] = [10, 1_000, 10_000, 100_000, 1_000_000];
const USERS: [i64; 3] = [100, 10_000, 1_000_000];
const SIZES: [i64; 4] = [1, 10, 50, 100];
/// Messages of the conversation whose pages have other sizes.
const USUAL_LENGTH: i64 = 10_000;
const USUAL_SIZE: i64 = 50;
/// How many users have the rare name, however many there are.
const RARE: i64 = 20;
/// One in so many of all users has each of the other first names, and last names.
const FIRST_NAMES: i64 = 40;
const LAST_NAMES: i64 = 35;
/// One in so many of all users has the name of those who came last.
const NEWCOMERS: i64 = 200;
/// Searches for users: for nobody, the rare name, a first name, a first and a last name, and the newcomers.
const SEARCHES: [&str; 5] = ["nobody", "zoë", "f7x", "f7x l3x", "newcomer"];

/// Of the page that is as deep as can be, to the newest, of 10,000 messages.
const DEEP: f64 = 1.2;
/// Of a page of 1,000,000 messages, to the same of 1,000.
const LONG: f64 = 1.5;
/// Of a page of 1,000,000 users, to the same of 100.
const CROWDED: f64 = 1.5;
/// Of the first page that a search for one word finds among 1,000,000 users, to a page without a search.
const FOUND: f64 = 2.0;
/// The same for two words that many have, but few have both.
const FOUND_TOGETHER: f64 = 25.0;

const ROUNDS: usize = 40;
const REQUESTS_PER_ROUND: u32 = 20;

const PAGE: &str = "query ($last: Int, $before: String) {
    conversation(user1: 1, user2: 2) { messages(last: $last, before: $before) {
        nodes { id content createdAt sender { id name } receiver { id name } }
        pageInfo { hasPreviousPage startCursor }
    } }
}";
const OLDEST: &str = "{ conversation(user1: 1, user2: 2) { messages(first: 100) { pageInfo { endCursor } } } }";
const USERS_PAGE: &str = "query ($search: String) {
    users(first: 50, search: $search) { nodes { id name email createdAt } pageInfo { hasNextPage endCursor } }
}";

/// A server without a network.
struct Server {
    api: Api,
    caller: Caller,
    _folder: TempDir,
}

impl Server {
    async fn with(users: i64, messages: i64) -> Self {
        let begun = Instant::now();
        // On the disk of the project: the folder for temporary files may be small.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let url = format!("sqlite:{}", folder.path().join("chat.db").display());
        let Command::Serve(settings) = Cli::parse_from(["duologue", "serve", "--database", &url]).command else {
            unreachable!()
        };
        let app = App::open(&settings.database).await.unwrap();
        let viewer = Viewer::operator(&app);
        let lines = (1..=users).map(move |id| user(id, users)).chain((1..=messages).map(message));
        imports::import(&app, &viewer, (1..).zip(lines.map(Ok))).await.unwrap();
        eprintln!("Made {users} users and {messages} messages in {:.1} s", begun.elapsed().as_secs_f64());
        Self { api: Api::open(&Arc::new(app), &settings.limits).unwrap(), caller: viewer.into(), _folder: folder }
    }

    async fn answer(&self, request: &Request) -> Vec<u8> {
        let prepared = self.api.prepare(request).ok().unwrap();
        self.api.execute(&self.caller, prepared, usize::MAX).await.into_json().into_bytes()
    }

    /// The cursor before which the oldest messages of the conversation are.
    async fn deep(&self) -> Value {
        let answer = self.answer(&request(OLDEST, &json!({}))).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["data"]["conversation"]["messages"]["pageInfo"]["endCursor"].clone()
    }
}

fn user(id: i64, of: i64) -> Line {
    let email = format!("user.{id}@example.com");
    Line::User(UserLine { id, name: name(id, of), email: Some(email), created_at: time(id), ..UserLine::default() })
}

fn name(id: i64, of: i64) -> String {
    if id % (of / RARE).max(1) == 0 {
        return "Zoë Quispe".to_owned();
    }
    if id > of - of / NEWCOMERS {
        return "Newcomer".to_owned();
    }
    // No first name begins with another one, nor does a last name.
    format!("F{}x L{}x", id % FIRST_NAMES, id / FIRST_NAMES % LAST_NAMES)
}

/// How many users a search finds on its first page.
fn found(search: &str, of: i64) -> i64 {
    let is_found = |name: &str| search.split(' ').all(|word| name.split(' ').any(|its| its.starts_with(word)));
    let found = (1..=of).filter(|id| is_found(&name(*id, of).to_lowercase())).take(50).count();
    i64::try_from(found).unwrap()
}

/// Ids and texts are as long in every conversation.
fn message(number: i64) -> Line {
    let (sender_id, receiver_id) = if number % 3 == 0 { (1, 2) } else { (2, 1) };
    let content = format!("Lunch at noon? I know a place, it is number {number:07}.");
    Line::Message(MessageLine {
        id: 10_000_000 + number,
        sender_id,
        receiver_id,
        content,
        created_at: time(number),
        ..MessageLine::default()
    })
}

fn time(number: i64) -> String {
    // Some second of 2026.
    Timestamp::from_milliseconds(1_767_225_600_000 + number * 1_000).to_string()
}

fn request(query: &str, variables: &Value) -> Request {
    serde_json::from_value(json!({ "query": query, "variables": variables })).unwrap()
}

/// A request that is made in each round, and the microseconds that it took.
struct Case {
    server: Rc<Server>,
    request: Request,
    times: Vec<f64>,
}

impl Case {
    /// A case whose answer has as many nodes as it should.
    async fn new(server: &Rc<Server>, request: Request, nodes: i64) -> Self {
        let answer = String::from_utf8(server.answer(&request).await).unwrap();
        let found = answer.matches(r#""createdAt""#).count();
        assert_eq!(i64::try_from(found).unwrap(), nodes, "{answer}");
        Self { server: server.clone(), request, times: Vec::new() }
    }

    async fn page(server: &Rc<Server>, size: i64, before: &Value, nodes: i64) -> Self {
        Self::new(server, request(PAGE, &json!({ "last": size, "before": before })), nodes).await
    }

    async fn users(server: &Rc<Server>, search: Option<&str>, nodes: i64) -> Self {
        Self::new(server, request(USERS_PAGE, &json!({ "search": search })), nodes).await
    }

    async fn run(&mut self) {
        let begun = Instant::now();
        for _ in 0..REQUESTS_PER_ROUND {
            self.server.answer(&self.request).await;
        }
        self.times.push(begun.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS_PER_ROUND));
    }

    fn median(&self) -> f64 {
        median(self.times.iter().copied())
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, to: &Self) -> f64 {
        median(self.times.iter().zip(&to.times).map(|(one, other)| one / other))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Cases of one kind: a row for each amount, with a case for each column.
struct Table {
    title: &'static str,
    amount: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(i64, Vec<Case>)>,
}

impl Table {
    /// As Markdown, in microseconds.
    fn print(&self) {
        println!("\n### {}\n", self.title);
        println!("| {} | {} |", self.amount, self.columns.join(" | "));
        println!("|{}", " ---: |".repeat(self.columns.len() + 1));
        for (amount, cases) in &self.rows {
            let cells = cases.iter().map(|case| format!("{:.0}", case.median()));
            // A short conversation has no deep page.
            let cells = cells.chain(std::iter::repeat("–".to_owned())).take(self.columns.len());
            println!("| {} | {} |", grouped(*amount), cells.collect::<Vec<_>>().join(" | "));
        }
    }

    fn figures(&self) -> Value {
        let row = |(amount, cases): &(i64, Vec<Case>)| {
            let times = self.columns.iter().zip(cases).map(|(&name, case)| (name.to_owned(), case.median().into()));
            json!({ "amount": amount, "microseconds": times.collect::<serde_json::Map<_, _>>() })
        };
        self.rows.iter().map(row).collect()
    }

    fn case(&self, amount: i64, column: usize) -> &Case {
        &self.rows.iter().find(|(its, _)| *its == amount).unwrap().1[column]
    }

    /// How many times as much a case costs with more.
    fn growth(&self, column: usize, from: i64, to: i64) -> f64 {
        self.case(to, column).ratio(self.case(from, column))
    }
}

/// Number by number with a comma, as people write them.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|three| str::from_utf8(three).unwrap()).collect();
    groups.join(",")
}

/// Conversations of several lengths, each in a database of its own, and pages of several sizes of one of them.
async fn conversations() -> [Table; 2] {
    let (mut lengths, mut sizes) = (Vec::new(), Vec::new());
    for length in LENGTHS {
        let server = Rc::new(Server::with(2, length).await);
        let mut cases = vec![Case::page(&server, USUAL_SIZE, &Value::Null, USUAL_SIZE.min(length)).await];
        if length > USUAL_SIZE {
            cases.push(Case::page(&server, USUAL_SIZE, &server.deep().await, USUAL_SIZE).await);
        }
        lengths.push((length, cases));
        if length == USUAL_LENGTH {
            for size in SIZES {
                sizes.push((size, vec![Case::page(&server, size, &Value::Null, size).await]));
            }
        }
    }
    [
        Table {
            title: "Length of the conversation",
            amount: "messages",
            columns: &["newest page of 50, us", "oldest page of 50, us"],
            rows: lengths,
        },
        Table { title: "Size of the page", amount: "messages on it", columns: &["us"], rows: sizes },
    ]
}

async fn crowds() -> Table {
    let mut rows = Vec::new();
    for users in USERS {
        let server = Rc::new(Server::with(users, 0).await);
        let mut cases = vec![Case::users(&server, None, 50).await];
        for search in SEARCHES {
            cases.push(Case::users(&server, Some(search), found(search, users)).await);
        }
        rows.push((users, cases));
    }
    Table {
        title: "Number of users",
        amount: "users",
        columns: &[
            "first page of 50, us",
            "search that finds nobody, us",
            "that finds 20, us",
            "for a word that one in 40 has, us",
            "for two words that one in 1,400 has, us",
            "for a word that only the last have, us",
        ],
        rows,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let [lengths, sizes] = conversations().await;
    let mut tables = [lengths, sizes, crowds().await];
    for _ in 0..ROUNDS {
        for case in tables.iter_mut().flat_map(|table| &mut table.rows).flat_map(|(_, cases)| cases) {
            case.run().await;
        }
    }
    for table in &tables {
        table.print();
    }
    let [lengths, _, crowds] = &tables;
    let deep = lengths.case(USUAL_LENGTH, 1).ratio(lengths.case(USUAL_LENGTH, 0));
    let kept = [
        ("oldest page to newest, of 10,000 messages", deep, DEEP),
        ("newest page, of 1,000,000 messages to 1,000", lengths.growth(0, 1_000, 1_000_000), LONG),
        ("oldest page, of 1,000,000 messages to 1,000", lengths.growth(1, 1_000, 1_000_000), LONG),
        ("first page, of 1,000,000 users to 100", crowds.growth(0, 100, 1_000_000), CROWDED),
    ];
    let ratio = |column| crowds.case(1_000_000, column).ratio(crowds.case(1_000_000, 0));
    let of_searches = [
        ("search for nobody to a page, of 1,000,000 users", ratio(1), FOUND),
        ("search that finds 20 to a page, of 1,000,000 users", ratio(2), FOUND),
        ("search for a frequent word to a page, of 1,000,000 users", ratio(3), FOUND),
        ("search for two frequent words to a page, of 1,000,000 users", ratio(4), FOUND_TOGETHER),
        ("search for a word of the last to a page, of 1,000,000 users", ratio(5), FOUND),
    ];
    let kept: Vec<_> = kept.into_iter().chain(of_searches).collect();
    println!("\n### Limits\n\n| times as much | measured | at most | holds |\n| --- | ---: | ---: | --- |");
    for (what, ratio, limit) in &kept {
        println!("| {what} | {ratio:.2} | {limit} | {} |", if ratio <= limit { "yes" } else { "**no**" });
    }
    let figures: serde_json::Map<_, _> = tables.iter().map(|table| (table.title.to_owned(), table.figures())).collect();
    let limits: Value =
        kept.iter().map(|(what, ratio, limit)| json!({ "what": what, "measured": ratio, "atMost": limit })).collect();
    let all = json!({ "tables": figures, "limits": limits });
    fs::write("target/growth.json", format!("{all:#}\n")).unwrap();
    if kept.iter().all(|(_, ratio, limit)| ratio <= limit) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
