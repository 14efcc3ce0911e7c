//! Settings from a file in TOML: its keys are the names of flags, as in `max-body = 100000`.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};
use toml::{Table, Value};

/// The least likeness of a key to the name of a setting that may be meant.
const LIKENESS: f64 = 0.8;

/// The settings of a file, as arguments.
#[derive(Default)]
pub(super) struct FileSettings {
    pub(super) path: PathBuf,
    /// The settings that come from it.
    pub(super) names: Vec<String>,
    arguments: Vec<OsString>,
}

impl FileSettings {
    /// Those of the file that the arguments or the environment name, without those that they give themselves. The error is one sentence.
    pub(super) fn read(arguments: &[OsString], command: &Command) -> Result<Self, String> {
        // What is wrong with the other arguments is told later.
        let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(arguments) else {
            return Ok(Self::default());
        };
        let (mut command, mut matches) = (command, &matches);
        let settings = command.find_subcommand("serve").map(settings_of).unwrap_or_default();
        while let Some((name, inner)) = matches.subcommand() {
            let Some(subcommand) = command.find_subcommand(name) else { break };
            (command, matches) = (subcommand, inner);
        }
        let own = settings_of(command);
        let Some(path) = matches.get_one::<PathBuf>("config").filter(|_| !own.is_empty()) else {
            return Ok(Self::default());
        };
        // Of two settings that exclude each other, too, the flag or the variable comes first.
        let excludes = |one: &Arg, other: &Arg| {
            command.get_arg_conflicts_with(one).iter().any(|its| its.get_id() == other.get_id())
        };
        let is_decided = |setting: &Arg| {
            own.iter().any(|its| {
                is_given(matches, its)
                    && (its.get_id() == setting.get_id() || excludes(its, setting) || excludes(setting, its))
            })
        };
        let table = parsed(path)?;
        let mut file = Self { path: path.clone(), ..Self::default() };
        for (name, value) in &table {
            if !settings.iter().any(|setting| setting.get_long() == Some(name)) {
                return Err(format!("{}: there is no setting {name:?}{}", path.display(), guess(name, &settings)));
            }
            // Other commands take what they know.
            let Some(setting) = own.iter().find(|its| its.get_long() == Some(name)) else { continue };
            if !is_decided(setting) {
                file.arguments
                    .extend(argument(setting, name, value).map_err(|why| format!("{}: {why}", path.display()))?);
                file.names.push(name.clone());
            }
        }
        Ok(file)
    }

    /// The arguments with those of the file.
    pub(super) fn added_to(&self, mut arguments: Vec<OsString>) -> Vec<OsString> {
        let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
        arguments.splice(end..end, self.arguments.iter().cloned());
        arguments
    }
}

fn parsed(path: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // What follows may be a secret.
        let why = error.message().split(['`', '\n']).next().unwrap_or_default().trim_end();
        format!("{}, line {line}: {why}", path.display())
    })
}

/// The settings of a command: what can be given by a variable of the environment, too.
pub(super) fn settings_of(command: &Command) -> Vec<&Arg> {
    command.get_arguments().filter(|its| its.get_env().is_some() && its.get_id() != "config").collect()
}

/// Whether a setting is on the command line or in the environment.
fn is_given(matches: &ArgMatches, setting: &Arg) -> bool {
    !matches!(matches.value_source(setting.get_id().as_str()), None | Some(ValueSource::DefaultValue))
}

fn guess(name: &str, settings: &[&Arg]) -> String {
    let known = settings.iter().filter_map(|setting| setting.get_long());
    most_like(name, known).map(|known| format!(": {known:?} is meant, perhaps")).unwrap_or_default()
}

/// The name that may be meant by another one.
pub(super) fn most_like<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    known.max_by(|one, other| likeness(one).total_cmp(&likeness(other))).filter(|known| likeness(known) > LIKENESS)
}

fn argument(setting: &Arg, name: &str, value: &Value) -> Result<Vec<OsString>, String> {
    let is_switch = matches!(setting.get_action(), ArgAction::SetTrue);
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(format!("{name} must be a text or a number, or a list of them where there may be several"))
        }
    };
    let of = |value: &Value| text(value).map(|text| format!("--{name}={text}").into());
    if is_switch {
        let is_on = value.as_bool().ok_or_else(|| format!("{name} must be true or false"))?;
        return Ok(is_on.then(|| format!("--{name}").into()).into_iter().collect());
    }
    if value.as_array().is_some_and(Vec::is_empty) && !matches!(setting.get_action(), ArgAction::Append) {
        return Err(format!("{name} is an empty list: leave it out"));
    }
    if let Value::Array(values) = value { values.iter().map(of).collect() } else { Ok(vec![of(value)?]) }
}

