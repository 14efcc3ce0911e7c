//! The programs in `examples`, as somebody runs them: each tells its story, loses its connection, and misses and repeats
//! nothing.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use duologue::domain::{Viewer, admin};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    harness::{ACCOUNTS, Chat, Database, Person, soon},
    proxy::Proxy,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What make installs or builds for an example; `None` where that cannot be, and make says so with the variable.
fn installed(file: &str, unless: &str) -> Option<PathBuf> {
    let file = root().join(file);
    if !file.exists() {
        assert!(std::env::var_os(unless).is_some(), "run `make test`, which installs {}", file.display());
        return None;
    }
    Some(file)
}

/// The example in Rust, which make builds everywhere.
fn in_rust() -> Command {
    let program = root().join("target/examples/debug/duologue-example");
    assert!(program.exists(), "run `make test`, which builds {}", program.display());
    Command::new(program)
}

/// A running example.
struct Example {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// What Ada's side says of her own messages: one example shows them before they are sent.
    own: Vec<String>,
}

impl Example {
    /// With the server's address, and the number of messages after which it ends.
    fn start(chat: &Chat, mut command: Command, address: std::net::SocketAddr, count: usize) -> Self {
        command.arg(format!("http://{address}/graphql")).arg(count.to_string());
        let mut child = signed_in(chat, &mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output, own: Vec::new() }
    }

    async fn is_told(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn next_line(&mut self) -> Option<String> {
        while let Some(line) = soon(self.output.next_line()).await.unwrap() {
            if !line.starts_with("Ada ") {
                return Some(line);
            }
            self.own.push(line);
        }
        None
    }

    async fn prints(&mut self, expected: &[&str]) {
        for expected in expected {
            let line = self.next_line().await.unwrap_or_default();
            assert!(line == *expected, "«{line}» instead of «{expected}»: {}", self.complaints().await);
        }
    }

    /// Prints events as they come, in JSON.
    async fn prints_events(&mut self, expected: &[&str]) {
        for expected in expected {
            let line = self.next_line().await.unwrap();
            let mut event = serde_json::from_str::<Value>(&line).unwrap();
            let event = event["data"]["feed"].take();
            let content = event["message"]["content"].as_str().unwrap_or_default();
            assert_eq!(format!("{} {content}", event["kind"].as_str().unwrap()).trim_end(), *expected);
        }
    }

    /// Prints a line with this in it, perhaps after others.
    async fn comes_to_print(&mut self, expected: &str) {
        while let Some(line) = self.next_line().await {
            if line.contains(expected) {
                return;
            }
        }
        panic!("no «{expected}»: {}", self.complaints().await);
    }

    /// Ends it, unless it has ended, and gives what it wrote to its standard error.
    async fn complaints(&mut self) -> String {
        let mut complaints = String::new();
        let _ = self.child.start_kill();
        soon(self.child.stderr.take().unwrap().read_to_string(&mut complaints)).await.unwrap();
        complaints
    }

    /// It prints nothing more; gives what it said of Ada's own messages.
    async fn ends(mut self) -> Vec<String> {
        assert_eq!(self.next_line().await, None);
        let ended = soon(self.child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}: {}", self.complaints().await);
        self.own
    }
}

/// As somebody who may act for everyone, if people sign in.
fn signed_in<'a>(chat: &Chat, command: &'a mut Command) -> &'a mut Command {
    match &chat.authorization {
        Some(authorization) => command.env("DUOLOGUE_TOKEN", authorization.strip_prefix("Bearer ").unwrap()),
        None => command.env_remove("DUOLOGUE_TOKEN"),
    }
}

/// Ada and Bob, the first two users.
fn people(chat: &Chat) -> [Person<'_>; 2] {
    ["usr_1", "usr_2"].map(|id| Person { chat, id: id.into() })
}

/// A server where people sign in, with tokens that end soon.
async fn with_short_tokens() -> Chat {
    let flags = [&ACCOUNTS[..], &["--access-token-lifetime", "3"]].concat();
    Chat::in_real_time(Database::new().await, &flags).await
}

/// With accounts of Ada and Bob, which are made.
fn with_accounts(mut command: Command) -> Command {
    for (variable, email) in [("DUOLOGUE_ADA", "ada@example.com"), ("DUOLOGUE_BOB", "bob@example.com")] {
        command.env(variable, format!("{email}:correct horse battery"));
    }
    command
}

