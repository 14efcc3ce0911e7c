//! Errors in values that are not on the command line: in environment variables and in the file of settings.

use std::env;

use clap::{
    Arg, Command, Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};

use super::file::FileSettings;

/// The same error of the command line, which also names the environment variable or the file that the wrong value came from, if it did.
pub(super) fn explained(mut error: Error, mut command: Command, file: &FileSettings) -> Error {
    command.build();
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
    let flag = argument.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
    let place = if file.names.iter().any(|name| name == flag) {
        Some(format!("in {}", file.path.display()))
    } else {
        variable(&command, argument).map(|variable| format!("that of the environment variable {variable}"))
    };
    if let Some(place) = place {
        let tip = StyledStr::from(format!("the value is {place}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
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
