//! The table of limits: what no setting changes is what the code has. `readme.rs` compares the rows with a setting.

use std::fs;

use crate::book::root;

const LIMITS: &str = include_str!("../../docs/reference/limits.md");

/// How a row begins, and what makes its numbers: constants in files of `src`, or numbers that are nowhere else.
const ROWS: &[(&str, &[&str])] = &[
    ("size of the request line and headers", &["http/listeners.rs:MAX_HEAD_BYTES"]),
    ("number of headers of a request", &["http/listeners.rs:MAX_HEADERS"]),
    ("size of a query string", &["http/graphql.rs:MAX_QUERY_STRING"]),
    (
        "rest of a request that is read and discarded",
        &["http/connections.rs:MAX_LINGER_BYTES", "http/connections.rs:LINGER"],
    ),
    (
        "nesting depth of fields in introspection",
        &["execution/limits.rs:MAX_INTROSPECTION_DEPTH", "execution/limits.rs:MAX_INTROSPECTION_LISTS"],
    ),
    ("selections of an operation", &["execution/plan.rs:MAX_SELECTIONS"]),
    ("length of an alias", &["execution/limits.rs:MAX_ALIAS"]),
    ("page size", &["execution/limits.rs:MAX_PAGE"]),
    ("ids in `nodes`", &["execution/limits.rs:MAX_PAGE"]),
    ("length of the text of a message search", &["domain/searches.rs:MAX_TEXT"]),
    ("words in the text of a message search", &["model/phrases.rs:MAX_QUERY_WORDS"]),
    ("prefixes", &["model/phrases.rs:MAX_PREFIXES"]),
    ("results of a message search", &["domain/searches.rs:MAX_HITS"]),
    ("messages with the words", &["domain/searches.rs:MAX_RANKED"]),
    ("timeout for the comparison of vectors", &["domain/searches.rs:SCAN_TIMEOUT"]),
    ("timeout for the embedding of a search text", &["search/embedders.rs:QUERY_TIMEOUT"]),
    (
        "consecutive failures before the embedding endpoint is skipped",
        &["search/breakers.rs:MAX_FAILURES", "search/breakers.rs:PAUSE"],
    ),
    ("size of an answer of the embedding endpoint", &["search/endpoint.rs:MAX_BYTES_PER_TEXT"]),
    ("the same for requests without a token", &["graphql/api.rs:MAX_ANONYMOUS_ANSWER"]),
    ("size of the messages in a page of `feedEvents`", &["store/feed.rs:MAX_SLICE_BYTES"]),
    ("estimated memory of the fields and arguments of an operation", &["execution/limits.rs:MAX_HELD_BYTES"]),
    ("estimated memory of the documents, fields and arguments of a batch", &["execution/limits.rs:MAX_HELD_BYTES"]),
    (
        "estimated memory of the documents, fields and arguments of a subscription",
        &["execution/limits.rs:MAX_HELD_BYTES"],
    ),
    ("size of the messages that are buffered", &["store/feed.rs:MAX_SLICE_BYTES"]),
    ("signals that are buffered", &["events/signals.rs:QUEUE_CAPACITY"]),
    ("length of the id of an operation", &["http/sessions.rs:MAX_ID_BYTES"]),
    ("WebSockets in authentication at a time", &["http/mod.rs:MAX_AUTHENTICATIONS"]),
    ("WebSockets and event streams that are closed per second", &["http/closings.rs:CLOSED_PER_SECOND"]),
    ("grace period after a session ends", &["http/sessions.rs:LAST_ANSWERS_TIMEOUT"]),
    ("time for which a connection without a token", &["domain/connections.rs:ANONYMOUS_TIMEOUT"]),
    ("sessions of an account", &["domain/accounts.rs:MAX_SESSIONS"]),
    ("sessions that `me { sessions }` returns", &["domain/accounts.rs:MAX_OWN_SESSIONS"]),
    ("events of more than 64 KiB", &["events/permits.rs:EVENTS"]),
    ("database reads in flight of a user", &["events/permits.rs:READS", "events/permits.rs:HEAVY_READS"]),
    ("open connections of all clients", &["http/connections.rs:RESERVED_DESCRIPTORS"]),
    ("maximum in flight: requests without a token from an address", &["events/permits.rs:VISITOR_REQUESTS"]),
    ("sign-ins and sign-ups in a request", &["1"]),
    ("passwords that wait to be hashed", &["secrets/passwords.rs:MAX_WAITING"]),
    ("token refreshes of a session", &["events/rates.rs:MAX_REFRESHES"]),
    ("sign-outs by a session", &["events/rates.rs:MAX_SIGN_OUTS"]),
    ("token refreshes and sign-outs from an address", &["events/rates.rs:MAX_SESSION_CHANGES"]),
    ("size of a JWKS", &["secrets/jwks.rs:MAX_BYTES", "secrets/jwks.rs:FETCH_TIMEOUT"]),
    ("length of the `sub`", &["secrets/issuers.rs:MAX_SUBJECT_BYTES"]),
    ("writes in the queue or in progress", &["store/pools.rs:MAX_PENDING_WRITES"]),
    ("timeout of a read or write that waits", &["store/timeouts.rs:BUSY_TIMEOUT"]),
    (
        "size of the caches of documents, plans and persisted queries",
        // As much again for the plans.
        &["execution/documents.rs:CACHED_BYTES * 2 + execution/persisted.rs:CACHED_BYTES"],
    ),
    ("size of a persisted query", &["execution/persisted.rs:MAX_TEXT"]),
    ("largest id in an import file", &["domain/import_errors.rs:MAX_ID", "domain/import_errors.rs:MAX_EXPORTED_ID"]),
    ("time for requests in flight when the server stops", &["http/mod.rs:DRAIN_TIMEOUT"]),
    (
        "text of a message",
        &["1", "model/texts.rs:MAX_CONTENT", "model/texts.rs:MAX_CONTENT + model/texts.rs:MAX_BLANKS"],
    ),
    ("`clientId`", &["1", "model/texts.rs:MAX_CLIENT_ID"]),
    ("name of a user, or of a device", &["1", "model/texts.rs:MAX_NAME"]),
    ("email address", &["3", "model/texts.rs:MAX_EMAIL"]),
    ("password", &["model/texts.rs:MIN_PASSWORD", "model/texts.rs:MAX_PASSWORD"]),
];

