//! The log, on standard error: what the operator reads. The settings choose how much, or `RUST_LOG`, part by part, such as
//! `RUST_LOG=warn,duologue::store=debug`.

use std::{
    env,
    io::{BufWriter, IsTerminal, stderr},
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, field::MakeExt as _, fmt::format, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// Lines that wait to be written. If nobody reads the log, more are lost: nothing waits for it.
const MAX_WAITING: usize = 8_192;

/// Starts the log; of commands that have no settings for it only warnings. Once per process; a second call changes nothing. What waits is
/// written when the guard is dropped.
pub fn start(log: Option<&Log>) -> WorkerGuard {
    // Lines that are there together are written together; the writer flushes whenever none is left.
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING).finish(BufWriter::new(stderr()));
    // Of the libraries warnings are enough; and who gave a command knows that it takes long.
    let chosen = log.map_or_else(
        || "warn,duologue::store::metrics=error".to_owned(),
        |log| format!("{},duologue={}", log.level.of_libraries(), log.level),
    );
    let parts = env::var("RUST_LOG").ok().filter(|parts| !parts.trim().is_empty());
    let filter = EnvFilter::try_new(parts.as_ref().unwrap_or(&chosen));
    let wrong = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_wrong| EnvFilter::new(chosen));
    // Where nobody reads the log, nothing is to break.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    // Each only fails if there is a log already.
    let _ = match log.map(|log| log.format) {
        Some(LogFormat::Json) => {
            registry().with(filter).with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
        Some(LogFormat::Text) | None => {
            // The library's own fields format colors also where there are none.
            let fields = format::debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{value:?}"),
                name => write!(line, "{}={value:?}", name.trim_start_matches("r#")),
            });
            let lines = lines.fmt_fields(fields.delimited(" ")).with_ansi(stderr().is_terminal());
            registry().with(filter).with(lines).try_init()
        }
    };
    if let Some(why) = wrong {
        tracing::warn!("RUST_LOG cannot be used ({why})");
    }
    guard
}
