//! A clock that stands still until the test moves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use duologue::model::timestamps::Timestamp;

/// A clock that stands still; clones are the same one.
#[derive(Clone)]
pub(crate) struct HeldClock(Arc<AtomicI64>);

impl HeldClock {
    /// Stands at noon of 31 January 2026.
    pub(crate) fn new() -> Self {
        let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        Self(Arc::new(AtomicI64::new(noon.milliseconds())))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn go_back(&self, by: Duration) {
        self.0.fetch_sub(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// For a server.
    pub(crate) fn reader(&self) -> impl Fn() -> Timestamp + Send + Sync + 'static {
        let time = self.0.clone();
        move || Timestamp::from_milliseconds(time.load(Ordering::Relaxed))
    }
}
