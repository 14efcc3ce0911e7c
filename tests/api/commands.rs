//! What the program says of its own commands, to shells and as manual pages, and where it takes their settings from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::Path,
};

use clap::{Command, CommandFactory};
use duologue::config::Cli;
use serde_json::{Value, json};

use crate::{
    harness::{Database, KEY, signed_in, soon},
    program::{error, program, run, started, terminate},
};

/// Each command by its words, as in `duologue admin create`, without `help`.
fn commands() -> BTreeMap<Vec<String>, Command> {
    let mut program = Cli::command();
    program.build();
    let (mut found, mut next) = (BTreeMap::new(), vec![(vec!["duologue".to_owned()], program)]);
    while let Some((words, command)) = next.pop() {
        for below in subcommands(&command) {
            next.push(([&words[..], &[below.get_name().to_owned()]].concat(), below.clone()));
        }
        found.insert(words, command);
    }
    found
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| command.get_name() != "help")
}

/// The flags of a command that its help shows, such as `--keep`.
fn flags(command: &Command) -> impl Iterator<Item = String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
}

async fn printed(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for the last of these words.
async fn offered(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let complete = r#"
        . "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _duologue duologue "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = tokio::process::Command::new("bash");
    let output = soon(bash.args(["-ec", complete]).arg(script).args(words).output()).await.unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("duologue");
    fs::write(&script, printed(&["completions", "bash"]).await).unwrap();
    let (zsh, fish) = (printed(&["completions", "zsh"]).await, printed(&["completions", "fish"]).await);
    let commands = commands();
    assert!(commands.contains_key(&["duologue", "admin", "create"].map(str::to_owned)[..]));
    for (words, command) in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let below: BTreeSet<_> = subcommands(command).map(|below| below.get_name().to_owned()).collect();
        if !below.is_empty() {
            let offered = offered(&script, &[&words[..], &[""]].concat()).await;
            assert!(offered.is_superset(&below), "{words:?}: {offered:?}");
        }
        let offered = offered(&script, &[&words[..], &["--"]].concat()).await;
        assert!(flags(command).all(|flag| offered.contains(&flag)), "{words:?}: {offered:?}");
        for name in below {
            assert!(zsh.contains(&format!("\n'{name}:")), "{name}");
            assert!(fish.contains(&format!(" -a \"{name}\" ")), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(printed(&["man", folder.path().to_str().unwrap()]).await, "");
    let found = fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap());
    let commands: BTreeMap<_, _> =
        commands().into_iter().map(|(words, command)| (words.join("-") + ".1", command)).collect();
    assert!(found.collect::<BTreeSet<_>>().iter().eq(commands.keys()));
    for (name, command) in commands {
        let page = fs::read_to_string(folder.path().join(&name)).unwrap();
        // A hyphen as it is would be set as another character.
        let escaped = |text: &str| text.replace('-', "\\-");
        assert!(page.contains(&format!("\n.SH NAME\n{} \\- ", escaped(name.trim_end_matches(".1")))), "{name}");
        for flag in flags(&command) {
            assert!(page.contains(&format!("\\fB{}\\fR", escaped(&flag))), "{name}: {flag}");
        }
    }
    let said = error(&["man", "/no/such/folder"]).await;
    assert!(said.starts_with("cannot write the pages into /no/such/folder: "), "{said}");
}

/// Settings that `duologue serve` would have, as a file has them, without those that nobody gave.
async fn settings(variables: &[(&str, &str)], flags: &[&str]) -> Value {
    let mut command = program(&[&["serve", "--print-config"], flags].concat());
    let output = soon(command.envs(variables.iter().copied()).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let given: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let names = ["max-depth", "cors-origin", "allow-open-network", "database-file"];
    names.iter().filter_map(|name| Some(((*name).to_owned(), json!(given.get(*name)?)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_comes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let text =
        "max-depth = 3\ncors-origin = ['https://file.example']\nallow-open-network = true\ndatabase-file = 'file'";
    let (one, other) = (file("one.toml", text), file("other.toml", "max-depth = 9"));
    assert_eq!(settings(&[], &[]).await, json!({}));
    let of_file = json!({
        "max-depth": 3,
        "cors-origin": ["https://file.example"],
        "allow-open-network": true,
        "database-file": "file",
    });
    assert_eq!(settings(&[], &["--config", &one]).await, of_file);

    let mut variables = vec![
        ("DUOLOGUE_CONFIG", one.as_str()),
        ("DUOLOGUE_MAX_DEPTH", "4"),
        ("DUOLOGUE_CORS_ORIGIN", "https://variable.example,https://too.example"),
        ("DUOLOGUE_ALLOW_OPEN_NETWORK", "false"),
        // It and the file with the URL exclude each other.
        ("DUOLOGUE_DATABASE", "sqlite:variable.db"),
    ];
    assert_eq!(settings(&variables[..1], &[]).await, of_file);
    let of_variables = json!({
        "max-depth": 4,
        "cors-origin": ["https://variable.example", "https://too.example"],
        "allow-open-network": false,
    });
    assert_eq!(settings(&variables, &[]).await, of_variables);

    variables.pop();
    let flags = ["--max-depth", "5", "--cors-origin", "https://flag.example", "--allow-open-network"];
    let of_flags = json!({ "max-depth": 5, "cors-origin": ["https://flag.example"], "allow-open-network": true });
    let with_place = |place: &str| {
        let mut all = of_flags.clone();
        all["database-file"] = json!(place);
        all
    };
    assert_eq!(settings(&variables, &flags).await, with_place("file"));
    assert_eq!(settings(&variables, &[&flags[..], &["--database-file", "flag"]].concat()).await, with_place("flag"));
    // So it is with the file itself.
    assert_eq!(settings(&variables[..1], &["--config", &other]).await, json!({ "max-depth": 9 }));
}

/// The program with this text on its standard input.
fn fed(text: &str, arguments: &[&str]) -> tokio::process::Command {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    let mut command = program(arguments);
    command.stdin(reader);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_setting_may_be_a_pipe() {
    let database = Database::new().await;
    if signed_in() {
        return;
    }
    let nothing = database.folder().join("nothing.jsonl");
    fs::write(&nothing, "").unwrap();
    for command in [
        &["migrate"][..],
        &["demo", "--users", "2", "--messages", "1"],
        &["import", nothing.to_str().unwrap()],
        &["check", "--listen", "127.0.0.1:0"],
        &["admin", "users"],
    ] {
        let output = fed(&database.url, &[command, &["--database-file", "/dev/stdin"]].concat()).output();
        let output = soon(output).await.unwrap();
        assert!(output.status.success(), "{command:?} {}", String::from_utf8_lossy(&output.stderr));
    }
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let of_database = fed(&database.url, &[&serve[..], &["--database-file", "/dev/stdin"]].concat());
    let keys = ["--database", &database.url, "--auth", "jwt", "--signing-key-file", "/dev/stdin"];
    for server in [of_database, fed(KEY, &[&serve[..], &keys].concat())] {
        let (child, _) = started(server).await;
        assert_eq!(terminate(child).await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_meant_are_refused() {
    let database = Database::new().await;
    let issuer = ["--issuer", "https://login.example.com/", "--audience", "chat", "--jwks", "keys.json"];
    for (flags, why) in [
        (&issuer[..], "say --auth jwt"),
        (&["--sign-up", "closed"], "say --auth jwt"),
        (&["--auth", "jwt", "--create-users"], "say which one with --issuer"),
        (&["--access-token-lifetime", "500ms"], "at least a second"),
        (&["--max-batch", "0"], "1 or more"),
        (&["--max-answer", "0"], "1 or more"),
    ] {
        let output = run(&[&["serve", "--database", &database.url, "--listen", "127.0.0.1:0"], flags].concat()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{flags:?}: {said}");
    }
}
