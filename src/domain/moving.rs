//! Moves a database from SQLite to PostgreSQL, or back, while it is used: copies all rows, follows the changes that are made meanwhile,
//! compares both, and closes the former one in the moment in which the new one is whole. Ids, the epoch, cursors, sessions and tokens
//! hold. When it is interrupted it goes on from where it was.

use std::{
    collections::{HashMap, HashSet},
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};

pub use super::moving_steps::CannotMove;
use super::{
    moving_steps::{Copied, Result, Step, complete, read, require_own, rows_of_all, tables_to_copy, text, write},
    nodes::RENEWAL_INTERVAL,
};

use crate::store::{
    self, Conn, Direction, Error, Lock, Snapshot, Store, Unserved,
    moving::{self, Row, TABLES, Table},
};

/// So many changes are followed in the moment in which everybody waits.
const MAX_LAST_CHANGES: i64 = 1_000;
/// 'Move'
const MOVE_LOCK: i32 = 0x4D6F_7665;
/// Logged changes that wait to be removed: while others write much, each removal waits for its turn.
const MAX_DONE: usize = 5_000;
/// With more changes since it was interrupted, a move begins anew: they are read together.
const MAX_LOGGED: i64 = 200_000;
/// It takes long, and is of one moment on either database.
const SNAPSHOT: Snapshot = Snapshot { one_snapshot: true, light: false };
/// How many milliseconds the switch waits for locks of others, …
const PATIENCE_MS: u32 = 300;
/// … and how many each time after so many tries: a vacuum gives way only after `deadlock_timeout`, usually a second.
const VACUUM_PATIENCE_MS: u32 = 1_500;
const VACUUM_TRIES: u32 = 5;
/// What is busy is tried again so often, …
const TRIES: usize = 100;
/// … after this pause.
const PAUSE: Duration = Duration::from_millis(200);

/// By then the servers of the former database know that it is being moved, and look often whether it is closed.
const KNOWN_AFTER: Duration = Duration::from_secs(3);
/// Between two looks at whether they have stopped.
const STOP_PAUSE: Duration = Duration::from_millis(20);

/// A move.
pub struct Move {
    from: Store,
    to: Store,
    /// No other move of the PostgreSQL database runs.
    lock: Lock,
    /// Until the new database says that it is being moved there: servers wait then.
    unserved: Option<Unserved>,
    id: String,
    /// The numbers of the logged changes that were carried over and are still there.
    done: HashSet<i64>,
}

