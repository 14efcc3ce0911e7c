//! What is measured of a database, and which units of work are so slow that the log names them.

use std::{
    any,
    time::{Duration, Instant},
};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::Conn;

/// Units of work that take longer are named in the log: all changes of a SQLite file wait for them.
const SLOW: Duration = Duration::from_millis(500);

/// What is measured of a database, in seconds if nothing else is said. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// For how long a change waited for its turn.
    pub write_wait: Histogram,
    /// How long a transaction took that changes something, with its commit.
    pub commit: Histogram,
    /// The number of changes that shared a commit.
    pub commit_units: Histogram,
    /// For how long a read waited for a connection.
    pub read_wait: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // From a tenth of a millisecond to 6.5 seconds.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        let commit_units = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        Self { write_wait: seconds(), commit: seconds(), commit_units, read_wait: seconds() }
    }
}

impl Metrics {
    /// Counts a transaction that began then, with so many changes.
    pub(super) fn count_commit(&self, began: Instant, units: usize) {
        self.commit.observe(began.elapsed().as_secs_f64());
        self.commit_units.observe(u32::try_from(units).unwrap_or(u32::MAX).into());
    }
}

/// Work that the log names if it is slow, by the function that it is a part of.
pub(super) fn logging_if_slow<T, W: FnOnce(&mut Conn<'_>) -> T>(
    work: W,
) -> impl FnOnce(&mut Conn<'_>) -> T + use<T, W> {
    move |conn| {
        let began = Instant::now();
        let done = work(conn);
        let took = began.elapsed();
        if took > SLOW {
            // Without what it is generic over.
            let name = any::type_name::<W>().split('<').next().unwrap_or_default().replace("::{{closure}}", "");
            tracing::warn!(
                unit = name,
                ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "a slow unit of work"
            );
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek},
        sync::Arc,
        thread,
    };

    use diesel::{Connection, SqliteConnection};
    use tracing::subscriber::with_default;

    use super::*;

    fn takes<T: Default>(time: Duration) -> impl FnOnce(&mut Conn<'_>) -> T {
        logging_if_slow(move |_: &mut Conn<'_>| {
            thread::sleep(time);
            T::default()
        })
    }

    #[test]
    fn slow_work_is_named_by_its_function_and_other_work_is_not() {
        let mut sqlite = SqliteConnection::establish(":memory:").unwrap();
        let mut log = tempfile::tempfile().unwrap();
        let writer = Arc::new(log.try_clone().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let conn = &mut Conn::Sqlite(&mut sqlite);
        with_default(subscriber, || {
            takes::<u8>(Duration::ZERO)(conn);
            takes::<Vec<String>>(SLOW)(conn);
        });
        let mut said = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut said).unwrap();
        let [line] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
        assert!(line.contains("WARN") && line.contains("a slow unit of work"), "{line}");
        assert!(line.contains("unit=\"duologue::store::metrics::tests::takes\""), "{line}");
    }
}
