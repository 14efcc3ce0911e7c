//! The README and the pages in docs: what can be run is run as it is written, with the answers that are shown; commands are
//! those of the program, and tables are complete.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use duologue::config::Cli;
use serde_json::{Value, json};

use crate::{
    book::{blocks, pages},
    harness::{ACCOUNTS, Chat, Socket, soon},
};

const README: &str = include_str!("../../README.md");
const CONVERSATION: &str = include_str!("../../docs/start/conversation.md");
const TOUR: &str = include_str!("../../docs/start/tour.md");
const INBOX: &str = include_str!("../../docs/start/inbox.md");
const ACCOUNTS_PAGE: &str = include_str!("../../docs/start/accounts.md");
const LIMITS: &str = include_str!("../../docs/reference/limits.md");
const REST: &str = include_str!("../../docs/how-to/rest.md");
const SETTINGS: &str = include_str!("../../docs/reference/settings.md");

/// Runs what is shown, on an empty server, and compares the answers; gives how many there were.
async fn runs(shown: &[(&str, &str)]) -> usize {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    let mut answers = Vec::new();
    let mut after = Value::Null;
    let mut steps = 0;
    for (language, text) in shown {
        match *language {
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
    assert_eq!(answers, [Value::Null; 0], "an answer is not shown");
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_and_the_inbox_run_as_they_are_written() {
    let steps = runs(&[blocks(TOUR), blocks(INBOX)].concat()).await;
    assert!(steps >= 14, "{steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_conversation_runs_as_it_is_written() {
    assert_eq!(runs(&blocks(README)).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_query_is_answered_as_it_is_written() {
    let chat = Chat::open().await;
    for page in [README, CONVERSATION] {
        let (_, rest) = page.split_once("\ncurl http://127.0.0.1:8000/graphql --json '").unwrap();
        let (body, rest) = rest.split_once("'\n# ").unwrap();
        let request = chat.http.post(chat.url("/graphql")).header("content-type", "application/json").body(body);
        let answer = soon(async { request.send().await.unwrap().text().await.unwrap() }).await;
        assert_eq!(answer, rest.lines().next().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chapter_on_accounts_runs_as_it_is_written() {
    let chat = Chat::with(&ACCOUNTS).await;
    let (mut access, mut refresh) = (None, Value::Null);
    let mut operations = 0;
    for (language, text) in blocks(ACCOUNTS_PAGE) {
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
    for (path, page) in pages() {
        for (_, block) in blocks(&page).into_iter().filter(|(language, _)| language.split(' ').next() == Some("sh")) {
            for line in block.replace("\\\n", " ").lines().filter(|line| line.starts_with("duologue ")) {
                let words = shlex::split(line).unwrap();
                let parsed = Cli::try_parse_from(words.iter().take_while(|word| *word != ">"));
                assert!(parsed.is_ok(), "{}: {line}: {:?}", path.display(), parsed.err());
                commands += 1;
            }
        }
    }
    assert!(commands >= 80, "{commands}");
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
    let mut settings = BTreeSet::new();
    for setting in serve.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let (flag, variable) = (setting.get_long().unwrap(), setting.get_env().unwrap().to_str().unwrap());
        let is_limit = setting.get_help_heading().is_some_and(|heading| heading.contains("imits"));
        if !is_limit {
            let start = format!("| `--{flag}` | `{variable}` | ");
            let default =
                SETTINGS.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{flag}"));
            let expected = setting.get_default_values().first().map(|value| value.to_str().unwrap());
            let is_right = match expected {
                _ if !setting.get_action().takes_values() => default.starts_with("off"),
                Some(value) => [format!("`{value}`"), format!("{value} ")].iter().any(|its| default.starts_with(its)),
                None => default.starts_with(|c: char| c.is_alphabetic()),
            };
            assert!(is_right, "{flag}: it is {expected:?}, not {default}");
            settings.insert(flag);
            continue;
        }
        assert_eq!(variable, format!("DUOLOGUE_{}", flag.replace('-', "_").to_uppercase()));
        let default = setting.get_default_values().first().map_or("any", |value| value.to_str().unwrap());
        let row =
            LIMITS.lines().find(|line| line.contains(&format!("| `--{flag}` |"))).unwrap_or_else(|| panic!("{flag}"));
        assert!(row.contains(&format!("| {default} | `--{flag}` |")), "{row}: it is {default}");
    }
    let rows = SETTINGS.lines().filter_map(|line| line.strip_prefix("| `--")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), settings);
}
