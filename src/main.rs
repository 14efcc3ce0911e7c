//! The program: reads the arguments, calls the library, prints one error.

use std::process::ExitCode;

use clap::Parser;
use duologue::{config::Cli, telemetry};

mod cli;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    telemetry::start();
    match cli::run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duologue: {error:#}");
            ExitCode::FAILURE
        }
    }
}
