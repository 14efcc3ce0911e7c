//! Several servers on one PostgreSQL database: what they have to agree on before one of them starts, and how each is notified of the
//! changes that the others make, whether a message comes ([`super::relaying`]) or not: it reads what was added to all feeds, and
//! whose [presence](super::presences) has changed. On SQLite there is one server, to which only a new epoch matters.

use std::{
    collections::HashSet,
    mem,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;

use super::presences::Exchange;
use crate::{
    app::{App, random_epoch},
    model::timestamps::Timestamp,
    store::{
        self, Conn,
        feed::{Addition, Unsettled},
        nodes::{LEASE, Node, Nodes},
    },
};

/// How often a server says that it is there: several times in the time of a lease.
pub(super) const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// How often a server looks for changes of others, while there are others and NATS does not notify it of changes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often it looks while NATS does, as messages may be lost. Without others it looks as often as it renews its lease: a
/// command may change the database, too.
const LINKED_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks, while the database is being moved, whether it is closed: its clients must not see what it was.
const MOVING_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often servers exchange who is connected to them.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// A clock that differs by more is corrected.
const CORRECTED_OFFSET_MS: i64 = 250;
/// A clock that differs by more is wrong.
const MAX_OFFSET_MS: i64 = 5 * 60_000;
/// Milliseconds for which it can be read when a user left a server.
const LEFT_LIFETIME_MS: i64 = 10 * 60_000;
/// Entries that are looked at one by one; if there are more, all followers look for what is theirs.
const MAX_ADDITIONS: usize = 50_000;
/// A transaction that goes on for longer is warned of: all that was added since it began is read at each look.
const LONG_TRANSACTION: Duration = Duration::from_secs(30);

/// Servers that do not know this migration leave by themselves when they come back and do not agree with the others.
const KNOWS_WHO_CAME_FIRST: &str = "20261129000001";

/// Why a server cannot use the database, or not any more. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CannotServe {
    /// Another database has taken its place.
    #[error("the database was moved elsewhere")]
    Moved,
    /// Seconds.
    #[error(
        "the clock of this machine and that of PostgreSQL differ by {0} seconds: set them right, as tokens and the times of messages \
         depend on them"
    )]
    Clock(i64),
    /// A newer release needs what this one does not know.
    #[error(
        "another server has brought the database up to date meanwhile, and this release is too old for it: take the newer one"
    )]
    TooOld,
    /// Not all servers know the key that another one signs with.
    #[error(
        "another server on this database signs tokens with a key that this one does not have, or does not know the key of this one: \
         give all the same --auth and --signing-key"
    )]
    Keys,
    /// The database fails.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A server among those that use a database.
pub struct Membership {
    node: Node,
    /// What was added to the feeds up to this position was read.
    settled: i64,
    /// What was read beyond it.
    seen: HashSet<i64>,
    /// Whether all transactions have ended that went on when it began to read: they may add something before where it began.
    has_settled: bool,
    earlier: Unsettled,
    /// When that was read; `None` once it was warned of a transaction that has not ended since.
    earlier_at: Option<Instant>,
    /// The other servers.
    others: Vec<i64>,
    /// Whether it has come back, and what it knows may be out of date still.
    was_away: bool,
    /// Whether the database is being moved elsewhere.
    is_moving: bool,
    presences: Exchange,
    exchanged: Instant,
}

