//! Observes what the statements of all connections do: counts them, and notices the first that meets a damaged page.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use diesel::{
    connection::{Instrumentation, InstrumentationEvent},
    result::Error as DieselError,
};

use super::{Error, inspection::RESTORE_ADVICE};

/// What was observed of a database.
#[derive(Default)]
pub(super) struct Observations {
    /// The file, for the log; empty for a server.
    path: PathBuf,
    statements: AtomicU64,
    damaged: AtomicBool,
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

    /// Observes a connection.
    pub(super) fn instrumentation(self: &Arc<Self>) -> impl Instrumentation + use<> {
        let observed = self.clone();
        move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::StartQuery { .. } => {
                observed.statements.fetch_add(1, Ordering::Relaxed);
            }
            InstrumentationEvent::FinishQuery { error: Some(DieselError::DatabaseError(_, information)), .. } => {
                let message = information.message();
                if matches!(Error::from_message(message), Error::Damaged) {
                    observed.found_damage(message);
                }
            }
            _ => {}
        }
    }
}
