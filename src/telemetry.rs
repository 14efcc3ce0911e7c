//! What the operator hears: log lines on standard error. `RUST_LOG` chooses them, such as `RUST_LOG=duologue=debug`.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Starts the log. Once per process; a second call changes nothing.
pub fn start() {
    let chosen = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(chosen).with_writer(stderr).with_ansi(stderr().is_terminal());
    // Where nobody reads the log, nothing is to break.
    let log = log.log_internal_errors(false);
    // Only fails if there is one already.
    let _ = log.try_init();
}
