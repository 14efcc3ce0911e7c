//! The rules of the house that the compiler cannot see: who may import whom, which room knows which library, and how
//! long a file may be. `src/lib.rs` says why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room, and which others it may import.
const DOORS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("config", &[]),
    ("telemetry", &["config"]),
    ("store", &["model"]),
    ("events", &["model"]),
    ("secrets", &["model"]),
    ("search", &["model"]),
    ("app", &["config", "store", "events", "secrets", "search", "model"]),
    ("domain", &["model", "store", "events", "secrets", "search", "app"]),
    ("execution", &["config"]),
    ("graphql", &["model", "domain", "execution", "app", "config"]),
    ("http", &["config", "telemetry", "app", "domain", "execution", "graphql"]),
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
            "search",
            "app",
            "domain",
            "execution",
            "graphql",
            "http",
        ],
    ),
    ("cli", &["config", "app", "domain", "events", "execution", "graphql", "http", "model", "store"]),
];

/// Libraries that only some rooms know.
const KNOWN_BY: [(&str, &[&str]); 23] = [
    ("axum", &["http"]),
    ("async_graphql", &["execution", "graphql"]),
    ("async_graphql_axum", &["http"]),
    ("apollo_compiler", &["execution"]),
    ("diesel", &["model", "store"]),
    ("deadpool", &["store"]),
    ("tokio_postgres", &["store"]),
    ("rustls", &["store", "events"]),
    ("async_nats", &["events"]),
    ("jsonwebtoken", &["secrets"]),
    ("argon2", &["secrets"]),
    ("governor", &["events"]),
    ("prometheus_client", &["store", "events", "graphql", "http"]),
    ("reqwest", &["secrets", "search", "cli"]),
    ("ndarray", &["search"]),
    ("tokenizers", &["search"]),
    ("safetensors", &["search"]),
    ("clap", &["config", "main"]),
    ("clap_complete", &["config"]),
    ("clap_mangen", &["config"]),
    ("toml", &["config"]),
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
        let dense: String = code.split_whitespace().collect();
        let begins = ["store.write(", "store.write_then("].iter().any(|call| dense.contains(call));
        assert!(
            !begins || matches!(room.as_str(), "domain" | "app" | "store"),
            "{} begins a transaction",
            path.display()
        );
    }
}

