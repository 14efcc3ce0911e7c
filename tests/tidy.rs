//! The rules of the house that the compiler cannot see: who may import whom, which room knows which library, and how
//! long a file may be. `src/lib.rs` says why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room, and which others it may import.
const DOORS: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("config", &[]),
    ("telemetry", &["config"]),
    ("store", &["model"]),
    ("events", &["model"]),
    ("secrets", &["model"]),
    ("app", &["config", "store", "events", "secrets", "model"]),
    ("domain", &["model", "store", "events", "secrets", "app"]),
    ("execution", &["config"]),
    ("graphql", &["model", "domain", "execution", "app", "config"]),
    ("http", &["config", "app", "domain", "execution", "graphql"]),
    // The library and the program.
    (
        "lib",
        &[
            "config",
            "telemetry",
            "model",
            "store",
            "events",
            "secrets",
            "app",
            "domain",
            "execution",
            "graphql",
            "http",
        ],
    ),
    ("cli", &["config", "app", "domain", "graphql", "http", "model", "store"]),
];

/// Libraries that only some rooms know.
const KNOWN_BY: [(&str, &[&str]); 12] = [
    ("axum", &["http"]),
    ("async_graphql", &["execution", "graphql"]),
    ("apollo_compiler", &["execution"]),
    ("diesel", &["model", "store"]),
    ("deadpool", &["store"]),
    ("jsonwebtoken", &["secrets"]),
    ("argon2", &["secrets"]),
    ("governor", &["events"]),
    ("reqwest", &["secrets"]),
    ("clap", &["config", "main"]),
    ("anyhow", &["cli"]),
    ("indicatif", &["cli"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|its| its == ending) {
            found.push(path);
        }
    }
    found
}

/// Every file of `src` with its room and its code: without comments.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    let source = |path: PathBuf| {
        let within = path.strip_prefix(&src).unwrap();
        let room = within.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (path, room, code)
    };
    files(&src, "rs").into_iter().map(source).collect()
}

/// The rooms that the code names after `crate::`, also within braces.
fn imports(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split(prefix).skip(1) {
        if let Some(list) = after.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    c if depth == 0 && !c.is_whitespace() => name.push(c),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(after.to_owned());
        }
    }
    let room =
        |text: String| text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default().to_owned();
    found.into_iter().map(room).filter(|room| !room.is_empty()).collect()
}

#[test]
fn nobody_goes_through_a_wall() {
    for (path, room, code) in sources() {
        let allowed = DOORS.iter().find(|(its, _)| *its == room).map(|(_, allowed)| *allowed);
        let prefix = if matches!(room.as_str(), "main" | "cli") { "duologue::" } else { "crate::" };
        for import in imports(&code, prefix) {
            let fine =
                import == room || room == "main" || allowed.is_some_and(|allowed| allowed.contains(&import.as_str()));
            assert!(fine, "{} may not import {import}", path.display());
        }
        assert!(allowed.is_some() || room == "main", "{} is in no room of the house", path.display());
    }
}

#[test]
fn a_library_is_known_where_it_belongs() {
    for (path, room, code) in sources() {
        for (library, rooms) in KNOWN_BY {
            let named = code.contains(&format!("{library}::")) || code.contains(&format!("use {library} "));
            assert!(!named || rooms.contains(&room.as_str()), "{} may not know {library}", path.display());
        }
    }
}

#[test]
fn only_domain_begins_transactions_and_the_store_knows_no_viewer() {
    for (path, room, code) in sources() {
        assert!(room != "store" || !code.contains("Viewer"), "{} knows a viewer", path.display());
        let begins = code.contains("store.write(")
            || code.contains(".store\n            .write(")
            || code.contains(".store\n        .write(");
        assert!(
            !begins || matches!(room.as_str(), "domain" | "app" | "store"),
            "{} begins a transaction",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_not_too_long() {
    let mut all = files(&root().join("src"), "rs");
    all.extend(files(&root().join("tests"), "rs"));
    all.extend(files(&root().join("benches"), "rs"));
    all.extend(files(&root().join("examples/rust/src"), "rs"));
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is for", path.display());
        assert!(text.lines().count() <= 400, "{} is longer than 400 lines", path.display());
        let wide = text.lines().find(|line| line.chars().count() > 140);
        assert_eq!(wide, None, "{}", path.display());
    }
}

#[test]
fn nothing_is_left_for_later_without_a_word() {
    for (path, _, code) in sources() {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "allow(dead_code"] {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
}
