//! The log, on standard error: what the operator reads. The settings choose how much, or `RUST_LOG`, part by part, such as
//! `RUST_LOG=warn,duologue::store=debug`.

use std::{
    env,
    io::{BufWriter, IsTerminal, stderr},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, field::MakeExt as _, fmt::format, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _,
};

use crate::config::{self, LogFormat};

/// Lines that wait to be written. If nobody reads the log, more are lost: nothing waits for it.
const MAX_WAITING: usize = 8_192;

/// There is one log for the process, and one count of what it has lost.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log. Dropping it writes the lines that wait, for at most 2 seconds.
pub struct Log(Option<WorkerGuard>);

impl Log {
    /// More than tracing-appender waits by itself.
    const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
}

impl Drop for Log {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (done, finished) = mpsc::channel();
        // In a thread: where nobody reads the log, tracing-appender prints so on standard output, which panics if that is closed
        // (`WorkerGuard::drop` in <https://github.com/tokio-rs/tracing/blob/main/tracing-appender/src/non_blocking.rs>).
        thread::spawn(move || {
            drop(guard);
            done.send(())
        });
        let _ = finished.recv_timeout(Self::FLUSH_TIMEOUT);
    }
}

/// Starts the log; of commands that have no settings for it only warnings. Once per process; a second call changes nothing.
pub fn start(settings: Option<&config::Log>) -> Log {
    // Lines that are there together are written together; the writer flushes whenever none is left.
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING).finish(BufWriter::new(stderr()));
    let _ = DROPPED.set(writer.error_counter());
    // Of the libraries warnings are enough; and who gave a command knows that it takes long.
    let chosen = settings.map_or_else(
        || "warn,duologue::store::metrics=error".to_owned(),
        |settings| format!("{},duologue={}", settings.level.of_libraries(), settings.level),
    );
    let parts = env::var("RUST_LOG").ok().filter(|parts| !parts.trim().is_empty());
    let filter = EnvFilter::try_new(parts.as_ref().unwrap_or(&chosen));
    let wrong = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_wrong| EnvFilter::new(chosen));
    // Where nobody reads the log, nothing is to break.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    // Each only fails if there is a log already.
    let _ = match settings.map(|settings| settings.format) {
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
    Log(Some(guard))
}

/// Lines of the log that were lost because nobody read it.
#[must_use]
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
