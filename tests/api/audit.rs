//! The official audit of GraphQL over HTTP: the package graphql-http, run by Node.js.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::harness::Chat;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_audit_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit");
    if !folder.join("node_modules").exists() {
        assert!(
            std::env::var_os("DUOLOGUE_TEST_WITHOUT_NODE").is_some(),
            "run `make test`, which installs what the audit needs"
        );
        return;
    }
    let chat = Chat::open().await;
    let audit = Command::new("node")
        .arg("audit.mjs")
        .arg(chat.url("/graphql"))
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    assert!(audit.status.success());
    let lines = String::from_utf8(audit.stdout).unwrap();
    assert!(lines.lines().count() > 50, "{lines}");
    let failed: Vec<&str> = lines.lines().filter(|line| !line.starts_with("ok\t")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
