//! What a subscription cannot read while the database is away or busy is read again, so that clients need not subscribe again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::execution::{Code, Error};

/// After so long a subscription ends with the error.
const PATIENCE: Duration = Duration::from_mins(1);
/// Before the first retry. Each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Retries of one read.
pub(super) struct Retries {
    began: Instant,
    pause: Duration,
}

impl Retries {
    /// Of a read that begins.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Waits until it may be tried again; false if the error is not one of the database, or comes for too long.
    pub(super) async fn wait(&mut self, error: &Error) -> bool {
        let is_of_database = matches!(error.code(), Code::DatabaseBusy | Code::StorageFull | Code::Unavailable);
        if !is_of_database || self.began.elapsed() > PATIENCE {
            return false;
        }
        // Those that failed together do not come back together.
        sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        true
    }
}
