//! A circuit breaker: what fails again and again is left alone for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many failures in a row begin a pause.
const MAX_FAILURES: u32 = 5;
/// How long nothing is tried; then one attempt decides.
const PAUSE: Duration = Duration::from_secs(30);

/// Counts failures.
#[derive(Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    paused_until: Option<Instant>,
}

impl Breaker {
    /// Whether to try now, or how long to wait. Of many who ask after a pause one may try.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock();
        if state.failures < MAX_FAILURES {
            return Ok(());
        }
        let left = state.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            state.paused_until = Some(now + PAUSE);
            return Ok(());
        }
        Err(left)
    }

    /// Reports how it went.
    pub(super) fn record(&self, succeeded: bool, now: Instant) {
        let mut state = self.state.lock();
        state.failures = if succeeded { 0 } else { state.failures.saturating_add(1) };
        state.paused_until = Some(now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Breaker;

    #[test]
    fn after_five_failures_there_is_a_pause_and_then_one_attempt() {
        let (breaker, begin) = (Breaker::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for _ in 0..4 {
            breaker.record(false, at(0));
        }
        breaker.record(true, at(0));
        for _ in 0..5 {
            assert_eq!(breaker.admit(at(0)), Ok(()));
            breaker.record(false, at(0));
        }
        assert_eq!(breaker.admit(at(10)), Err(Duration::from_secs(20)));
        assert_eq!(breaker.admit(at(30)), Ok(()));
        assert_eq!(breaker.admit(at(30)), Err(Duration::from_secs(30)));
        breaker.record(false, at(31));
        assert!(breaker.admit(at(60)).is_err() && breaker.admit(at(61)).is_ok());
        breaker.record(true, at(62));
        assert_eq!([breaker.admit(at(62)), breaker.admit(at(62))], [Ok(()), Ok(())]);
    }
}
