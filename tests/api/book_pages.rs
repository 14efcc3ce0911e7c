//! The pages of the book that are made from the program: its commands, and the schema by type. To write them anew:
//! `DUOLOGUE_WRITE_DOCS=1 cargo test --test api book_pages::`

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use async_graphql::{
    Positioned,
    parser::{
        parse_schema,
        types::{InputValueDefinition, Type, TypeDefinition, TypeKind, TypeSystemDefinition},
    },
};
use clap::{Arg, Command, CommandFactory};
use duologue::config::Cli;

use crate::book::root;

const WIDTH: usize = 138;
const MADE: &str = "<!-- Made by tests/api/book_pages.rs: `make reference`. -->";
const DATABASE: [&str; 3] = ["database", "database_file", "database_connections"];
/// What each command has.
const EVERYWHERE: [&str; 3] = ["config", "help", "version"];

/// Compares a page with what the program makes of it, or writes it.
fn compare(page: &str, made: &[String]) {
    let (path, made) = (root().join("docs/reference").join(page), format!("{}\n", made.join("\n\n").trim()));
    if env::var_os("DUOLOGUE_WRITE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let different = written.lines().zip(made.lines()).find(|(written, made)| written != made);
    assert!(written == made, "{} is not what the program makes: run `make reference`. {different:?}", path.display());
}

/// A paragraph in lines; those after the first are indented.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if !line.trim().is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

/// An entry of a list, as deep as `indent` says.
fn entry(indent: &str, text: &str) -> String {
    format!("{indent}- {}", wrapped(text, &format!("{indent}  ")))
}

/// With a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// The paragraphs of a help text; indented lines are shown as they are.
fn paragraphs(help: &str) -> Vec<String> {
    let mut made = Vec::new();
    for paragraph in help.split("\n\n") {
        let mut lines = paragraph.lines().peekable();
        while lines.peek().is_some() {
            let indented = lines.peek().is_some_and(|line| line.starts_with("  "));
            let mut part = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("  ") == indented) {
                part.push(line.trim_start());
            }
            made.push(if indented {
                format!("```text\n{}\n```", part.join("\n"))
            } else {
                let end = if lines.peek().is_some() { ":" } else { "" };
                wrapped(&sentence(&format!("{}{end}", part.join(" "))), "")
            });
        }
    }
    made
}

fn option(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = vec![format!("`{argument}`: {}", sentence(&help.replace('<', "\\<")))];
    let takes_value = argument.get_action().takes_values();
    for value in argument.get_possible_values().iter().filter(|value| takes_value && value.get_help().is_some()) {
        text.push(format!("`{}`: {}", value.get_name(), sentence(&value.get_help().unwrap().to_string())));
    }
    let names: Vec<_> = argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes_value && !names.is_empty() && argument.get_possible_values().iter().all(|value| value.get_help().is_none())
    {
        text.push(format!("One of {}.", names.join(", ")));
    }
    if argument.is_required_set() && !argument.is_positional() {
        text.push("Required.".to_owned());
    }
    if let Some(default) = argument.get_default_values().first().filter(|_| takes_value) {
        text.push(format!("Default: `{}`.", default.to_str().unwrap()));
    }
    if let Some(variable) = argument.get_env() {
        text.push(format!("Variable: `{}`.", variable.to_str().unwrap()));
    }
    entry("", &text.join(" "))
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    arguments.map(option).collect::<Vec<_>>().join("\n")
}

fn describe(command: &Command, depth: usize, exit_codes: &mut BTreeSet<String>, made: &mut Vec<String>) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name: Vec<_> = usage.split(' ').take(depth).collect();
    made.push(format!("{} `{}`", "#".repeat(depth), name.join(" ")));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    made.extend(paragraphs(&about));
    made.push(format!("```text\n{usage}\n```"));
    // All of them, as the server does.
    let takes_settings = command.get_name() == "check";
    let of_its_own = |argument: &&Arg| {
        let id = argument.get_id().as_str();
        !EVERYWHERE.contains(&id) && !DATABASE.contains(&id) && !argument.is_hide_set() && !takes_settings
    };
    let mut groups = BTreeMap::<_, Vec<&Arg>>::new();
    let mut order = Vec::new();
    for argument in command.get_arguments().filter(of_its_own) {
        let heading = argument.get_help_heading();
        order.extend((!order.contains(&heading)).then_some(heading));
        groups.entry(heading).or_default().push(argument);
    }
    for heading in order {
        made.extend(heading.map(|heading| format!("**{heading}**")));
        made.push(options(groups[&heading].iter().copied()));
    }
    if takes_settings {
        made.push("It has the [options of `duologue serve`](#duologue-serve).".to_owned());
    } else if command.get_arguments().any(|argument| argument.get_id() == DATABASE[0]) {
        made.push("It also has the [options of the database](#options-of-the-database).".to_owned());
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        if let Some(examples) = paragraph.strip_prefix("Examples:\n") {
            let examples: Vec<_> = examples.lines().map(str::trim).collect();
            made.push(format!("```sh\n{}\n```", examples.join("\n")));
        } else if paragraph.starts_with("Exit codes: ") {
            exit_codes.insert(sentence(paragraph));
        } else if paragraph != "Files: none" {
            made.push(wrapped(&sentence(paragraph), ""));
        }
    }
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, depth + 1, exit_codes, made);
    }
}

