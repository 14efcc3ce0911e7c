//! Caches of what clients send: how much memory they take at most, and that nobody drives out what others use.

use std::sync::Arc;

use duologue::{
    config::Limits,
    execution::{Engine, Plan, Request, Schema},
    graphql,
};
use serde_json::{Value, json};

use crate::{
    harness::{Database, authorization, client},
    program::serve,
};

/// Documents that hold much for their length or for the time that they take: how many of them to ask for, and one with a
/// number that makes it another one than all others.
type Kind = (usize, fn(usize) -> String);

fn list(times: usize, item: impl Fn(usize) -> String) -> String {
    (0..times).map(item).collect()
}

/// Few fragments that become many fields; with a name for the id of a user.
fn nested(operation: &str, id: &str) -> String {
    let message = |inner: &str| format!("id content status sender {{ ...U }} receiver {{ ...U }} {inner}");
    let fragments = list(4, |n| {
        let inner = format!("replyTo {{ ...M{n} }} conversation {{ lastMessage {{ ...M{n} }} }}");
        format!("fragment M{} on Message {{ {} }} ", n + 1, message(&inner))
    });
    let user = format!("fragment U on User {{ {id} name email createdAt }}");
    format!("{operation} {user} fragment M0 on Message {{ {} }} {fragments}", message(""))
}

const WORST: [Kind; 12] = [
    (200, |number| format!("{{ a{number}: __typename }}")),
    (60, |number| nested(&format!("query Q{number} {{ message(id: 1) {{ ...M4 }} }}"), "id")),
    // Long keys, which are written into each answer.
    (60, |number| {
        let unused = "query N { message(id: 1) { ...M4 } }";
        let id = format!("{}: id", "x".repeat(128));
        nested(&format!("query Q{number} {{ message(id: 1) {{ ...M1 }} }} {unused}"), &id)
    }),
    (30, |number| format!("{{ {} }}", list(20, |n| format!("a{}{n}_{number}: __typename ", "x".repeat(120))))),
    // Arguments that no variable decides about are kept, each as often as its fragment is used.
    (30, |number| format!("query Q{number} {{ nodes(ids: [{}]) {{ id }} }}", "1 ".repeat(1_900))),
    (60, |number| {
        let uses = list(19, |n| format!("a{n}: user(id: {number}) {{ ...F }} "));
        let after = "x".repeat(3_000);
        format!("{{ {uses} }} fragment F on User {{ sentMessages(first: 1, after: \"{after}\") {{ nodes {{ id }} }} }}")
    }),
    (60, |number| {
        let input = format!("{{ name: \"\", email: \"\", password: \"{}\" }}", "x".repeat(400));
        format!(
            "mutation Q{number} {{ {} }}",
            list(20, |n| format!("a{n}: createUser(input: {input}) {{ user {{ id }} }} "))
        )
    }),
    // One key, no name, many names.
    (30, |number| format!("query Q{number} {{ {} }}", "__typename ".repeat(1_900))),
    (30, |number| format!("query Q{number} {{ {} }}", "... { __typename } ".repeat(390))),
    (30, |number| list(390, |n| format!("query Q{number}_{n} {{ __typename }} "))),
    // Locations are found by lines.
    (100, |number| format!("query Q{number} {{ __typename {} }}", "\n".repeat(30_000))),
    (30, |number| format!("query Q{number} {{ {} }}", "__typename\n\n\n\n\n\n\n\n\n".repeat(1_900))),
];

/// Bytes of the memory of a process.
fn memory(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_for_takes_little_memory() {
    let database = Database::new().await;
    let http = client(authorization(&database).await.as_deref());
    let (child, address) = serve(&database, &[]).await;
    let url = format!("http://{address}/graphql");
    let ask = async |kind: fn(usize) -> String, number| {
        let answer = http.post(&url).json(&json!({ "query": kind(number) })).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
        assert!(!["QUERY_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED"].contains(&code), "{answer}");
    };
    for (_, kind) in WORST {
        ask(kind, 0).await;
    }
    let before = memory(child.id().unwrap());
    for (times, kind) in WORST {
        for number in 1..=times {
            ask(kind, number).await;
        }
        let grown = memory(child.id().unwrap()).saturating_sub(before) >> 20;
        assert!(grown < 48, "{grown} MiB: {}", &kind(0)[..40]);
    }
}

fn engine() -> Engine<()> {
    let database = Database::at("no.db");
    let limits: Limits = database.settings(&[]).limits;
    Engine::open(Schema::parse(&graphql::sdl(), |_, _| 0).unwrap(), |_, _, _| (), &limits).unwrap_or_else(|_| panic!())
}

fn plan(engine: &Engine<()>, query: &str) -> Option<Arc<Plan<()>>> {
    let request: Request = serde_json::from_value(json!({ "query": query })).unwrap();
    engine.prepare(&request).ok().map(|prepared| prepared.plan)
}

#[test]
fn what_is_asked_for_often_stays_cached_whatever_comes_in_between() {
    let engine = engine();
    let page =
        "nodes { id name email sentMessages(last: 1) { nodes { id content sender { id } } } } pageInfo { hasNextPage }";
    let used: Vec<_> = (0..300).map(|n| format!("query Used{n} {{ users(first: {}) {{ {page} }} }}", n % 20)).collect();
    // The cache was filled before they came.
    for (_, kind) in WORST {
        (0..10).for_each(|number| drop(plan(&engine, &kind(number))));
    }
    let mut plans = vec![Vec::new(); used.len()];
    for number in 0..10_000 {
        plan(&engine, &format!("{{ a{number}: __typename }}"));
        if number % 100 == 0 {
            // Some are so large that few of them would fill it.
            let (_, kind) = WORST[number / 100 % WORST.len()];
            plan(&engine, &kind(1_000 + number));
        }
        let n = number % used.len();
        plans[n].push(plan(&engine, &used[n]).unwrap());
    }
    for (plans, query) in plans.iter().zip(used) {
        // What comes for the second time stays.
        assert!(plans[2..].iter().all(|plan| Arc::ptr_eq(plan, &plans[2])), "{query}");
    }
}

#[test]
fn what_is_mostly_comments_and_blanks_is_not_cached() {
    let engine = engine();
    let is_cached = |query: &str| {
        let [first, second] = [plan(&engine, query).unwrap(), plan(&engine, query).unwrap()];
        Arc::ptr_eq(&first, &second)
    };
    let comment = "x".repeat(1_000);
    assert!(is_cached(include_str!("introspection.graphql")));
    assert!(is_cached(
        "{ # who\n    users(first: 3) {\n        nodes {\n            id,\n            name\n        }\n    }\n}\n"
    ));
    for spaced in [
        format!("{{ server {{ version }} }} # {comment}"),
        format!("{{ server {{ version }} {} }}", ",".repeat(1_000)),
        format!("{{ server {{ version }} {} }}", " \t\n".repeat(400)),
    ] {
        assert!(!is_cached(&spaced), "{spaced}");
    }
}
