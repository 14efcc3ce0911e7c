//! Observes what the statements of all connections do: counts them, and notices the first that meets a damaged page.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use diesel::connection::{Instrumentation, InstrumentationEvent};

use super::{
    Error, Result, errors,
    inspection::{Damage, identity},
    metrics::Metrics,
};

/// What was observed of a database.
#[derive(Default)]
pub(super) struct Observations {
    /// The file, for the log; empty for a server.
    path: PathBuf,
    /// Which file that is; `None` if there was none when it was opened.
    identity: Option<(u64, u64)>,
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
        let identity = identity(&path).ok();
        Arc::new(Self { path, identity, ..Self::default() })
    }

    /// Checks that the file still has its name. What is written to it otherwise is lost.
    pub(super) fn require_file(&self) -> Result<()> {
        let is_there = match identity(&self.path) {
            Ok(found) => self.identity.is_none_or(|opened| opened == found),
            Err(why) => why.kind() != io::ErrorKind::NotFound,
        };
        if is_there {
            return Ok(());
        }
        Err(if self.identity.is_none() { Error::Unopened } else { Error::Gone(self.path.clone()) })
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
    pub(super) fn found_damage(&self, Damage { what, advice }: &Damage) {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            let path = self.path.display();
            tracing::error!(
                "{path} is damaged ({what}): from now on nothing is written to it; stop the server, {advice}"
            );
        }
    }

    /// Runs work on a connection, and notices if one of its statements meets damage.
    pub(super) fn observe<T>(&self, work: impl FnOnce() -> T) -> T {
        // What this thread met before may have been in another file.
        errors::take_damage();
        let done = work();
        if errors::take_damage() {
            self.found_damage(&Damage::of_file("a statement met it; `duologue check` tells where it is"));
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
