//! What the help of a command ends with.

/// Where a command finds the database.
pub(super) const DATABASE: &str = "the database (duologue.db unless --database names another); SQLite keeps duologue.db-wal and \
                                   duologue.db-shm beside it";
/// What a server needs besides.
pub(super) const SERVED: &str = "the database (duologue.db unless --database names another), with duologue.db-wal, duologue.db-shm and \
                                 duologue.db-server beside it; duologue.key in signed-in mode; the folder model, if it is there";
pub(super) const NONE: &str = "none";

/// Examples, the files that a command reads or writes, and how it ends.
pub(super) fn help(examples: [&str; 2], files: &str) -> String {
    let [first, second] = examples;
    format!(
        "Examples:\n  duologue {first}\n  duologue {second}\n\nFiles: {files}\n\nExit codes: 0 if it was done; 1 for an error, which \
         is reported on standard error; 2 for a wrong command line, or settings that no server can start with"
    )
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use crate::config::Cli;

    fn each_command(command: &Command, found: &mut impl FnMut(&Command)) {
        for command in command.get_subcommands() {
            found(command);
            each_command(command, found);
        }
    }

    #[test]
    fn the_help_of_each_command_has_examples_that_are_right() {
        each_command(&Cli::command(), &mut |command| {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  duologue ")).collect();
            assert_eq!(examples.len(), 2, "{name}: {help}");
            for example in examples {
                let line = example.split_once(" >").map_or(example, |(line, _)| line);
                assert!(line.contains(name), "{name}: {example}");
                let parsed = Cli::try_parse_from(["duologue"].into_iter().chain(line.split_whitespace()));
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
            }
            assert!(help.contains("Files: ") && help.contains("Exit codes: "), "{name}: {help}");
        });
    }
}