/// Starts an example with accounts that are made. Those of the first one are, but it does not hear of it.
async fn signs_up(chat: &Chat, command: Command, count: usize) -> Example {
    let proxy = Proxy::to(chat.address).await;
    proxy.cut_at(chat.address, &["\"signUp\":{"]);
    let example = Example::start(chat, with_accounts(command), proxy.address, count);
    proxy.refused().await;
    proxy.lead_to(chat.address);
    example
}

/// Ada and Bob sign in, and go on when their tokens have ended.
async fn signs_in(command: Command) {
    let chat = with_short_tokens().await;
    let mut example = signs_up(&chat, command, 2).await;
    example.comes_to_print("CAUGHT_UP").await;
    example.is_told("one").await;
    example.comes_to_print("MESSAGE_SENT msg_1 Ada: one").await;
    // The server has closed the connection of a token that ended.
    example.comes_to_print("CAUGHT_UP").await;
    example.is_told("two").await;
    example.comes_to_print("MESSAGE_SENT msg_2 Ada: two").await;
    example.ends().await;
}

/// Gives what the example said of Ada's own messages.
async fn tells_the_story(command: impl Fn() -> Command) -> Vec<String> {
    let chat = Chat::open().await;
    let proxy = Proxy::to(chat.address).await;
    let mut example = Example::start(&chat, command(), proxy.address, 6);
    example.prints(&["CAUGHT_UP"]).await;
    // It has made them.
    let [ada, bob] = people(&chat);
    example.is_told("one").await;
    example.prints(&["MESSAGE_SENT msg_1 Ada: one"]).await;
    ada.sends("two", &bob).await;
    example.prints(&["MESSAGE_SENT msg_2 Ada: two"]).await;

    // It arrives, but nobody hears of it.
    proxy.cut_at(chat.address, &["sendMessage", "three"]);
    example.is_told("three").await;
    proxy.refused().await;
    assert_eq!(chat.texts(&ada, &bob).await, ["one", "two", "three"]);
    ada.edits("msg_2", "two!").await;
    ada.deletes("msg_1").await;
    bob.sends("four", &ada).await;
    proxy.lead_to(chat.address);
    let missed = ["MESSAGE_SENT msg_3 Ada: three", "MESSAGE_UPDATED msg_2 Ada: two!", "MESSAGE_DELETED msg_1"];
    example.prints(&missed).await;
    example.prints(&["MESSAGE_SENT msg_8 Bob: four", "CAUGHT_UP"]).await;

    // As after a backup was restored.
    proxy.cut();
    admin::begin_new_epoch(&chat.app, &Viewer::operator(&chat.app)).await.unwrap();
    let chat = Chat::on(chat.stop().await, &[]).await;
    let [ada, bob] = people(&chat);
    proxy.lead_to(chat.address);
    example.prints(&["msg_2 Ada: two!", "msg_3 Ada: three", "msg_8 Bob: four", "CAUGHT_UP"]).await;

    bob.sends("five", &ada).await;
    example.prints(&["MESSAGE_SENT msg_9 Bob: five"]).await;
    example.is_told("six").await;
    example.prints(&["MESSAGE_SENT msg_10 Ada: six"]).await;
    let own = example.ends().await;

    // Now they are there already.
    let mut again = Example::start(&chat, command(), chat.address, 1);
    again.prints(&["msg_2 Ada: two!", "msg_3 Ada: three", "msg_8 Bob: four"]).await;
    again.prints(&["msg_9 Bob: five", "msg_10 Ada: six", "CAUGHT_UP"]).await;
    again.is_told("seven").await;
    again.prints(&["MESSAGE_SENT msg_11 Ada: seven"]).await;
    again.ends().await;
    assert_eq!(chat.texts(&ada, &bob).await, ["two!", "three", "four", "five", "six", "seven"]);
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript() {
    let Some(program) = installed("examples/typescript/build/main.js", "DUOLOGUE_TEST_WITHOUT_NODE") else { return };
    let command = || {
        let mut command = Command::new("node");
        command.arg(&program);
        command
    };
    let own = tells_the_story(command).await;
    // Each message is shown at once, and replaced once: perhaps after the next one was shown.
    for shown in ["Ada sends ", "Ada has sent "] {
        let texts = own.iter().filter_map(|line| line.strip_prefix(shown)).collect::<Vec<_>>();
        assert_eq!(texts, ["one", "three", "six"], "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_where_people_sign_in() {
    let Some(program) = installed("examples/typescript/build/main.js", "DUOLOGUE_TEST_WITHOUT_NODE") else { return };
    let mut command = Command::new("node");
    command.arg(&program);
    signs_in(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_with_trusted_documents() {
    let Some(program) = installed("examples/typescript/build/main.js", "DUOLOGUE_TEST_WITHOUT_NODE") else { return };
    let documents = root().join("examples/typescript/src/gql/persisted-documents.json");
    let chat = Chat::with(&["--trusted-documents", documents.to_str().unwrap()]).await;
    let mut command = Command::new("node");
    command.arg(&program).env("DUOLOGUE_TRUSTED_DOCUMENTS", "1");
    finds_what_was_said(Example::start(&chat, command, chat.address, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_finds_what_was_said() {
    let Some(program) = installed("examples/typescript/build/main.js", "DUOLOGUE_TEST_WITHOUT_NODE") else { return };
    let chat = Chat::open().await;
    let mut command = Command::new("node");
    command.arg(&program);
    finds_what_was_said(Example::start(&chat, command, chat.address, 2)).await;
}

/// With an example that ends after two messages.
async fn finds_what_was_said(mut example: Example) {
    example.prints(&["CAUGHT_UP"]).await;
    example.is_told("an early flight").await;
    example.prints(&["MESSAGE_SENT msg_1 Ada: an early flight"]).await;
    example.is_told("/search EARLY").await;
    example.prints(&["FOUND msg_1 Ada: an **early** flight"]).await;
    // Nothing is sent, and nothing else is found.
    example.is_told("/search late").await;
    example.is_told("two").await;
    example.prints(&["MESSAGE_SENT msg_2 Ada: two"]).await;
    example.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust() {
    tells_the_story(in_rust).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_where_people_sign_in() {
    signs_in(in_rust()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let Some(python) = installed("target/python/bin/python", "DUOLOGUE_TEST_WITHOUT_PYTHON") else { return };
    let command = || {
        let mut command = Command::new(&python);
        command.arg(root().join("examples/python/chat.py"));
        command
    };
    tells_the_story(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_where_people_sign_in() {
    let Some(python) = installed("target/python/bin/python", "DUOLOGUE_TEST_WITHOUT_PYTHON") else { return };
    let mut command = Command::new(&python);
    command.arg(root().join("examples/python/chat.py"));
    signs_in(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    if std::env::var_os("DUOLOGUE_TEST_WITHOUT_CURL").is_some() {
        return;
    }
    let chat = Chat::open().await;
    let proxy = Proxy::to(chat.address).await;
    for round in 0..2 {
        let command = Command::new(root().join("examples/curl/chat.sh"));
        let mut example = Example::start(&chat, command, proxy.address, 3);
        let mut before = Vec::new();
        loop {
            let line = example.next_line().await.unwrap();
            if line.starts_with("# Bob's feed") {
                break;
            }
            before.push(line);
        }
        // A page, another if there is one before, and an answer for each try.
        let answers: Vec<_> = before.iter().filter(|line| line.starts_with(r#"{"data":"#)).collect();
        assert_eq!(answers.len(), 3 + round, "{before:?}");
        assert!(answers[answers.len() - 2].contains(r#""duplicate":false"#), "{before:?}");
        assert!(answers[answers.len() - 1].contains(r#""duplicate":true"#), "{before:?}");

        let [ada, bob] = people(&chat);
        example.prints_events(&["MESSAGE_SENT Hello Bob!", "CAUGHT_UP"]).await;
        proxy.cut();
        ada.sends("missed", &bob).await;
        proxy.refused().await;
        proxy.lead_to(chat.address);
        example.prints_events(&["MESSAGE_SENT missed", "CAUGHT_UP"]).await;
        ada.sends("live", &bob).await;
        example.prints_events(&["MESSAGE_SENT live"]).await;
        example.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_where_people_sign_in() {
    if std::env::var_os("DUOLOGUE_TEST_WITHOUT_CURL").is_some() {
        return;
    }
    let chat = with_short_tokens().await;
    let program = root().join("examples/curl/chat.sh");
    let sent = r#""kind":"MESSAGE_SENT""#;
    let mut example = signs_up(&chat, Command::new(&program), 2).await;
    example.comes_to_print(sent).await;
    // Once before and once after the end of a token.
    example.comes_to_print("CAUGHT_UP").await;
    example.comes_to_print("CAUGHT_UP").await;
    let mut another = Example::start(&chat, with_accounts(Command::new(&program)), chat.address, 1);
    for example in [&mut example, &mut another] {
        example.comes_to_print(sent).await;
    }
    example.ends().await;
    another.ends().await;
}

#[test]
fn the_table_names_every_example() {
    let table = include_str!("../../examples/README.md");
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!entry.path().is_dir() || table.contains(&format!("| [`{name}`](")), "{name}");
    }
}