/// What an expression gives, such as those of the table, and of constants in the code: durations in seconds.
fn value(expression: &str) -> u64 {
    for (operator, apply) in [
        (" + ", u64::wrapping_add as fn(u64, u64) -> u64),
        (" / ", u64::wrapping_div),
        (" * ", u64::wrapping_mul),
        (" << ", |one, other| one << other),
    ] {
        if let Some((one, other)) = expression.rsplit_once(operator) {
            return apply(value(one), value(other));
        }
    }
    if let Some((file, name)) = expression.split_once(".rs:") {
        let code = fs::read_to_string(root().join("src").join(format!("{file}.rs"))).unwrap();
        let definition = code.split_once(&format!("const {name}: ")).unwrap_or_else(|| panic!("{expression}")).1;
        return value(definition.split_once(" = ").unwrap().1.split_once(';').unwrap().0);
    }
    for (function, seconds) in [("Duration::from_secs(", 1), ("Duration::from_mins(", 60)] {
        if let Some(number) = expression.strip_prefix(function) {
            return value(number.trim_end_matches(')')) * seconds;
        }
    }
    expression.replace('_', "").parse().unwrap_or_else(|_| panic!("{expression}"))
}

/// The numbers of a cell.
fn numbers(cell: &str) -> Vec<u64> {
    let cell = cell.replace(",000", "000");
    cell.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Each row without a setting has its numbers from the code, and the table has each row.
#[test]
fn fixed_limits_are_those_of_the_code() {
    let mut expected: Vec<_> = ROWS.iter().collect();
    for line in LIMITS.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| limit |")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if line.starts_with("| ---") || (cells.len() == 4 && cells[2].starts_with("`--")) {
            continue;
        }
        let at = expected.iter().position(|(begins, _)| cells[0].starts_with(begins));
        let (_, constants) = expected.remove(at.unwrap_or_else(|| panic!("nothing in the code is known for: {line}")));
        let values: Vec<_> = constants.iter().map(|constant| value(constant)).collect();
        assert_eq!(numbers(cells[1]), values, "{line}");
    }
    assert!(expected.is_empty(), "these are not in the table: {expected:?}");
}