impl Move {
    /// Moves one database into another one, which is empty or was begun by this move before.
    ///
    /// # Errors
    /// [`CannotMove`]
    pub async fn new(from: Store, to: Store) -> Result<Self> {
        if from.is_sqlite() == to.is_sqlite() {
            return Err(CannotMove::SameKind);
        }
        if from.read(store::has_unknown_migrations).await? {
            return Err(CannotMove::Newer);
        }
        if to.read(moving::is_moved).await? {
            return Err(CannotMove::Closed);
        }
        let postgres = if from.is_sqlite() { &to } else { &from };
        let lock = postgres.try_lock(MOVE_LOCK).await?.ok_or(CannotMove::Running)?;
        let (source, target) = (from.read(moving::source_id).await?, to.read(moving::target_id).await?);
        let mut unserved = None;
        // What this move has not begun may be any database: it is not even brought up to date before it is known to be free.
        if source.is_none() || source != target {
            if from.read(moving::is_moved).await? {
                return Err(CannotMove::Moved);
            }
            if source.is_some() {
                return Err(CannotMove::BegunElsewhere);
            }
            let is_begun = target.is_some();
            if !is_begun {
                unserved = Some(to.unserved().await?.ok_or(CannotMove::Served)?);
            }
            let check = move |conn: &mut Conn<'_>| {
                if is_begun && moving::is_complete(conn)? {
                    Err(CannotMove::Filled)
                } else {
                    require_free(conn, is_begun)
                }
            };
            to.read(check).await?;
        }
        to.migrate(Direction::Up).await?;
        Ok(Self { from, to, lock, unserved, id: String::new(), done: HashSet::new() })
    }

    /// Copies everything, and with `and_switch` closes the former database; `progress` is called with how many rows of how many are copied.
    ///
    /// # Errors
    /// [`CannotMove`]; the next run continues where this one ended, or, if rows are refused or differ, begins anew.
    pub async fn run(&mut self, and_switch: bool, progress: impl FnMut(usize, usize)) -> Result<()> {
        let done = self.try_run(and_switch, progress).await;
        if let Err(CannotMove::Differs(..) | CannotMove::Refused(..)) = &done {
            end_change_log(&self.from).await?;
        }
        done
    }

    async fn try_run(&mut self, and_switch: bool, mut progress: impl FnMut(usize, usize)) -> Result<()> {
        if self.from.read(moving::is_moved).await? {
            return self.finish().await;
        }
        self.begin().await?;
        let begun = Instant::now();
        self.unserved = None;
        // Only to be shown.
        let mut rows = self.to.read(rows_of_all).await.unwrap_or_default();
        let total = self.from.read(rows_of_all).await.unwrap_or_default();
        for table in self.to.read(tables_to_copy).await? {
            let mut after = self.to.read(move |conn| moving::copied_through(conn, table)).await?;
            loop {
                let (more, through) = self.copy(table, after.unwrap_or_else(|| table.first_key())).await?;
                let Some(key) = through else { break };
                rows += more;
                progress(rows, total);
                after = Some(key);
            }
        }
        self.follow().await?;
        for table in &TABLES {
            self.compare(table).await?;
        }
        if !and_switch {
            return end_change_log(&self.from).await;
        }
        if self.is_served().await {
            sleep_until(begun + KNOWN_AFTER).await;
        }
        self.follow().await?;
        self.switch().await?;
        self.finish().await
    }

    /// Records the changes of the former database from now on, unless that was begun before.
    async fn begin(&mut self) -> Result<()> {
        let (source, target) = (self.from.read(moving::source_id).await?, self.to.read(moving::target_id).await?);
        if let Some(id) = source.clone().filter(|id| target.as_ref() == Some(id))
            && self.from.read(|conn| moving::count_logged(conn, MAX_LOGGED)).await? < MAX_LOGGED
        {
            self.id = id;
            return Ok(());
        }
        if source.is_some() {
            if source != target {
                return Err(CannotMove::Running);
            }
            end_change_log(&self.from).await?;
        }
        self.id = format!("{:016x}", rand::random::<u64>());
        let (id, is_begun) = (self.id.clone(), target.is_some());
        let prepare = move |conn: &mut Conn<'_>| {
            // A server that starts comes before, or finds that it is being moved here.
            store::nodes::lock(conn)?;
            require_free(conn, is_begun)?;
            moving::clear(conn)?;
            Ok::<_, CannotMove>(moving::begin_target(conn, &id)?)
        };
        self.to.write(prepare).await?;
        let id = &self.id;
        retried(|| {
            let id = id.clone();
            let begin = move |conn: &mut Conn<'_>| match moving::source_id(conn)? {
                Some(_) => Err(CannotMove::Running),
                None => Ok(moving::begin_change_log(conn, &id)?),
            };
            self.from.write(begin)
        })
        .await
    }

    /// Copies the rows of a table after a key; gives how many these were, and the last key. What has changed is carried over with them,
    /// as it was at the same moment, so that what they refer to is there.
    async fn copy(&mut self, table: &'static Table, after: Row) -> Result<(usize, Option<Row>)> {
        let step = self.carry_over(Some((table, after))).await?;
        let rows = step.parts.last().map_or(0, |part| part.rows.len());
        Ok((rows, step.copied.clone().map(|(_, key)| key)))
    }

    async fn carry_over(&mut self, copied: Option<Copied>) -> Result<Arc<Step>> {
        let step = retried(|| {
            let (id, copied, done) = (self.id.clone(), copied.clone(), self.done.clone());
            self.from.snapshot(ready(()), SNAPSHOT, move |conn| read(conn, &id, copied, &done))
        });
        let step = Arc::new(step.await?);
        if !self.lock.is_held().await {
            return Err(CannotMove::LockLost);
        }
        retried(|| {
            let (step, id) = (step.clone(), self.id.clone());
            self.to.write(move |conn| write(conn, &step, &id))
        })
        .await?;
        self.done.extend(&step.changes);
        if self.done.len() > MAX_DONE {
            self.discard().await?;
        }
        Ok(step)
    }

    /// Removes the logged changes that were carried over. If this is not reached, their rows are carried over once more.
    async fn discard(&mut self) -> Result<()> {
        let done: Arc<[i64]> = self.done.iter().copied().collect();
        retried(|| {
            let (id, done) = (self.id.clone(), done.clone());
            let discard = move |conn: &mut Conn<'_>| {
                require_own(conn, &id)?;
                Ok(moving::discard(conn, &done)?)
            };
            self.from.write(discard)
        })
        .await?;
        self.done.clear();
        Ok(())
    }

    /// Follows the changes of all tables, until there are few of them.
    async fn follow(&mut self) -> Result<()> {
        loop {
            self.carry_over(None).await?;
            self.discard().await?;
            if self.from.read(|conn| moving::count_logged(conn, MAX_LAST_CHANGES)).await? < MAX_LAST_CHANGES {
                return Ok(());
            }
        }
    }

    /// Compares all rows of a table that have not changed since, and that there are no others.
    async fn compare(&self, table: &'static Table) -> Result<()> {
        for (one, other) in [(&self.from, &self.to), (&self.to, &self.from)] {
            let mut after = table.first_key();
            loop {
                let key = after.clone();
                let rows = move |conn: &mut Conn<'_>| moving::rows_after(conn, table, &key, table.batch_size());
                let rows = one.read(rows).await?;
                let Some(last) = rows.last() else { break };
                after = table.key_of(last);
                let keys: Vec<Row> = rows.iter().map(|row| table.key_of(row)).collect();
                let others = other.read(move |conn| moving::rows_of(conn, table, &keys)).await?;
                let others: HashMap<_, _> = others.into_iter().map(|row| (text(&table.key_of(&row)), row)).collect();
                let rows = rows.into_iter().map(|row| (text(&table.key_of(&row)), row));
                let different: Vec<String> =
                    rows.filter(|(key, row)| others.get(key) != Some(row)).map(|(key, _)| key).collect();
                if different.is_empty() {
                    continue;
                }
                // Last of all: whatever has changed since the last time is in the log.
                let id = self.id.clone();
                let logged = move |conn: &mut Conn<'_>| {
                    require_own(conn, &id)?;
                    Ok::<_, CannotMove>(moving::logged_keys(conn, table)?)
                };
                let changed = self.from.read(logged).await?;
                let changed: HashSet<_> = changed.iter().map(|key| text(key)).collect();
                if let Some(key) = different.into_iter().find(|key| !changed.contains(key)) {
                    return Err(CannotMove::Differs(table.name, key));
                }
            }
        }
        Ok(())
    }

    /// Carries over the last changes and closes the former database, while nobody can write to it.
    async fn switch(&mut self) -> Result<()> {
        if !self.lock.is_held().await {
            return Err(CannotMove::LockLost);
        }
        let (runtime, mut tries) = (Handle::current(), 0);
        retried(|| {
            let (to, id, runtime) = (self.to.clone(), self.id.clone(), runtime.clone());
            tries += 1;
            let patience_ms = if tries % VACUUM_TRIES == 0 { VACUUM_PATIENCE_MS } else { PATIENCE_MS };
            self.from.write(move |conn| {
                store::allow_pauses(conn)?;
                moving::lock(conn, patience_ms)?;
                let step = read(conn, &id, None, &HashSet::new())?;
                let numbers = moving::numbers(conn)?;
                runtime.block_on(to.write(move |conn| complete(conn, &step, &numbers, &id)))?;
                Ok::<_, CannotMove>(moving::close(conn)?)
            })
        })
        .await
    }

    /// Whether a server uses the former database, as far as it is known.
    async fn is_served(&self) -> bool {
        !matches!(self.from.unserved().await, Ok(Some(_)))
    }

    /// Opens the new database, now that the former one is closed: not before its servers answer nothing any more, who would contradict the
    /// new ones. What is left of one that was killed is not waited for.
    async fn finish(&self) -> Result<()> {
        let stopped = async {
            while self.is_served().await {
                sleep(STOP_PAUSE).await;
            }
        };
        let _ = timeout(RENEWAL_INTERVAL, stopped).await;
        let id = self.from.read(moving::source_id).await?;
        let finish = move |conn: &mut Conn<'_>| {
            if id.is_none() || moving::target_id(conn)? != id || !moving::is_complete(conn)? {
                return Err(CannotMove::Moved);
            }
            moving::end_target(conn)?;
            Ok(store::audit::insert_command(conn, "move")?)
        };
        self.to.write(finish).await
    }
}

