//! Mistakes that are not on the command line: in environment variables, and values in the file of settings.

use std::env;

use clap::{
    Arg, Command, Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};

use super::file::{FileSettings, most_like, settings_of};

/// What the names of all variables begin with.
const PREFIX: &str = "DUOLOGUE_";

/// The same error of the command line, which also names the environment variables or the file that the wrong values came from, if they
/// did: one that cannot be, or two that exclude each other.
pub(super) fn explained(mut error: Error, mut command: Command, file: &FileSettings) -> Error {
    command.build();
    let arguments = [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| match error.get(kind) {
        Some(ContextValue::String(argument)) => vec![argument.clone()],
        Some(ContextValue::Strings(arguments)) => arguments.clone(),
        _ => Vec::new(),
    });
    let tips: Vec<_> = arguments.concat().iter().filter_map(|argument| source(argument, &command, file)).collect();
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Where the value of an argument is from that is not on the command line.
fn source(argument: &str, command: &Command, file: &FileSettings) -> Option<StyledStr> {
    let flag = argument.split([' ', '=']).next()?;
    let place = if file.names.iter().any(|name| name == flag.trim_start_matches('-')) {
        format!("in {}", file.path.display())
    } else {
        format!("that of the environment variable {}", variable(command, argument)?)
    };
    Some(StyledStr::from(format!("the value of {flag} is {place}")))
}

/// The environment variable that an argument, written as clap does, has its value from.
fn variable(command: &Command, argument: &str) -> Option<String> {
    let of = |its: &Arg| {
        let flag = format!("--{}", its.get_long()?);
        let is_given = env::args_os().any(|given| given.to_string_lossy().split('=').next() == Some(&flag));
        let variable = its.get_env()?.to_str()?;
        (its.to_string() == argument && !is_given && env::var_os(variable).is_some()).then(|| variable.to_owned())
    };
    let mut in_subcommands = command.get_subcommands().map(|command| variable(command, argument));
    command.get_arguments().find_map(of).or_else(|| in_subcommands.find_map(|variable| variable))
}

/// Of names of variables that are almost those of a setting, what is meant, perhaps. Others may belong to somebody else: Kubernetes has
/// some for a service called duologue.
pub(super) fn misspelled(names: impl Iterator<Item = String>, command: &Command) -> Vec<String> {
    let known: Vec<&str> = settings_of(command)
        .into_iter()
        .filter_map(|setting| setting.get_env()?.to_str()?.strip_prefix(PREFIX))
        .chain(["CONFIG"])
        .collect();
    let meant = |name: String| {
        let rest = name.strip_prefix(PREFIX).filter(|rest| !known.contains(rest))?;
        let meant = most_like(rest, known.iter().copied())?;
        Some(format!("{name} is no setting, and has no effect: {PREFIX}{meant} is meant, perhaps"))
    };
    names.filter_map(meant).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Cli;

    #[test]
    fn a_misspelled_variable_is_noticed() {
        let command = Cli::command();
        let names =
            ["DUOLOGUE_AUHT", "DUOLOGUE_AUTH", "DUOLOGUE_CONFIG", "DUOLOGUE_PORT", "DUOLOGUE_SERVICE_HOST", "AUHT"];
        let found = misspelled(names.map(String::from).into_iter(), command.find_subcommand("serve").unwrap());
        assert_eq!(found, ["DUOLOGUE_AUHT is no setting, and has no effect: DUOLOGUE_AUTH is meant, perhaps"]);
    }
}
