//! Long work in steps: each is a short transaction, and after it others have their turn.

use std::time::{Duration, Instant};

use super::{Error, Result};

/// How long a step is put off at least for which the database was busy.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Takes a step, and then leaves as much time to others as it took. Gives what came of it; `None` if the database was busy, so that it
/// is to be tried again.
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