/// Gives up a move that was interrupted: the former database is what it was. A move from SQLite that still runs ends with an error.
///
/// # Errors
/// [`CannotMove`]
pub async fn cancel(from: &Store) -> Result<()> {
    if from.read(store::has_unknown_migrations).await? {
        return Err(CannotMove::Newer);
    }
    if from.is_sqlite() {
        // At once, as the lock of a move that runs is elsewhere.
        let end = |conn: &mut Conn<'_>| {
            require_begun(conn)?;
            TABLES.iter().try_for_each(|table| moving::end_change_log_of(conn, table))?;
            Ok(moving::end_change_log(conn)?)
        };
        return retried(|| from.write(end)).await;
    }
    let _lock = from.try_lock(MOVE_LOCK).await?.ok_or(CannotMove::Running)?;
    from.read(require_begun).await?;
    end_change_log(from).await
}

/// Refuses a former database whose changes are not logged, or that is closed.
fn require_begun(conn: &mut Conn<'_>) -> Result<()> {
    if moving::is_moved(conn)? {
        return Err(CannotMove::Moved);
    }
    if moving::source_id(conn)?.is_none() { Err(CannotMove::NotBegun) } else { Ok(()) }
}

/// The former database is what it was. If this is interrupted, only [`cancel`] goes on with it.
async fn end_change_log(from: &Store) -> Result<()> {
    let disown = |conn: &mut Conn<'_>| require_begun(conn).and_then(|()| Ok(moving::disown_change_log(conn)?));
    retried(|| from.write(disown)).await?;
    for table in &TABLES {
        retried(|| from.write(move |conn| Ok(moving::end_change_log_of(conn, table)?))).await?;
    }
    retried(|| from.write(|conn| Ok(moving::end_change_log(conn)?))).await
}

/// Refuses a new database that is served, or that has something else in it than what a move has begun.
fn require_free(conn: &mut Conn<'_>, is_begun: bool) -> Result<()> {
    if store::nodes::is_any_alive(conn)? {
        return Err(CannotMove::Served);
    }
    if rows_of_all(conn)? > 0 {
        if !is_begun {
            return Err(CannotMove::NotEmpty);
        }
        // Each row that is deleted there is looked for in all others, which may refer to it.
        if matches!(conn, Conn::Sqlite(_)) {
            return Err(CannotMove::BegunOtherwise);
        }
    }
    Ok(())
}

/// Runs it again while the database is busy.
async fn retried<T, F: Future<Output = Result<T>>>(mut work: impl FnMut() -> F) -> Result<T> {
    for _ in 0..TRIES {
        match work().await {
            Err(CannotMove::Store(Error::Busy | Error::Overloaded)) => sleep(PAUSE).await,
            done => return done,
        }
    }
    work().await
}
