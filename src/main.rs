//! The program: reads the arguments, calls the library, prints one error.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic when nobody reads what is said")]

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use duologue::{config::Cli, telemetry};
use tokio::runtime::Runtime;

mod cli;

/// What is read on other threads, such as a check of the whole database, does not keep the program from ending.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let command = Cli::read().command;
    let log = telemetry::start(command.log());
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "duologue: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(cli::run(command));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    drop(log);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read what is said has enough of it, such as `head`. With a sentence for the operator it is another error: that this
        // could not be written is what the operator must know.
        Err(error)
            if (error.chain().next().and_then(|it| it.downcast_ref::<io::Error>()))
                .is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // It may quote what is in a file or in the database.
            let _ = writeln!(io::stderr(), "duologue: {}", cli::printable(&format!("{error:#}")));
            if error.is::<cli::UnusableSettings>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
