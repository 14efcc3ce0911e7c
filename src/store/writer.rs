//! The single writer of a SQLite file: a thread with a queue. All queued units of work are committed as one batch, so that
//! they share one sync of the disk (group commit); it never waits for a batch to fill. Each unit has a savepoint, so that
//! one that fails is rolled back alone. Results are sent after the commit.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
    time::Instant,
};

use diesel::{
    Connection, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
    dsl::sql,
};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{
    Conn, Error, Result,
    cached::run_cached,
    inspection::{size, wal_path},
    sqlite::SqliteFile,
    timeouts::{BUSY_TIMEOUT, WRITER_LOCK_TIMEOUT},
};

/// Units of work in one transaction, at most.
const MAX_BATCH: usize = 256;

/// The writer thread; `None` once it was closed.
pub(super) struct SqliteWriter(Mutex<Option<Running>>);

struct Running {
    queue: UnboundedSender<Queued>,
    thread: JoinHandle<()>,
}

impl SqliteWriter {
    /// Opens the file.
    pub(super) async fn open(file: SqliteFile) -> Result<Self> {
        let (queue, jobs) = mpsc::unbounded_channel();
        let (opened, opening) = oneshot::channel();
        let write = move || match open(&file) {
            Ok(conn) => {
                let _ = opened.send(Ok(()));
                write_all(&file, conn, jobs);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = thread::Builder::new()
            .name("writer".into())
            .spawn(write)
            .map_err(|error| Error::Unavailable(format!("no thread can be started: {error}")))?;
        opening.await.map_err(|_broken| Error::Failed("the writer panicked".into()))??;
        Ok(Self(Mutex::new(Some(Running { queue, thread }))))
    }

    /// Queues the work and waits for its result; the slot is released with the result. Work whose caller is gone before it
    /// began is skipped.
    pub(super) async fn write<T, E>(
        &self,
        slot: OwnedSemaphorePermit,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
        on_commit: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let unit = Unit { work: Some(work), outcome: None, failed_batch: false, on_commit, answer, _slot: slot };
        let queued = Queued { since: Instant::now(), job: Box::new(unit) };
        let taken = self.running().as_ref().is_some_and(|running| running.queue.send(queued).is_ok());
        let closed = || E::from(Error::Unavailable("it is being closed".into()));
        if taken { answered.await.unwrap_or_else(|_gone| Err(closed())) } else { Err(closed()) }
    }

    /// Whether its thread is there still.
    pub(super) fn is_running(&self) -> bool {
        self.running().as_ref().is_some_and(|running| !running.thread.is_finished())
    }

    /// Finishes the queued work and closes the file.
    pub(super) async fn close(&self) {
        let Some(Running { queue, thread }) = self.running().take() else { return };
        drop(queue);
        let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock()
    }
}

/// A job and when it was queued.
struct Queued {
    since: Instant,
    job: Box<dyn Job>,
}

/// A unit of work, independent of the type of its result.
trait Job: Send {
    /// Does the work, unless the caller is gone. An error means that the whole transaction failed.
    fn run(&mut self, conn: &mut SqliteConnection) -> Result<()>;
    /// Sends the result to the caller.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Unit<W, C, T, E> {
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    /// Whether it was this unit that made the whole transaction fail.
    failed_batch: bool,
    on_commit: C,
    answer: oneshot::Sender<Result<T, E>>,
    _slot: OwnedSemaphorePermit,
}

impl<W, C, T, E> Job for Unit<W, C, T, E>
where
    W: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send,
    C: FnOnce(&T) + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, conn: &mut SqliteConnection) -> Result<()> {
        let Some(work) = self.work.take().filter(|_| !self.answer.is_closed()) else { return Ok(()) };
        run_cached(conn, sql("SAVEPOINT unit"))?;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut Conn::Sqlite(conn))));
        let outcome = outcome.unwrap_or_else(|_panic| Err(Error::Failed("a unit of work panicked".into()).into()));
        let undone = if outcome.is_ok() { Ok(()) } else { run_cached(conn, sql("ROLLBACK TO unit")) };
        let ended = undone.and_then(|()| run_cached(conn, sql("RELEASE unit")));
        self.outcome = Some(outcome);
        self.failed_batch = ended.is_err();
        // The savepoint is gone: SQLite rolls back the whole transaction on some errors, as on a full disk.
        ended.map_err(|error| Error::Unavailable(format!("SQLite rolled the transaction back: {error}")))
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, failed_batch, on_commit, answer, .. } = *self;
        let outcome = match (outcome, committed) {
            (Some(Err(error)), Err(_)) if failed_batch => Err(error),
            // Its outcome may depend on the changes of another unit, which were rolled back.
            (_, Err(error)) => Err(error.into()),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(Error::Failed("a unit of work was not done".into()).into()),
        };
        if let Ok(done) = &outcome {
            // A panic is in the log, and must not end the writer.
            let _ = catch_unwind(AssertUnwindSafe(|| on_commit(done)));
        }
        let _ = answer.send(outcome);
    }
}

