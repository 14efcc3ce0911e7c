//! What a subscription cannot read while the database is away or busy is read again, so that clients need not subscribe again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::execution::{Code, Error};

/// After so long a subscription ends with the error.
const PATIENCE: Duration = Duration::from_mins(1);
/// Before the first retry. Each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Retries of the reads of a subscription, from the first failure of an outage on.
#[derive(Default)]
pub(super) struct Retries {
    first_failure: Option<Instant>,
    last_failure: Option<Instant>,
    pause: Duration,
}

impl Retries {
    /// Whether what has failed so may be tried again: the database is away or busy, and not for too long.
    pub(super) fn allow(&mut self, error: &Error) -> bool {
        let now = Instant::now();
        // Within an outage it is tried again every few seconds.
        if self.last_failure.is_none_or(|last| now - last > PATIENCE) {
            (self.first_failure, self.pause) = (Some(now), FIRST_PAUSE);
        }
        self.last_failure = Some(now);
        matches!(error.code(), Code::DatabaseBusy | Code::StorageFull | Code::Unavailable)
            && self.first_failure.is_some_and(|first| now - first < PATIENCE)
    }

    /// Waits before the next try.
    pub(super) async fn pause(&mut self) {
        // Those that failed together do not come back together.
        sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}
