//! The only one who writes to a SQLite file. All that has queued is committed in one transaction, so that one wait for
//! the disk serves everybody; who comes alone waits for nobody. Each unit of work has a savepoint of its own: one that
//! fails is undone alone. Nobody is answered before the commit.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use diesel::{
    Connection, SqliteConnection,
    connection::{SimpleConnection, TransactionManager},
    result::Error as DieselError,
};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{Conn, Error, Result, pools::BUSY, sqlite::SqliteFile};

/// Units of work in one transaction at most.
const BATCH: usize = 256;
/// How long SQLite tries to get at a file that is locked, before the writer looks for whom it still tries.
const TURN: Duration = Duration::from_millis(100);

/// The thread that writes. `None` once it is told to stop.
pub(super) struct Writer(Mutex<Option<Running>>);

struct Running {
    queue: UnboundedSender<Queued>,
    thread: JoinHandle<()>,
}

impl Writer {
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
        opening.await.map_err(|_broken| Error::Failed("the writer broke off".into()))??;
        Ok(Self(Mutex::new(Some(Running { queue, thread }))))
    }

    /// Does the work; the place in the queue is free again when it is answered. Work that nobody waits for any more is
    /// not begun.
    pub(super) async fn write<T, E>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&mut Conn<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let unit = Unit { work: Some(work), outcome: None, ended: false, answer, _place: place };
        let queued = Queued { since: Instant::now(), job: Box::new(unit) };
        let taken = self.running().as_ref().is_some_and(|running| running.queue.send(queued).is_ok());
        let closed = || E::from(Error::Unavailable("it is being closed".into()));
        if taken { answered.await.unwrap_or_else(|_gone| Err(closed())) } else { Err(closed()) }
    }

    /// Closes the file when all that has queued is done.
    pub(super) async fn close(&self) {
        let Some(Running { queue, thread }) = self.running().take() else { return };
        drop(queue);
        let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job and since when it waits.
struct Queued {
    since: Instant,
    job: Box<dyn Job>,
}

/// A unit of work, whatever it gives.
trait Job: Send {
    /// Does the work, if somebody still waits for it. An error is one of the whole transaction.
    fn run(&mut self, conn: &mut SqliteConnection) -> Result<()>;
    /// Says what came of it.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Unit<W, T, E> {
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    /// Whether it was its failure that ended the transaction.
    ended: bool,
    answer: oneshot::Sender<Result<T, E>>,
    _place: OwnedSemaphorePermit,
}

impl<W, T, E> Job for Unit<W, T, E>
where
    W: FnOnce(&mut Conn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, conn: &mut SqliteConnection) -> Result<()> {
        let Some(work) = self.work.take().filter(|_| !self.answer.is_closed()) else { return Ok(()) };
        let mut why = None;
        let done = conn.transaction(|conn| {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut Conn::Sqlite(conn))));
            let outcome = outcome.unwrap_or_else(|_panic| Err(Error::Failed("a unit of work broke off".into()).into()));
            outcome.map_err(|error| {
                why = Some(error);
                DieselError::RollbackTransaction
            })
        });
        let (outcome, fate) = match done {
            Ok(value) => (Some(Ok(value)), Ok(())),
            Err(DieselError::RollbackTransaction) => (why.map(Err), Ok(())),
            // There was nothing to go back to: SQLite undoes everything when it cannot go on, as on a full disk.
            Err(error) => (why.map(Err), Err(Error::Unavailable(format!("a transaction broke off: {error}")))),
        };
        self.outcome = outcome;
        self.ended = fate.is_err();
        fate
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(error)), Err(_)) if self.ended => Err(error),
            // What it found may have been a change of another unit that was undone.
            (_, Err(error)) => Err(error.into()),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(Error::Failed("a unit of work was not done".into()).into()),
        };
        let _ = self.answer.send(outcome);
    }
}

fn open(file: &SqliteFile) -> Result<SqliteConnection> {
    let mut conn = file.open()?;
    conn.batch_execute(&format!("PRAGMA busy_timeout = {}", TURN.as_millis()))?;
    Ok(conn)
}

fn write_all(file: &SqliteFile, conn: SqliteConnection, mut jobs: UnboundedReceiver<Queued>) {
    let mut conn = Some(conn);
    let mut batch = Vec::new();
    while !batch.is_empty() || jobs.blocking_recv_many(&mut batch, BATCH) > 0 {
        while batch.len() < BATCH
            && let Ok(queued) = jobs.try_recv()
        {
            batch.push(queued);
        }
        for overdue in batch.extract_if(.., |queued| queued.since.elapsed() >= BUSY) {
            overdue.job.answer(Err(Error::Busy));
        }
        match commit(file, &mut conn, &mut batch) {
            Commit::Later => {}
            Commit::Done(committed) => {
                for queued in mem::take(&mut batch) {
                    queued.job.answer(committed.clone());
                }
            }
        }
    }
}

enum Commit {
    /// Somebody else holds the file: nothing was begun.
    Later,
    /// On the disk; or all was undone.
    Done(Result<()>),
}

/// Commits a batch. A connection that broke is replaced by a new one.
fn commit(file: &SqliteFile, place: &mut Option<SqliteConnection>, batch: &mut [Queued]) -> Commit {
    type Transactions = <SqliteConnection as Connection>::TransactionManager;
    if batch.is_empty() {
        return Commit::Done(Ok(()));
    }
    let mut conn = match place.take().map_or_else(|| open(file), Ok) {
        Ok(conn) => conn,
        Err(error) => return Commit::Done(Err(error)),
    };
    let mut begun = false;
    // Where SQLite has undone everything already, diesel says only that there is nothing to undo.
    let mut fate = Ok(());
    // One that reads before it writes, and is not IMMEDIATE, would fail with a lock that no waiting resolves.
    let committed = conn.immediate_transaction(|conn| {
        begun = true;
        fate = batch.iter_mut().try_for_each(|queued| queued.job.run(conn));
        fate.clone()
    });
    let committed = fate.and(committed);
    if !Transactions::is_broken_transaction_manager(&mut conn) {
        *place = Some(conn);
    }
    match committed {
        Err(Error::Busy) if !begun => Commit::Later,
        committed => Commit::Done(committed),
    }
}
