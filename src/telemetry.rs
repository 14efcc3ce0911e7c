//! The log, on standard error: what the operator reads. The settings choose how much, or `RUST_LOG`, part by part, such as
//! `RUST_LOG=warn,duologue::store=debug`.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat};

/// Starts the log; of commands that have no settings for it only warnings. Once per process; a second call changes nothing.
pub fn start(log: Option<&Log>) {
    // Of the libraries warnings are enough.
    let filter =
        log.map_or_else(|| "warn".to_owned(), |log| format!("{},duologue={}", log.level.of_libraries(), log.level));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_not_set| EnvFilter::new(filter));
    // Where nobody reads the log, nothing is to break.
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr).log_internal_errors(false);
    // Each only fails if there is a log already.
    let _ = match log.map(|log| log.format) {
        Some(LogFormat::Json) => {
            registry().with(filter).with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
        Some(LogFormat::Text) | None => {
            registry().with(filter).with(lines.with_ansi(stderr().is_terminal())).try_init()
        }
    };
}