impl Membership {
    /// Says that this server uses the database.
    ///
    /// # Errors
    /// When it does not agree with the others on the time or on the signing keys, or the database must not be used.
    pub async fn join(app: &App) -> Result<Self, CannotServe> {
        let offset = app.clock_offset().await?;
        if offset.abs() > MAX_OFFSET_MS {
            return Err(CannotServe::Clock(offset.abs() / 1_000));
        }
        correct_clock(app, offset);
        let key_ids = app.keys.as_ref().map_or_else(Vec::new, |keys| keys.ids());
        let knows = store::last_known_migration()?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut node = Node { id: rand::random(), version, key_ids, knows, started_at: app.now() };
        let join = move |conn: &mut Conn<'_>| {
            store::nodes::lock(conn)?;
            // It may have been moved, or another one to here, since it was opened.
            store::moving::require_usable(conn)?;
            node.started_at = store::nodes::clock(conn)?.unwrap_or(node.started_at);
            let nodes = store::nodes::renew(conn, &node)?;
            if !nodes.others.iter().all(|other| agree(&node, other)) {
                return Err(CannotServe::Keys);
            }
            Ok((node, nodes, store::moving::source_id(conn)?.is_some(), store::feed::unsettled(conn)?))
        };
        let (node, nodes, is_moving, earlier) = app.store.write(join).await?;
        // Now that others know of it.
        if let Err(why) = require_compatible(app).await {
            leave(app, node.id).await?;
            return Err(why);
        }
        if !app.store.is_sqlite() {
            app.presences.share_all();
        }
        Ok(Self {
            node,
            settled: earlier.last_id(),
            seen: HashSet::new(),
            has_settled: earlier.is_settled(),
            earlier,
            earlier_at: Some(Instant::now()),
            others: nodes.others.iter().map(|other| other.id).collect(),
            was_away: false,
            is_moving,
            presences: Exchange::default(),
            exchanged: Instant::now(),
        })
    }

    /// Warns if all servers together, each with so many connections, want more than PostgreSQL lets them have.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn check_connections(&self, app: &App, connections: usize) -> store::Result<()> {
        let wanted = connections.saturating_mul(self.others.len() + 1);
        if let Some(most) = app.store.read(store::nodes::max_connections).await?.filter(|most| wanted > *most) {
            tracing::warn!(
                "PostgreSQL lets its users have {most} connections, and its servers may want {wanted}: raise max_connections, or the \
                 CONNECTION LIMIT of the role or of the database, or lower --database-connections"
            );
        }
        Ok(())
    }

    /// Which of the servers it is.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.node.id
    }

    /// Says that this server uses the database no longer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn leave(&self, app: &App) -> store::Result<()> {
        leave(app, self.id()).await
    }

    /// Keeps in touch with the others; returns when the server must not use the database any more. From then on no requests are answered
    /// of one that was moved.
    pub async fn run(mut self, app: Arc<App>) -> CannotServe {
        let why = self.stay(&app).await;
        if let CannotServe::Moved = why {
            app.set_moved();
            // Whoever moves it waits for that.
            let _ = self.leave(&app).await;
        }
        why
    }

    async fn stay(&mut self, app: &Arc<App>) -> CannotServe {
        let (mut renewed, mut is_failing) = (Instant::now(), false);
        loop {
            tokio::time::sleep(self.interval(app)).await;
            if self.is_moving && app.store.lookup(store::moving::is_moved).await.unwrap_or_default() {
                return CannotServe::Moved;
            }
            // A panic must not end the lease.
            let polled = AssertUnwindSafe(self.poll(app)).catch_unwind().await;
            let polled = polled.unwrap_or_else(|_panic| Err(store::Error::Failed("a panic".to_owned())));
            match &polled {
                Err(error) if !is_failing => tracing::warn!(%error, "reading the changes of other servers failed"),
                Ok(()) | Err(_) => {}
            }
            is_failing = polled.is_err();
            // Another PostgreSQL server may be the primary now.
            if !is_failing && renewed.elapsed() < RENEWAL_INTERVAL {
                continue;
            }
            match self.renew(app).await {
                Ok(()) => renewed = Instant::now(),
                Err(CannotServe::Store(error)) => {
                    tracing::warn!(%error, "the lease of this server could not be renewed");
                    tokio::time::sleep(RENEWAL_INTERVAL).await;
                }
                Err(why) => return why,
            }
        }
    }

    /// Reads what others have changed.
    async fn poll(&mut self, app: &Arc<App>) -> store::Result<()> {
        self.poll_feeds(app).await?;
        if self.exchanged.elapsed() >= EXCHANGE_INTERVAL {
            self.exchanged = Instant::now();
            self.presences.run(app, self.node.id, &self.others).await?;
        }
        Ok(())
    }

    fn interval(&self, app: &App) -> Duration {
        match self.others.as_slice() {
            _ if self.is_moving => MOVING_POLL_INTERVAL,
            [] => RENEWAL_INTERVAL,
            _ if app.relay.is_linked() => LINKED_POLL_INTERVAL,
            _ => POLL_INTERVAL,
        }
    }

    /// Renews the lease, and takes over what the database says.
    async fn renew(&mut self, app: &Arc<App>) -> Result<(), CannotServe> {
        // Nothing is written to a SQLite file.
        if !app.store.is_sqlite() {
            let node = self.node.clone();
            let left_before = Timestamp::from_milliseconds(app.now().milliseconds() - LEFT_LIFETIME_MS);
            let renew = move |conn: &mut Conn<'_>| {
                store::presences::forget_left(conn, node.id, left_before)?;
                let nodes = store::nodes::renew(conn, &node)?;
                let must_leave = |other: &Node| !agree(&node, other) && came_before(other, &node, &nodes);
                // In the transaction: if it has come back, nobody hears of it.
                if nodes.others.iter().any(must_leave) { Err(CannotServe::Keys) } else { Ok(nodes) }
            };
            let nodes = app.store.write(renew).await?;
            self.node.started_at = nodes.started_at;
            // Also if what follows fails at first: by then the others believe again that it is there.
            self.was_away |= nodes.is_new;
            if self.was_away {
                require_compatible(app).await?;
                self.was_away = false;
                app.presences.share_all();
                self.presences.poll_anew(app);
            }
            self.others = nodes.others.iter().map(|other| other.id).collect();
            check_history(app).await?;
        }
        let read = |conn: &mut Conn<'_>| {
            let is_moving = store::moving::source_id(conn)?.is_some();
            Ok::<_, store::Error>((store::server::epoch(conn)?, is_moving, store::moving::is_moved(conn)?))
        };
        let (epoch, is_moving, is_moved) = app.store.read(read).await?;
        app.set_epoch(&epoch);
        self.is_moving = is_moving;
        if is_moved {
            return Err(CannotServe::Moved);
        }
        correct_clock(app, app.clock_offset().await?);
        Ok(())
    }

    /// Notifies the followers of feeds to which something was added.
    async fn poll_feeds(&mut self, app: &App) -> store::Result<()> {
        if app.store.is_sqlite() {
            return Ok(());
        }
        let settled = self.settled;
        let read = move |conn: &mut Conn<'_>| {
            // In this order: what is settled is among the additions.
            let unsettled = store::feed::unsettled(conn)?;
            Ok::<_, store::Error>((unsettled, store::feed::additions(conn, settled, MAX_ADDITIONS + 1)?))
        };
        let (unsettled, additions) = app.store.read(read).await?;
        if unsettled.is_behind(&self.earlier) {
            (self.settled, self.has_settled) = (unsettled.last_id(), unsettled.is_settled());
            (self.seen, self.earlier, self.earlier_at) = (HashSet::new(), unsettled, Some(Instant::now()));
            app.notifier.invalidate_all();
            return check_history(app).await;
        }
        // Who committed them, and told clients, may be gone when they are lost.
        let new = additions.iter().filter(|it| !self.seen.contains(&it.position)).map(|it| (it.position, Some(it.at)));
        app.record_entries(&app.epoch(), new);
        if !additions.is_empty() {
            // Of several servers one embeds messages.
            app.unembedded.notify_one();
        }
        if additions.len() > MAX_ADDITIONS {
            app.notifier.invalidate_all();
        } else {
            for Addition { position, users, invalidates, .. } in additions {
                for user in users.into_iter().filter(|_| !self.seen.contains(&position)) {
                    if invalidates {
                        app.notifier.notify_here(user, true);
                    } else {
                        app.notifier.announce(user, position);
                    }
                }
                self.seen.insert(position);
            }
        }
        if let Some(settled) = unsettled.settled_since(&self.earlier) {
            if !mem::replace(&mut self.has_settled, true) {
                app.notifier.invalidate_all();
            }
            (self.settled, self.earlier, self.earlier_at) = (settled, unsettled, Some(Instant::now()));
            self.seen.retain(|position| *position > settled);
        } else if self.earlier_at.is_some_and(|at| at.elapsed() >= LONG_TRANSACTION) {
            self.earlier_at = None;
            let processes = unsettled.remaining(&self.earlier);
            tracing::warn!(
                ?processes,
                "transactions of these processes of PostgreSQL have not ended for {} seconds: until they do, what was added since is \
                 read each time that changes are looked for",
                LONG_TRANSACTION.as_secs()
            );
        }
        Ok(())
    }
}

