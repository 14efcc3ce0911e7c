//! The pages on writing a client, docs/how-to/client.md and those beside it: their documents fit the schema, their commands are
//! those of the program, and their code is that of files which other tests run.

use std::{fs, path::Path};

use clap::Parser;
use duologue::config::Cli;
use serde_json::json;

use crate::{
    book,
    harness::{Chat, Socket},
};

const PAGES: [&str; 4] = [
    include_str!("../../docs/how-to/client.md"),
    include_str!("../../docs/how-to/client-connection.md"),
    include_str!("../../docs/how-to/client-tokens.md"),
    include_str!("../../docs/how-to/client-caches.md"),
];

/// The fenced blocks: what they say of themselves, and their text.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.into_iter().flat_map(book::blocks)
}

fn trimmed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_fit_the_schema() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let documents: Vec<_> = blocks().filter(|(about, _)| *about == "graphql").collect();
    assert!(documents.len() >= 8);
    for (number, (_, document)) in documents.into_iter().enumerate() {
        // Without its variables it is not run, but only after it was found to be good.
        socket.subscribes(&number.to_string(), document, json!({})).await;
        let answer = socket.hears().await;
        assert_eq!(answer["type"], "error", "{document}");
        assert_eq!(answer["payload"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}: {document}");
    }
}

#[test]
fn code_is_quoted_from_files_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut quoted = 0;
    for (about, code) in blocks() {
        let Some((_, file)) = about.split_once(' ') else { continue };
        let text = fs::read_to_string(root.join(file)).unwrap();
        let (lines, code) = (trimmed(&text), trimmed(code));
        assert!(lines.windows(code.len()).any(|window| *window == code), "not in {file}: {code:#?}");
        quoted += 1;
    }
    assert!(quoted >= 15, "{quoted}");
}

#[test]
fn commands_are_those_of_the_program() {
    for (_, text) in blocks().filter(|(about, _)| *about == "sh") {
        for line in text.lines() {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        }
    }
}