fn open(file: &SqliteFile) -> Result<SqliteConnection> {
    let mut conn = file.open()?;
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", WRITER_LOCK_TIMEOUT.as_millis()))?;
    Ok(conn)
}

fn write_all(file: &SqliteFile, conn: SqliteConnection, mut jobs: UnboundedReceiver<Queued>) {
    let mut conn = Some(conn);
    let mut batch = Vec::new();
    while !batch.is_empty() || jobs.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
        while batch.len() < MAX_BATCH
            && let Ok(queued) = jobs.try_recv()
        {
            batch.push(queued);
        }
        for overdue in batch.extract_if(.., |queued| queued.since.elapsed() >= BUSY_TIMEOUT) {
            overdue.job.answer(Err(Error::Busy));
        }
        match commit(file, &mut conn, &mut batch) {
            Commit::Retry => {}
            Commit::Done(committed) => {
                for queued in mem::take(&mut batch) {
                    queued.job.answer(committed.clone());
                }
            }
        }
    }
    if file.observed.is_damaged() {
        // Closing the last connection would write to the file.
        mem::forget(conn);
    }
}

enum Commit {
    /// Another process holds the lock, and no unit was begun.
    Retry,
    /// Committed, or rolled back.
    Done(Result<()>),
}

/// Commits a batch. A broken connection is replaced by a new one.
fn commit(file: &SqliteFile, conn_slot: &mut Option<SqliteConnection>, batch: &mut [Queued]) -> Commit {
    type Transactions = <SqliteConnection as Connection>::TransactionManager;
    if batch.is_empty() {
        return Commit::Done(Ok(()));
    }
    if file.observed.is_damaged() {
        return Commit::Done(Err(Error::Damaged));
    }
    if let Err(gone) = file.observed.require_file() {
        return Commit::Done(Err(gone));
    }
    let mut conn = match conn_slot.take().map_or_else(|| open(file), Ok) {
        Ok(conn) => conn,
        Err(error) => return Commit::Done(Err(error)),
    };
    let metrics = &file.observed.metrics;
    let mut begun = false;
    // Where SQLite has rolled back already, the error of diesel is only that there is no transaction.
    let mut status = Ok(());
    // A deferred transaction that reads before it writes can fail with a lock error that waiting does not resolve.
    let since = Instant::now();
    let committed = conn.immediate_transaction(|conn| {
        begun = true;
        for queued in batch.iter() {
            metrics.write_wait.observe(queued.since.elapsed().as_secs_f64());
        }
        status = file.observed.observe(|| batch.iter_mut().try_for_each(|queued| queued.job.run(conn)));
        if file.observed.is_damaged() {
            status = Err(Error::Damaged);
        }
        status.clone()
    });
    let committed = match status.and(committed) {
        Err(Error::Disk) if is_at_size_limit(&file.path) => Err(Error::Full),
        committed => committed,
    };
    if begun {
        metrics.count_commit(since, batch.len());
    }
    if matches!(committed, Err(Error::Full | Error::Disk | Error::ReadOnly | Error::Unavailable(_))) {
        file.observed.is_unwritable.store(true, Ordering::Relaxed);
    }
    if !Transactions::is_broken_transaction_manager(&mut conn) {
        *conn_slot = Some(conn);
    }
    match committed {
        Err(Error::Busy) if !begun => Commit::Retry,
        committed => Commit::Done(committed),
    }
}

/// Whether the file or its log is as large as this process may make files. SQLite reports that as an error of the disk.
fn is_at_size_limit(path: &Path) -> bool {
    getrlimit(Resource::Fsize).current.is_some_and(|limit| size(path).max(size(&wal_path(path))) >= limit)
}
