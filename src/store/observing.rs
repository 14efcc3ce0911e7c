//! Observes what the statements of all connections do: counts them, and notices the first that meets a damaged page.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use diesel::connection::{Instrumentation, InstrumentationEvent};

use super::{errors, inspection::RESTORE_ADVICE, metrics::Metrics};

/// What was observed of a database.
#[derive(Default)]
pub(super) struct Observations {
    /// The file, for the log; empty for a server.
    path: PathBuf,
    statements: AtomicU64,
    connections: AtomicU64,
    damaged: AtomicBool,
    /// Whether a change could not be written since that was last tried with success.
    pub(super) is_unwritable: AtomicBool,
    pub(super) metrics: Metrics,
}

impl Observations {
    /// Nothing yet.
    pub(super) fn of_file(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, ..Self::default() })
    }

    /// The number of statements, including those that begin and end transactions.
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// A connection to PostgreSQL was made.
    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
    }

    /// How many were made.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Whether the file is known to be damaged. Nothing must be written to it then.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// From now on the file is known to be damaged.
    pub(super) fn found_damage(&self, what: &str) {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            let path = self.path.display();
            tracing::error!(
                "{path} is damaged ({what}): from now on nothing is written to it; stop the server, {RESTORE_ADVICE}"
            );
        }
    }

    /// Runs work on a connection, and notices if one of its statements meets damage.
    pub(super) fn observe<T>(&self, work: impl FnOnce() -> T) -> T {
        // What this thread met before may have been in another file.
        errors::take_damage();
        let done = work();
        if errors::take_damage() {
            self.found_damage("a statement met a malformed page");
        }
        done
    }

    /// Counts the statements of a connection.
    pub(super) fn counting(self: &Arc<Self>) -> impl Instrumentation + use<> {
        let observed = self.clone();
        move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { .. } = event {
                observed.statements.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