#[test]
fn the_commands_are_those_of_the_program() {
    let mut program = Cli::command();
    program.build();
    let (mut exit_codes, mut commands) = (BTreeSet::new(), Vec::new());
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, 2, &mut exit_codes, &mut commands);
    }
    let exit_codes: Vec<_> = exit_codes.into_iter().collect();
    let of = |names: [&'static str; 3], command: &Command| {
        options(command.get_arguments().filter(|argument| names.contains(&argument.get_id().as_str())))
    };
    let migrate = program.find_subcommand("migrate").unwrap();
    let mut made = vec![
        "# Commands".to_owned(),
        MADE.to_owned(),
        wrapped(
            "This is what `duologue --help` and `duologue COMMAND --help` print. [Settings](settings.md) and [Limits](limits.md) have \
             the options of `serve` as tables; Settings explains how to write them into a file.",
            "",
        ),
        wrapped(&exit_codes.join(" "), ""),
        "## Options of every command".to_owned(),
        of(EVERYWHERE, migrate),
        "## Options of the database".to_owned(),
        of(DATABASE, migrate),
    ];
    made.extend(commands);
    compare("commands.md", &made);
}

/// A type, with a link to where it is described.
fn link(ty: &Type) -> String {
    let name = ty.to_string();
    let base = name.trim_matches(['[', ']', '!']);
    if ["ID", "String", "Int", "Float", "Boolean"].contains(&base) {
        format!("`{name}`")
    } else {
        format!("[`{name}`](#{})", base.to_lowercase())
    }
}

fn text(description: Option<&Positioned<String>>) -> String {
    sentence(description.map_or("", |description| &description.node))
}

fn input(indent: &str, value: &InputValueDefinition) -> String {
    let default = value.default_value.as_ref().map(|default| format!(" Default: `{}`.", default.node));
    let (name, ty) = (&value.name.node, link(&value.ty.node));
    entry(indent, &format!("`{name}`: {ty}. {}{}", text(value.description.as_ref()), default.unwrap_or_default()))
}

fn describe_type(ty: &TypeDefinition) -> Vec<String> {
    let mut made = vec![format!("### {}", ty.name.node), wrapped(&text(ty.description.as_ref()), "")];
    let (fields, implements) = match &ty.kind {
        TypeKind::Object(object) => (&object.fields[..], &object.implements[..]),
        TypeKind::Interface(interface) => (&interface.fields[..], &interface.implements[..]),
        TypeKind::Scalar | TypeKind::Union(_) | TypeKind::Enum(_) | TypeKind::InputObject(_) => (&[][..], &[][..]),
    };
    let interfaces: Vec<_> =
        implements.iter().map(|name| format!("[`{0}`](#{1})", name.node, name.node.to_lowercase())).collect();
    made.extend((!interfaces.is_empty()).then(|| format!("It implements {}.", interfaces.join(", "))));
    let mut list = Vec::new();
    for field in fields.iter().map(|field| &field.node) {
        assert!(field.directives.is_empty(), "{}: say what its directives mean", field.name.node);
        let description = text(field.description.as_ref());
        list.push(entry("", &format!("`{}`: {}. {description}", field.name.node, link(&field.ty.node))));
        list.extend(field.arguments.iter().map(|argument| input("  ", &argument.node)));
    }
    match &ty.kind {
        TypeKind::Enum(its) => list.extend(its.values.iter().map(|value| {
            entry("", &format!("`{}`: {}", value.node.value.node, text(value.node.description.as_ref())))
        })),
        TypeKind::InputObject(its) => list.extend(its.fields.iter().map(|field| input("", &field.node))),
        TypeKind::Union(its) => {
            list.extend(its.members.iter().map(|name| format!("- [`{0}`](#{1})", name.node, name.node.to_lowercase())));
        }
        TypeKind::Scalar | TypeKind::Object(_) | TypeKind::Interface(_) => {}
    }
    made.push(list.join("\n"));
    made.retain(|part| !part.is_empty());
    made
}

#[test]
fn the_schema_by_type_is_that_of_the_program() {
    let mut sections = BTreeMap::<_, Vec<TypeDefinition>>::new();
    for definition in parse_schema(include_str!("../../schema.graphql")).unwrap().definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let section = match (&*ty.node.name.node, &ty.node.kind) {
            ("Query" | "Mutation" | "Subscription", _) => "1 Operations",
            (_, TypeKind::Object(_)) => "2 Objects",
            (_, TypeKind::Interface(_) | TypeKind::Union(_)) => "3 Interfaces",
            (_, TypeKind::InputObject(_)) => "4 Inputs",
            (_, TypeKind::Enum(_)) => "5 Enums",
            (_, TypeKind::Scalar) => "6 Scalars",
        };
        sections.entry(section).or_default().push(ty.node);
    }
    let mut made = vec![
        "# Schema by type".to_owned(),
        MADE.to_owned(),
        wrapped(
            "Every type, field and argument with its description, made from [`schema.graphql`](../../schema.graphql); `duologue schema` \
             prints that of the release that you run. `!` means never null, and `[…]` a list. Begin with [Query](#query), \
             [Mutation](#mutation) and [Subscription](#subscription).",
            "",
        ),
    ];
    for (section, mut types) in sections {
        made.push(format!("## {}", section.split_once(' ').unwrap().1));
        types.sort_by_key(|ty| (ty.name.node != "Query", ty.name.node.to_string()));
        made.extend(types.iter().flat_map(describe_type));
    }
    compare("schema.md", &made);
}
