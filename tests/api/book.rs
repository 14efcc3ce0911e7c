//! The book in docs, and every other page of the repository: links lead somewhere, the summary has each page, and tables have all
//! that the schema has. `book_pages.rs` has the pages that are made from the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use async_graphql::parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use duologue::execution::Code;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use strum::VariantArray;

/// Folders with nothing that is written by hand, or with what others wrote.
const FOREIGN: [&str; 7] = [".git", "target", "node_modules", "model", "dist", "build", "gql"];

/// What pages do not use, because the field has other terms: a page describes, a user gets an error, anyone may do something.
const AVOIDED: [&str; 8] =
    ["whoever", "is told", "are told", "was told", "told so", "is said", "are said", "backpressure"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository whose name ends in one of these ways, with its text.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.extend((!FOREIGN.contains(&name)).then_some(path));
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// Every page in Markdown.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    files(&[".md"])
}

/// The fenced blocks of a page: what they say of themselves, and their text.
pub(crate) fn blocks(page: &str) -> Vec<(&str, &str)> {
    page.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

/// What a page has for others: the anchors of its headings, and where its links and pictures lead.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let (mut page, mut heading) = (Self::default(), None::<String>);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into());
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let attributes = [" src=\"", " href=\""].into_iter().flat_map(|name| html.split(name).skip(1));
                    page.links.extend(attributes.map(|value| value.split('"').next().unwrap().to_owned()));
                }
                _ => {}
            }
        }
        page
    }

    /// As forges and mdBook name a heading.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// Without `..` in it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<PathBuf, Page> = pages().into_iter().map(|(path, text)| (path, Page::read(&text))).collect();
    let (mut wrong, mut links) = (Vec::new(), 0);
    for (path, page) in &pages {
        for link in page.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').map_or((&**link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { normal(&path.parent().unwrap().join(file)) };
            let is_there = target.starts_with(root()) && target.exists();
            let has_anchor =
                anchor.is_none_or(|anchor| pages.get(&target).is_some_and(|page| page.anchors.contains(anchor)));
            if !is_there || !has_anchor {
                wrong.push(format!("{}: {link}", path.display()));
            }
            links += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(links >= 300, "{links}");
}

/// In the README and the book, also across the end of a line.
#[test]
fn pages_are_written_in_standard_terms() {
    let (readme, docs) = (root().join("README.md"), root().join("docs"));
    let mut wrong = Vec::new();
    for (path, text) in pages().into_iter().filter(|(path, _)| *path == readme || path.starts_with(&docs)) {
        let text = text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let found = AVOIDED.iter().filter(|term| text.contains(**term));
        wrong.extend(found.map(|term| format!("{}: {term}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Also in comments, settings of other programs and messages.
#[test]
fn every_page_that_is_named_is_there() {
    let endings =
        [".md", ".rs", ".ts", ".tsx", ".mjs", ".py", ".sh", ".toml", ".yaml", ".json", ".conf", ".cfg", ".service"];
    let others = ["Makefile", "Caddyfile", "Dockerfile", ".graphql", "with-postgres"];
    let (mut wrong, mut named) = (Vec::new(), 0);
    for (path, text) in files(&[&endings[..], &others].concat()) {
        for after in text.split("docs/").skip(1) {
            let end = after.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.')));
            let name = after[..end.unwrap_or(after.len())].trim_end_matches('.');
            if Path::new(name).extension().is_some_and(|ending| ending == "md") {
                named += 1;
                if !root().join("docs").join(name).exists() {
                    wrong.push(format!("{}: docs/{name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(named >= 40, "{named}");
}

#[test]
fn the_summary_and_the_first_page_have_every_page() {
    let docs = root().join("docs");
    let links = |name: &str| -> BTreeSet<PathBuf> {
        let page = Page::read(&fs::read_to_string(docs.join(name)).unwrap());
        page.links.iter().map(|link| docs.join(link)).collect()
    };
    let (summary, first) = (links("SUMMARY.md"), links("README.md"));
    for (page, text) in pages().into_iter().filter(|(path, _)| path.starts_with(&docs)) {
        assert!(text.starts_with("# "), "{} has no title", page.display());
        if page.ends_with("docs/SUMMARY.md") {
            continue;
        }
        assert!(summary.contains(&page), "{} is not in SUMMARY.md", page.display());
        assert!(page.ends_with("docs/README.md") || first.contains(&page), "{} is not in README.md", page.display());
    }
}

/// The values of an enum of the schema.
fn values(name: &str) -> BTreeSet<String> {
    let schema = parse_schema(include_str!("../../schema.graphql")).unwrap();
    let kinds = schema.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if ty.node.name.node == name => Some(ty.node.kind),
        _ => None,
    });
    let enums = kinds.filter_map(|kind| if let TypeKind::Enum(its) = kind { Some(its) } else { None });
    enums.flat_map(|its| its.values).map(|value| value.node.value.node.to_string()).collect()
}

/// The names in the first column of the tables of a page.
fn first_column(page: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/reference").join(page)).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next().map(str::to_owned));
    cells
        .flat_map(|cell| cell.split(',').map(|name| name.trim_matches([' ', '`']).to_owned()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn every_event_is_in_a_table() {
    let kinds = values("FeedEventKind").into_iter().chain(values("SignalKind"));
    assert_eq!(first_column("events.md"), kinds.collect());
}

#[test]
fn every_error_is_in_a_table() {
    let codes = Code::VARIANTS.iter().map(ToString::to_string);
    assert_eq!(first_column("errors.md"), values("UserErrorCode").into_iter().chain(codes).collect());
}
