//! Programs in JavaScript: the official audit of GraphQL over HTTP (the package graphql-http), and client libraries that
//! lose their connection.

use std::{fs, path::PathBuf, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::{
    book::{blocks, root},
    crowd::short_or_long,
    harness::{ACCOUNTS, Chat, Database, soon},
};

/// A folder of tests with the packages that a program needs; `None` where there is no Node.js.
fn installed(folder: &str, program: &str) -> Option<PathBuf> {
    let folder = root().join("tests").join(folder);
    let is_installed = folder.join("node_modules").exists();
    let without = std::env::var_os("DUOLOGUE_TEST_WITHOUT_NODE").is_some();
    assert!(is_installed || without, "run `make test`, which installs what {program} needs");
    is_installed.then_some(folder)
}

/// The lines that a program prints when it is given the server's address; `None` where there is no Node.js.
async fn printed(folder: &str, program: &str) -> Option<Vec<String>> {
    printed_of(Chat::open(), folder, program).await
}

/// The same of a server that is not as the others.
async fn printed_of(chat: impl Future<Output = Chat>, folder: &str, program: &str) -> Option<Vec<String>> {
    printed_with(chat, folder, program, &[]).await
}

async fn printed_with(
    chat: impl Future<Output = Chat>,
    folder: &str,
    program: &str,
    environment: &[(&str, String)],
) -> Option<Vec<String>> {
    let folder = installed(folder, program)?;
    let chat = chat.await;
    let output = Command::new("node")
        .arg(program)
        .arg(chat.url("/graphql"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("AUTHORIZATION", chat.authorization.as_deref().unwrap_or_default())
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(output.status.success(), "{lines:#?}");
    Some(lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_audit_finds_nothing() {
    let Some(lines) = printed("audit", "audit.mjs").await else { return };
    assert!(lines.len() > 50, "{lines:#?}");
    let failed: Vec<_> = lines.iter().filter(|line| !line.starts_with("ok\t")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Random documents, valid and invalid, get the same verdict and the same data from graphql-js; docs/concepts/graphql.md has the few
/// ways in which they differ.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_run_as_graphql_js_runs_them() {
    let documents: u32 = short_or_long(600, 8_000);
    let limits = ["complexity", "depth", "aliases", "root-fields", "directives", "tokens", "recursion"];
    let flags: Vec<String> = limits.iter().flat_map(|limit| [format!("--max-{limit}"), "1000000000".into()]).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let chat = async {
        let chat = Chat::with(&flags).await;
        let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
        for number in 1..=12_u32 {
            let (from, to) = [(&ada, &bob), (&bob, &ada), (&bob, &eve)][number as usize % 3];
            let reply = (number > 3).then(|| format!("msg_{}", number - 3));
            let content = format!("text {number} \"quoted\" \u{1} 👋");
            from.tries_to_send(json!({ "receiverId": to.id, "content": content, "replyToId": reply })).await;
        }
        bob.edits("msg_2", "edited").await;
        ada.deletes("msg_6").await;
        let marks = "mutation { markRead(messageId: 4, userId: 1) { userErrors { code } } \
            markDelivered(messageId: 7, userId: 1) { userErrors { code } } }";
        chat.data(marks, json!({})).await;
        chat
    };
    let Some(lines) = printed_with(chat, "audit", "differential.mjs", &[("DOCUMENTS", documents.to_string())]).await
    else {
        return;
    };
    let last = lines.last().unwrap();
    assert!(last.ends_with(" 0 different"), "{}", lines.join("\n"));
    let answered: u32 = last.split(' ').next().unwrap().parse().unwrap();
    assert!(answered > documents / 4, "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_libraries_resume_after_a_lost_connection() {
    let Some(lines) = printed("clients", "clients.mjs").await else { return };
    let ok: Vec<_> = lines.iter().filter(|line| line.starts_with("ok ")).collect();
    assert_eq!((ok.len(), lines.len()), (6, 6), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_of_client_libraries_are_kept_current_by_the_feed() {
    let Some(lines) = printed("clients", "caches.mjs").await else { return };
    assert_eq!(lines, ["ok apollo", "ok relay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_once_for_all_tabs_and_on_a_socket() {
    let chat = async { Chat::in_real_time(Database::new().await, &ACCOUNTS).await };
    let Some(lines) = printed_of(chat, "clients", "tokens.mjs").await else { return };
    assert_eq!(lines, ["ok tabs_refresh_once", "ok a_socket_is_renewed_and_ends_with_the_session"]);
}

/// The first code of whoever connects an app: it sends a message, and prints the feed of the receiver.
#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_the_page_on_apps_runs_as_it_is_written() {
    let page = fs::read_to_string(root().join("docs/start/app.md")).unwrap();
    let Some(folder) = installed("clients", "docs/start/app.md") else { return };
    let chat = Chat::open_to_all(&[]).await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let code: Vec<_> = blocks(&page).into_iter().filter(|(language, _)| *language == "js").collect();
    let [(_, code)] = code[..] else { panic!("{code:?}") };
    assert_eq!(code.matches("127.0.0.1:8000").count(), 2);
    let code = code.replace("127.0.0.1:8000", &chat.address.to_string());
    // Before version 22 Node.js has a WebSocket only if it is asked for.
    let mut node = Command::new("node")
        .args(["--experimental-websocket", "--input-type=module", "-"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(code.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let mut prints = async |wanted: &str| {
        soon(async { while !lines.next_line().await.unwrap().expect(wanted).contains(wanted) {} }).await;
    };
    prints("{ message: { id: 'msg_1' }, userErrors: [] }").await;
    assert_eq!(chat.texts(&ada, &bob).await, ["Hi"]);
    // From now on everything comes.
    prints("kind: 'CAUGHT_UP'").await;
    ada.sends("Hello", &bob).await;
    for wanted in ["kind: 'MESSAGE_SENT'", "cursor: '", "message: { content: 'Hello' }"] {
        prints(wanted).await;
    }
}
