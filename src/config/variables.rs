//! Errors in the values of environment variables.

use std::env;

use clap::{
    Arg, Command, Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};

/// The same error of the command line, which also names the environment variable that the wrong value came from, if it did.
pub(super) fn explained(mut error: Error, mut command: Command) -> Error {
    command.build();
    let variable = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => variable(&command, argument),
        _ => None,
    };
    if let Some(variable) = variable {
        let tip = StyledStr::from(format!("the value is that of the environment variable {variable}"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// The environment variable that an argument, written as clap does, has its value from.
fn variable(command: &Command, argument: &str) -> Option<String> {
    let of = |its: &Arg| {
        let flag = format!("--{}", its.get_long()?);
        let is_given = env::args().any(|given| given == flag || given.starts_with(&format!("{flag}=")));
        let variable = its.get_env()?.to_str()?;
        (its.to_string() == argument && !is_given && env::var_os(variable).is_some()).then(|| variable.to_owned())
    };
    let mut in_subcommands = command.get_subcommands().map(|command| variable(command, argument));
    command.get_arguments().find_map(of).or_else(|| in_subcommands.find_map(|variable| variable))
}
