//! Long work in steps: each is a short transaction, and after it others have their turn.

use std::time::{Duration, Instant};

use super::{Error, Result};

/// The shortest time until a step is retried for which the database was busy.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Runs a step, and then sleeps for as long as it took, so that others have their turn. Returns its result; `None` if the database was
/// busy, and the step is to be retried.
pub(super) async fn step<T, E: Into<Error>>(taking: impl Future<Output = Result<T, E>>) -> Result<Option<T>> {
    let begun = Instant::now();
    let (taken, least) = match taking.await.map_err(Into::into) {
        Ok(taken) => (Some(taken), Duration::ZERO),
        Err(Error::Busy | Error::Overloaded(_)) => (None, RETRY_PAUSE),
        Err(error) => return Err(error),
    };
    tokio::time::sleep(begun.elapsed().max(least)).await;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn what_a_busy_database_refused_is_to_be_tried_again() {
        assert!(matches!(step(ready(Ok::<_, Error>(1))).await, Ok(Some(1))));
        let begun = Instant::now();
        for busy in [Error::Busy, Error::Overloaded("too much")] {
            assert!(matches!(step(ready(Err::<(), _>(busy))).await, Ok(None)));
        }
        assert!(begun.elapsed() >= RETRY_PAUSE * 2);
        assert!(matches!(step(ready(Err::<(), _>(Error::Full))).await, Err(Error::Full)));
    }
}
