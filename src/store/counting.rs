//! Counts the statements that connections execute.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use diesel::connection::{Instrumentation, InstrumentationEvent};

/// Instrumentation of a connection that counts its statements.
pub(super) fn counting(statements: Arc<AtomicU64>) -> impl Instrumentation {
    move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { .. } = event {
            statements.fetch_add(1, Ordering::Relaxed);
        }
    }
}
