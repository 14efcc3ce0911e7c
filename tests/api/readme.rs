//! The README and the pages in docs: what can be run is run as it is written, with the answers that are shown; commands are
//! those of the program, and tables are complete.

use clap::{CommandFactory, Parser};
use duologue::config::Cli;
use serde_json::{Value, json};

use crate::harness::{ACCOUNTS, Chat, Socket};

const README: &str = include_str!("../../README.md");
const ERRORS: &str = include_str!("../../docs/errors.md");
const LIMITS: &str = include_str!("../../docs/limits.md");
const REST: &str = include_str!("../../docs/rest.md");
const SETTINGS: &str = include_str!("../../docs/settings.md");

/// Pages with commands; `clients.rs` checks docs/clients.md.
const PAGES: [&str; 8] = [
    README,
    REST,
    SETTINGS,
    include_str!("../../docs/accounts.md"),
    include_str!("../../docs/metrics.md"),
    include_str!("../../docs/proxies.md"),
    include_str!("../../docs/operations.md"),
    include_str!("../../docs/scale.md"),
];

/// The fenced blocks of a section of the README with their languages.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    let (_, rest) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_and_the_inbox_run_as_they_are_written() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let mut answers = Vec::new();
    let mut after = Value::Null;
    let mut steps = 0;
    for (language, text) in [blocks("The tour"), blocks("The inbox")].concat() {
        match language {
            "graphql" if text.starts_with("subscription") => {
                // A new one hears nothing of earlier subscriptions.
                socket = Socket::ready(&chat).await;
                socket.subscribes("tour", text, json!({ "after": after })).await;
                answers.push(socket.hears().await["payload"].take());
            }
            "graphql" => {
                let answer = chat.ask(text, json!({})).await;
                if let Some(cursor) = answer.pointer("/data/feedCursor") {
                    after = cursor.clone();
                }
                answers.push(answer);
            }
            "json" => {
                let expected: Value = serde_json::from_str(text).unwrap();
                // The answer to the step before, or else what the subscription has to say.
                let mut answer =
                    if answers.is_empty() { socket.hears().await["payload"].take() } else { answers.remove(0) };
                // Each database has cursors of its own.
                for place in ["/data/feedCursor", "/data/feed/cursor"] {
                    if let (Some(cursor), Some(shown)) = (answer.pointer_mut(place), expected.pointer(place)) {
                        assert!(cursor.is_string(), "{cursor}");
                        *cursor = shown.clone();
                    }
                }
                assert_eq!(answer, expected);
                steps += 1;
            }
            _ => {}
        }
    }
    assert!(steps >= 14, "{steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chapter_on_accounts_runs_as_it_is_written() {
    let chat = Chat::with(&ACCOUNTS).await;
    let (mut access, mut refresh) = (None, Value::Null);
    let mut operations = 0;
    for (language, text) in blocks("Accounts") {
        if language == "graphql" {
            operations += 1;
            let answer = chat.ask_with(access.as_deref(), text, json!({ "token": refresh })).await;
            assert_eq!(answer.get("errors"), None, "{text}");
            let (_, root) = answer["data"].as_object().unwrap().iter().next().unwrap();
            assert!(root.is_object() && root.get("userErrors").is_none_or(|errors| *errors == json!([])), "{answer}");
            if let Some(token) = root["accessToken"].as_str() {
                access = Some(token.to_owned());
                refresh = root["refreshToken"].clone();
            }
        }
    }
    assert_eq!(operations, 3);
}

#[test]
fn every_command_is_one_of_the_program() {
    let mut commands = 0;
    for block in PAGES.iter().flat_map(|page| page.split("```").skip(1).step_by(2)) {
        for line in block.replace("\\\n", " ").lines().filter(|line| line.starts_with("duologue ")) {
            let words = line.split('#').next().unwrap().split_whitespace();
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            commands += 1;
        }
    }
    assert!(commands >= 15, "{commands}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_rest_table_works() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Eve").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let lines: Vec<Vec<&str>> = REST
        .lines()
        .filter(|line| ["| `POST /", "| `GET /", "| `PUT /", "| `DELETE /"].iter().any(|start| line.starts_with(start)))
        .map(|line| line.split('`').collect())
        .collect();
    assert_eq!(lines.len(), 11);
    // Deletions last: the others need what they delete.
    let (deletions, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line[1].starts_with("DELETE"));
    for line in others.iter().chain(deletions.iter().rev()) {
        let data = chat.data(line[3], json!({})).await;
        let root = data.as_object().unwrap().values().next().unwrap();
        assert!(root.is_object(), "{}", line[3]);
        assert!(root.get("userErrors").is_none_or(|errors| *errors == json!([])), "{}: {data}", line[3]);
    }
}

#[test]
fn every_setting_is_in_a_table() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for setting in serve.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let (flag, variable) = (setting.get_long().unwrap(), setting.get_env().unwrap().to_str().unwrap());
        let is_limit = setting.get_help_heading().is_some_and(|heading| heading.starts_with("Limits"));
        if !is_limit {
            assert!(SETTINGS.contains(&format!("| `--{flag}` | `{variable}` |")), "{flag}");
            continue;
        }
        assert_eq!(variable, format!("DUOLOGUE_{}", flag.replace('-', "_").to_uppercase()));
        let default = setting.get_default_values().first().map_or("any", |value| value.to_str().unwrap());
        let row =
            LIMITS.lines().find(|line| line.contains(&format!("| `--{flag}` |"))).unwrap_or_else(|| panic!("{flag}"));
        assert!(row.contains(&format!("| {default} | `--{flag}` |")), "{row}: it is {default}");
    }
}

#[test]
fn every_code_is_in_the_table() {
    for code in <duologue::execution::Code as strum::VariantArray>::VARIANTS {
        assert!(ERRORS.contains(&format!("`{code}`")), "{code}");
    }
}