#[test]
fn only_the_commands_act_as_the_operator_and_no_viewer_goes_unasked() {
    for (path, room, code) in sources() {
        // Functions that ask whether somebody is the operator make none.
        let makes = code.replace("require_operator(", "").replace("is_operator(", "").contains("operator(");
        let may = room == "cli" || path.ends_with("domain/viewers.rs");
        assert!(may || !makes, "{} makes itself the operator", path.display());
        assert!(room != "domain" || !code.contains("_viewer:"), "{} asks nobody who they are", path.display());
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
fn functions_of_the_executor_and_of_http_are_short() {
    for (path, room, code) in sources() {
        if !["execution", "graphql", "http"].contains(&&*room) {
            continue;
        }
        let mut begun: Option<(usize, &str)> = None;
        let mut has_body = false;
        for (number, line) in code.lines().enumerate() {
            if begun.is_none() && line.split_whitespace().take(4).any(|word| word == "fn") {
                (begun, has_body) = (Some((number, line)), false);
            }
            let Some((first, head)) = begun else { continue };
            has_body |= line.ends_with('{');
            // As rustfmt indents it, this is its last line.
            let is_end = line.trim_end() == format!("{}}}", " ".repeat(head.len() - head.trim_start().len()));
            assert!(number - first < 60, "{}: {} has more than 60 lines", path.display(), head.trim());
            if is_end || (!has_body && line.ends_with([';', '}'])) {
                begun = None;
            }
        }
        assert_eq!(begun, None, "{}", path.display());
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

/// Every path after `use` or `prefix`, with braces expanded and without `as`: `a::{self, b::C}` is `[a]` and `[a, b, C]`.
fn expanded(text: &str) -> Vec<Vec<String>> {
    fn tree(text: &mut &str, before: &[String], found: &mut Vec<Vec<String>>) {
        let mut path = before.to_vec();
        loop {
            *text = text.trim_start();
            if let Some(list) = text.strip_prefix('{') {
                *text = list;
                while !text.trim_start().starts_with('}') && !text.trim_start().is_empty() {
                    tree(text, &path, found);
                    *text = text.trim_start().trim_start_matches(|c| c != ',' && c != '}').trim_start_matches(',');
                }
                *text = text.trim_start().strip_prefix('}').unwrap_or_default();
                return;
            }
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            if name != "self" && !name.is_empty() {
                path.push(name.to_owned());
            }
            *text = rest;
            let Some(rest) = rest.strip_prefix("::") else { break };
            *text = rest;
        }
        found.push(path);
    }
    let (mut text, mut found) = (text, Vec::new());
    tree(&mut text, &[], &mut found);
    found
}

/// The paths in the code that begin with `prefix`, without it.
fn paths_after(code: &str, prefix: &str) -> Vec<Vec<String>> {
    code.match_indices(prefix)
        // A part of a longer name or path is something else.
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        .flat_map(|(at, _)| expanded(&code[at + prefix.len()..]))
        .collect()
}

/// Which file of a room imports which others. What `mod.rs` exports again counts as imported from where it is defined.
fn imports_within(room: &str, code_of: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let empty = String::new();
    let module_root = code_of.get("mod").unwrap_or(&empty);
    let exports: BTreeMap<String, String> = paths_after(module_root, "use ")
        .into_iter()
        .filter(|path| path.len() > 1 && code_of.contains_key(&path[0]))
        .map(|path| (path.last().unwrap().clone(), path[0].clone()))
        .collect();
    // What another room defines is no file of this one.
    let foreign: BTreeSet<String> = paths_after(module_root, "use ")
        .into_iter()
        .filter(|path| path.len() > 1 && !code_of.contains_key(&path[0]))
        .map(|path| path.last().unwrap().clone())
        .collect();
    let file_of = |name: &String| match exports.get(name) {
        _ if code_of.contains_key(name) => Some(name.clone()),
        Some(file) => Some(file.clone()),
        None if foreign.contains(name) => None,
        None => Some("mod".to_owned()),
    };
    let graph = code_of.iter().map(|(file, code)| {
        let within =
            paths_after(code, "crate::").into_iter().filter(|path| path[0] == room).map(|path| path[1..].to_vec());
        let named: Vec<Vec<String>> = if file == "mod" {
            let relative = code_of
                .keys()
                .flat_map(|other| paths_after(code, &format!("{other}::")).into_iter().map(|_| vec![other.clone()]));
            relative.chain(within).collect()
        } else {
            paths_after(code, "super::").into_iter().chain(within).collect()
        };
        let files = named.iter().filter_map(|path| path.first()).filter_map(file_of).filter(|other| other != file);
        (file.clone(), files.collect())
    });
    graph.collect()
}

/// All files that a file imports, also through others.
fn reached(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        // The root of a room may be beside its folder, as config.rs is.
        let imports = graph.get(file).into_iter().flatten();
        next.extend(imports.filter(|file| found.insert((*file).clone())).map(String::as_str));
    }
    found
}

#[test]
fn the_files_of_a_room_do_not_import_each_other_in_a_circle() {
    let mut rooms: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, room, code) in sources() {
        if path.parent().is_some_and(|folder| folder.ends_with(&room)) {
            let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
            // In a module of tests, `super` is the file itself.
            let code = code.split("#[cfg(test)]").next().unwrap().to_owned();
            rooms.entry(room).or_default().insert(file, code);
        }
    }
    let mut circles = Vec::new();
    for (room, code_of) in rooms {
        let graph = imports_within(&room, &code_of);
        let all: BTreeMap<&str, BTreeSet<String>> =
            graph.keys().map(|file| (file.as_str(), reached(&graph, file))).collect();
        // A circle is named once, by its first file.
        for (file, reached) in all.iter().filter(|(file, reached)| reached.contains(**file)) {
            let circle: Vec<String> =
                reached.iter().filter(|other| all[other.as_str()].contains(*file)).cloned().collect();
            if circle[0] == *file {
                circles.push((room.clone(), circle));
            }
        }
    }
    assert!(circles.is_empty(), "files import each other in a circle: {circles:?}");
}