/// A file with all settings of the server and what they mean. Secrets are left out. Commented out are those with the value that they have
/// anyway, and those that need a secret which is left out.
pub(super) fn printed(serve: &Command, matches: &ArgMatches) -> String {
    let mut file =
        "# The settings of Duologue: `duologue serve --config FILE`. Flags and the environment come before it.\n"
            .to_owned();
    let mut heading = None;
    let settings = settings_of(serve);
    let is_hidden = |setting: &Arg| is_given(matches, setting) && is_secret(setting, matches);
    let hidden: Vec<&str> =
        settings.iter().filter(|setting| is_hidden(setting)).filter_map(|setting| setting.get_long()).collect();
    for setting in settings {
        let id = setting.get_id().as_str();
        if setting.get_help_heading() != heading {
            heading = setting.get_help_heading();
            let _ = write!(file, "\n# === {} ===\n", heading.unwrap_or_default());
        }
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> =
            matches.get_raw(id).into_iter().flatten().map(OsStr::to_string_lossy).map(Into::into).collect();
        let is_given = is_given(matches, setting);
        let value = if matches!(setting.get_action(), ArgAction::SetTrue) {
            Some(Value::from(matches.get_flag(id)))
        } else if matches!(setting.get_action(), ArgAction::Append) {
            Some(Value::from(values))
        } else {
            values.first().map(|value| typed(value))
        };
        let value = value.filter(|_| !is_hidden(setting));
        let needed = value.as_ref().filter(|_| is_given).and_then(|value| required(serve, setting, value, &hidden));
        let note = match needed {
            Some(needed) => format!(" (it needs --{needed}, which is not shown)"),
            None if is_hidden(setting) => " (it is given, and not shown)".to_owned(),
            None => String::new(),
        };
        let help = format!("{help}{}{note}", values_of(setting));
        let mark = if is_given && value.is_some() && needed.is_none() { "" } else { "# " };
        // One that has no value, or is not shown, stands there with what it would be: "FILE".
        let value = value.unwrap_or_else(|| Value::from(value_names(setting).join(" ")));
        let _ = write!(
            file,
            "\n# {}\n{mark}{} = {value}\n",
            help.replace('\n', " "),
            setting.get_long().unwrap_or_default()
        );
    }
    file
}

/// Whether the value of a setting is not to be shown. The path of a SQLite file may be.
fn is_secret(setting: &Arg, matches: &ArgMatches) -> bool {
    let mut values = matches.get_raw(setting.get_id().as_str()).into_iter().flatten();
    setting.is_hide_env_values_set() && !values.all(|value| value.to_string_lossy().starts_with("sqlite:"))
}

/// Of these settings the one without which another one, with this value, is refused.
fn required<'a>(serve: &Command, setting: &Arg, value: &Value, others: &[&'a str]) -> Option<&'a str> {
    let alone = argument(setting, setting.get_long()?, value).ok()?;
    let command = serve.clone().mut_args(|its| its.env(Resettable::Reset));
    let error = command.try_get_matches_from([OsString::from("serve")].into_iter().chain(alone)).err()?;
    // Such as "--nats <URL>".
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    let mut names = missing.iter().filter_map(|name| name.strip_prefix("--")?.split(' ').next());
    names.find_map(|name| others.iter().find(|other| **other == name).copied())
}

/// The values that a setting may have, or their unit; nothing of a switch.
fn values_of(setting: &Arg) -> String {
    if matches!(setting.get_action(), ArgAction::SetTrue) {
        return String::new();
    }
    let possible: Vec<String> = setting.get_possible_values().iter().map(|its| its.get_name().to_owned()).collect();
    let values = if possible.is_empty() { value_names(setting) } else { possible };
    format!(" [{}]", values.join(", "))
}

fn value_names(setting: &Arg) -> Vec<String> {
    setting.get_value_names().into_iter().flatten().map(ToString::to_string).collect()
}