/// Refuses a database that needs a newer release than this one.
async fn require_compatible(app: &App) -> Result<(), CannotServe> {
    if app.store.read(store::is_compatible).await? { Ok(()) } else { Err(CannotServe::TooOld) }
}

/// Whether each of two servers knows the key that the other one signs with.
fn agree(one: &Node, other: &Node) -> bool {
    let signs = |one: &Node, other: &Node| one.key_ids.first().is_none_or(|key| other.key_ids.contains(key));
    signs(one, other) && signs(other, one)
}

/// Whether another server came before this one, so that this one leaves if they do not agree. A crash of PostgreSQL empties the table, and
/// who comes first after it is not who was there first: but only for the time of a lease, in which those that were there come back.
fn came_before(other: &Node, node: &Node, Nodes { is_new, started_at, renewed_at, .. }: &Nodes) -> bool {
    if *other.knows < *KNOWS_WHO_CAME_FIRST {
        return false;
    }
    let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let is_settled = other.started_at.milliseconds() < renewed_at.milliseconds() - lease;
    (other.started_at, other.id) < (*started_at, node.id) || *is_new && is_settled
}

/// Begins a new epoch if one of the last entries that were read is not in the database any more, or another one has taken its id:
/// another PostgreSQL server became the primary which did not have all that was committed.
///
/// # Errors
/// Those of the database.
pub async fn check_history(app: &App) -> store::Result<()> {
    let Some(known) = &app.known_entries else { return Ok(()) };
    let (epoch, entries) = (app.epoch(), Arc::new(known.entries()));
    let checked = entries.clone();
    if !app.store.read(move |conn| store::feed::lacks_any(conn, &entries)).await? {
        known.forget_checked(&checked);
        return Ok(());
    }
    // Of several servers one begins it.
    let begin = move |conn: &mut Conn<'_>| store::server::replace_epoch(conn, &epoch, &random_epoch());
    if app.store.write(begin).await? {
        tracing::warn!(
            "the database lacks events that were there: a new epoch begins, and all clients load everything again"
        );
    }
    Ok(())
}

/// Says that a server uses the database no longer.
///
/// # Errors
/// Those of the database.
pub async fn leave(app: &App, id: i64) -> store::Result<()> {
    app.store.write(move |conn| store::nodes::leave(conn, id)).await
}

fn correct_clock(app: &App, offset: i64) {
    if offset.abs() > CORRECTED_OFFSET_MS {
        tracing::warn!("the clock of this machine differs from that of PostgreSQL, which is taken: {offset} ms");
        app.correct_clock(offset);
    }
}
