//! The pages in a real browser, as people use them: `tests/browser`.

use std::{borrow::Cow, path::Path, time::Duration};

use tokio::process::Command;

use crate::harness::{ACCOUNTS, Chat, Database, signed_in};

/// For all tests of a file, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(10);

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Runs a file of tests in JavaScript beside an open server and one where people sign in.
async fn in_browser(tests: &str) {
    in_browser_with(tests, &[]).await;
}

/// The server where people sign in has these flags too.
async fn in_browser_with(tests: &str, flags: &[&str]) {
    if std::env::var_os("DUOLOGUE_TEST_WITHOUT_BROWSER").is_some() || signed_in() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(folder.join("node_modules").exists(), "run `make test`, which installs a browser and what {tests} needs");
    let open = Chat::in_real_time(Database::new().await, &[]).await;
    let accounts = Chat::in_real_time(Database::new().await, &[&ACCOUNTS, flags].concat()).await;
    let run = Command::new("node")
        .args(["--test", "--test-reporter=spec", tests])
        .env("DUOLOGUE_OPEN", open.url("/"))
        .env("DUOLOGUE_ACCOUNTS", accounts.url("/"))
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, run).await.expect("the browser does not come to an end").unwrap();
    let told = text(&output.stdout);
    // Where all that failed is repeated, at the end.
    let failed = told.split_once("failing tests:").map_or(&*told, |(_, failed)| failed);
    assert!(output.status.success(), "{failed}{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_graphiql() {
    in_browser("graphiql.test.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_demo() {
    in_browser("demo.test.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_find_in_the_demo_what_they_know() {
    in_browser("everyday.test.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_demo_where_something_goes_wrong() {
    in_browser("troubles.test.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_out_of_the_demo_in_several_tabs() {
    in_browser("sessions.test.mjs").await;
}

/// Of the server where people sign in: the address at which Vite shows the page, and tokens that are soon traded, since that is done a
/// minute before they end.
const REACT: [&str; 4] = ["--cors-origin", "http://localhost:5173", "--access-token-lifetime", "62"];

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_example_with_react() {
    in_browser_with("react.test.mjs", &REACT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_use_the_example_with_react_where_something_goes_wrong() {
    in_browser_with("react-troubles.test.mjs", &REACT).await;
}