fn typed(value: &str) -> Value {
    let number = value.parse::<i64>().ok().filter(|number| number.to_string() == value);
    number.map_or_else(|| Value::from(value), Value::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Cli;

    /// What the program reads from its arguments, with a file; the error as it is shown.
    fn read(text: &str, arguments: &[&str]) -> Result<ArgMatches, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = [&["duologue"], arguments, &["--config", path]].concat();
        let matches = Cli::matches(arguments.into_iter().map(OsString::from).collect());
        matches.map_err(|error| error.to_string().replace(path, "FILE"))
    }

    fn value(matches: &ArgMatches, name: &str) -> Vec<String> {
        let (_, inner) = matches.subcommand().unwrap();
        inner.get_raw(name).into_iter().flatten().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn keys_are_the_names_of_flags_and_what_is_on_the_command_line_comes_first() {
        let file = "max-body = 7\nmax-depth = 3\ncors-origin = [\"https://a.example\", \"https://b.example\"]\n\
                    allow-open-network = true\nfeed-retention = '12h'\ncreate-users = false\nmax-sends = 'off'";
        let matches = read(file, &["serve", "--max-depth", "9"]).unwrap();
        for (name, expected) in [
            ("max_body", &["7"][..]),
            ("max_depth", &["9"]),
            ("cors_origins", &["https://a.example", "https://b.example"]),
            ("allow_open_network", &["true"]),
            ("create_users", &["false"]),
            ("feed_retention", &["12h"]),
            ("max_sends", &["off"]),
        ] {
            assert_eq!(value(&matches, name), expected, "{name}");
        }
        // Also of settings that exclude each other.
        let matches = read("database-file = 'a'", &["migrate", "--database", "sqlite:chat.db"]).unwrap();
        assert_eq!(
            (value(&matches, "database"), value(&matches, "database_file")),
            (vec!["sqlite:chat.db".to_owned()], Vec::new())
        );
        let matches = read("database = 'sqlite:chat.db'", &["migrate", "--database-file", "a"]).unwrap();
        assert_eq!(value(&matches, "database_file"), ["a"]);
        // Other commands take what they know.
        let matches = read("database = 'sqlite:chat.db'\nmax-body = 7", &["migrate"]).unwrap();
        assert_eq!(value(&matches, "database"), ["sqlite:chat.db"]);
        assert!(!matches.subcommand().unwrap().1.ids().any(|id| id == "max_body"));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place() {
        for (file, why) in [
            ("max_body = 1", "FILE: there is no setting \"max_body\": \"max-body\" is meant, perhaps"),
            ("something = 1", "FILE: there is no setting \"something\""),
            ("config = 'x'", "FILE: there is no setting \"config\""),
            ("max-body = 1\nmax-depth = ", "FILE, line 2: "),
            ("max-body = 2026-01-31", "FILE: max-body must be a text or a number"),
            ("create-users = 'yes'", "FILE: create-users must be true or false"),
            ("[limits]\nmax-body = 1", "FILE: there is no setting \"limits\""),
            ("max-body = []", "FILE: max-body is an empty list"),
            ("signing-key = 99999999999999999999", "FILE, line 1: "),
        ] {
            let error = read(file, &["serve"]).unwrap_err();
            assert!(error.starts_with(&format!("error: {why}")) && !error.contains("9999"), "{file}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = read("max-body = 'much'", &["serve"]).unwrap_err();
        assert!(
            error.contains("'--max-body <BYTES>'") && error.contains("the value of --max-body is in FILE"),
            "{error}"
        );
        // Rules between settings hold, too.
        let error = read("issuer = 'x'", &["serve"]).unwrap_err();
        assert!(error.contains("--audience") && error.contains("--jwks"), "{error}");
    }

    #[test]
    fn the_printed_file_can_be_read_without_what_is_not_shown() {
        let given = "nats = 'nats://a:secret@b'\nnats-credentials = 'c'\nembedding-url = 'https://secret@b'\nembedding-name = 'm'\n\
                     embedding-dimensions = 7\nembedding-batch = 9\ndatabase = 'sqlite:chat.db'";
        let command = Cli::command();
        let given = read(given, &["serve"]).unwrap();
        let file = printed(command.find_subcommand("serve").unwrap(), given.subcommand().unwrap().1);
        for line in [
            "# nats-credentials = \"c\"",
            "# embedding-name = \"m\"",
            "# embedding-dimensions = 7",
            "embedding-batch = 9",
            "database = \"sqlite:chat.db\"",
        ] {
            assert!(file.lines().any(|its| its == line), "{line}: {file}");
        }
        assert!(file.contains(" (it needs --nats, which is not shown)\n") && !file.contains("secret"), "{file}");
        read(&file, &["serve"]).unwrap();
    }

    #[test]
    fn the_printed_file_has_every_setting_and_reads_as_what_it_was() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let print = |matches: &ArgMatches| printed(serve, matches.subcommand().unwrap().1);
        let given =
            read("max-body = 7", &["serve", "--cors-origin", "https://a.example", "--signing-key", "secret"]).unwrap();
        let file = print(&given);
        assert!(
            file.contains("\nmax-body = 7\n") && file.contains("\ncors-origin = [\"https://a.example\"]\n"),
            "{file}"
        );
        assert!(
            file.contains(" [SECONDS]\n# drain-delay = 0\n") && file.contains(" [open, jwt]\n# auth = \"open\"\n"),
            "{file}"
        );
        assert!(file.contains("\n# max-depth = 12\n") && !file.contains("secret"), "{file}");
        assert!(file.contains("\n# database = \"sqlite:duologue.db\"\n"), "{file}");
        for setting in settings_of(serve) {
            assert!(file.contains(&format!("{} = ", setting.get_long().unwrap())), "{setting}");
        }
        let again = read(&file, &["serve", "--signing-key", "secret"]).unwrap();
        assert_eq!(print(&again), file);
        assert!(file.contains("\n# issuer = \"NAME\"\n") && !file.contains("\"\""), "{file}");
        // As the defaults are, except those that have none.
        let uncommented = file.lines().filter_map(|line| line.strip_prefix("# "));
        let has_value = |value: &str| value.parse::<i64>().is_ok() || value.contains(char::is_lowercase);
        let is_setting =
            |line: &&str| line.split_once(" = ").is_some_and(|(name, value)| !name.contains(' ') && has_value(value));
        let all: Vec<&str> = uncommented.filter(is_setting).collect();
        assert!(all.len() > 30, "{all:?}");
        read(&all.join("\n"), &["serve"]).unwrap();
    }
}
