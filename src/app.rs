//! The application: the store, the events and the clock, opened from the settings. There is no global state, so that every
//! test can have an application of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::Notify, time::timeout};

use crate::{
    config::{self, AuthMode, SignUp},
    events::{
        Counters, History, Notifier, PermitLimits, Permits, Presences, RateLimiters, RateLimits, Relay, Revocations,
        Signals,
    },
    model::timestamps::Timestamp,
    search::Embedder,
    secrets::{Issuer, Keys, Lifetimes, Passwords},
    store::{self, Direction, Error, Removal, Store},
};

mod settings;

pub use settings::{BadSettings, database_url, open_embedder, open_issuer, read_signing_keys};

/// Between two looks at whether a database is whole that is moved here.
const MOVE_PAUSE: Duration = Duration::from_millis(500);
/// A database that takes longer for nothing is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A server whose changes wait for longer is not ready.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);
/// What [`App::problem`] says while the file of the database is gone.
const GONE: &str = "the file of the database is not there any more, and nothing is written: see the log";
/// How soon it is asked again whether they still do.
const BLOCKED_PAUSE: Duration = Duration::from_millis(200);
/// What [`App::problem`] says once damage was found.
const DAMAGED: &str = "the database is damaged, and nothing is written to it: see the log";
const OFFLINE_AFTER: Duration = Duration::from_secs(30);
/// Before each table that is checked in the background.
const CHECK_PAUSE: Duration = Duration::from_millis(250);
/// How often what is left of what was deleted is removed from a SQLite file …
const REMOVAL_INTERVAL: Duration = Duration::from_secs(20);
/// … and how soon it is tried again when somebody was in the way.
const REMOVAL_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What every domain function needs. It is shared as an [`Arc`].
pub struct App {
    /// The database.
    pub store: Store,
    /// Notifies followers of feeds.
    pub notifier: Notifier,
    /// What is to be sent to other servers.
    pub relay: Relay,
    /// Wakes the job that finishes what changes of users left to do.
    pub unfinished_changes: Arc<Notify>,
    /// Wakes the job that removes what was indexed of changed messages.
    pub unindexed: Arc<Notify>,
    /// Wakes the job that gives messages vectors.
    pub unembedded: Arc<Notify>,
    /// The events that were delivered last.
    pub history: History,
    /// What happened, for the metrics.
    pub counters: Counters,
    /// Signal subscriptions.
    pub signals: Signals,
    /// Which users are online.
    pub presences: Presences,
    /// Rate limits; none in open mode.
    pub rates: RateLimiters,
    /// Limits what each user may have at once.
    pub permits: Permits,
    /// Revocations of credentials of open connections.
    pub revocations: Revocations,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Keys that sign tokens; `None` in open mode.
    pub keys: Option<Arc<Keys>>,
    /// A third party whose tokens are accepted.
    pub issuer: Option<Arc<Issuer>>,
    /// Makes vectors of texts; `None` without a model.
    pub embedder: Option<Arc<Embedder>>,
    /// After which time messages are hidden, and then deleted; `None` if they are kept.
    pub message_retention: Option<Duration>,
    /// The lifetimes of tokens.
    pub lifetimes: Lifetimes,
    /// Whether people may make accounts for themselves, where they sign in.
    pub is_sign_up_open: bool,
    /// How long after their last connection a user goes offline.
    pub offline_after: Duration,
    /// After which time nobody waits for the answer to a request any more.
    pub request_timeout: Duration,
    /// Since when changes have to wait, if somebody has noticed it.
    blocked_since: Arc<Mutex<Option<Instant>>>,
    epoch: RwLock<Arc<str>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Milliseconds to add to what the clock shows.
    clock_offset: AtomicI64,
}

impl App {
    /// Opens the database and runs its migrations.
    ///
    /// # Errors
    /// [`Error::Unusable`] has a message for the operator.
    pub async fn open(settings: &config::Database) -> Result<Self, Error> {
        Self::open_with_clock(settings, Timestamp::now).await
    }

    /// The same, with a clock of one's own.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_with_clock(
        settings: &config::Database,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let store = Store::open(&database_url(settings)?, settings.database_connections.into()).await?;
        let opening = async {
            Self::bring_up_to_date(&store).await?;
            Self::on(store.clone(), clock).await
        };
        opening.await.map_err(|why| store.explain(why))
    }

    async fn bring_up_to_date(store: &Store) -> Result<(), Error> {
        store.read(store::moving::require_not_moved).await?;
        if store.read(store::moving::is_move_target).await? {
            tracing::warn!("the database is being moved here: waiting until `duologue move` is done");
            while store.read(store::moving::is_move_target).await? {
                tokio::time::sleep(MOVE_PAUSE).await;
            }
        }
        if store.read(store::moving::source_id).await?.is_some() {
            tracing::warn!(
                "`duologue move` was begun and has not ended: until it is run again, each change is noted for it"
            );
        }
        store.migrate(Direction::Up).await.map(drop)
    }

    /// Opens a database that is there and of this version: creates, migrates and checks nothing.
    ///
    /// # Errors
    /// As [`App::open`], and for any other database.
    pub async fn open_existing(settings: &config::Database) -> Result<Self, Error> {
        let store = Store::open_existing(&database_url(settings)?, settings.database_connections.into()).await?;
        store.read(store::moving::require_usable).await?;
        let app = Self::on(store, Timestamp::now).await?;
        // Servers look for what was changed by that of the database.
        app.correct_clock(app.clock_offset().await?);
        Ok(app)
    }

    async fn on(store: Store, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Result<Self, Error> {
        let fresh_epoch = random_epoch();
        let epoch = store
            .write(move |conn| {
                store::server::create_if_missing(conn, &fresh_epoch)?;
                store::server::epoch(conn)
            })
            .await?;
        let (epoch, relay) = (Arc::<str>::from(epoch), Relay::default());
        Ok(Self {
            store,
            notifier: Notifier::with(relay.clone()),
            revocations: Revocations::with(relay.clone()),
            relay,
            unfinished_changes: Arc::default(),
            unindexed: Arc::default(),
            unembedded: Arc::default(),
            history: History::of(epoch.clone()),
            counters: Counters::default(),
            signals: Signals::default(),
            presences: Presences::default(),
            rates: RateLimiters::default(),
            permits: Permits::default(),
            passwords: Passwords::default(),
            keys: None,
            issuer: None,
            embedder: None,
            message_retention: None,
            lifetimes: Lifetimes::default(),
            is_sign_up_open: true,
            offline_after: OFFLINE_AFTER,
            request_timeout: Duration::MAX,
            blocked_since: Arc::default(),
            epoch: RwLock::new(epoch),
            clock: Arc::new(clock),
            clock_offset: AtomicI64::new(0),
        })
    }

    /// Applies the settings of a server.
    ///
    /// # Errors
    /// When the embedding model cannot be used or, where users sign in, the signing keys or the issuer's keys cannot be read.
    pub async fn configure(&mut self, settings: &config::Serve) -> Result<(), BadSettings> {
        let auth = &settings.auth;
        self.offline_after = settings.offline_after;
        self.message_retention = settings.message_retention;
        self.lifetimes = Lifetimes {
            access: auth.access_token_lifetime,
            refresh: auth.refresh_token_lifetime,
            refresh_grace: auth.refresh_grace_period,
        };
        self.is_sign_up_open = auth.sign_up == SignUp::Open;
        let limits = &settings.limits;
        self.request_timeout = limits.request_timeout;
        self.permits = Permits::of(PermitLimits {
            connections: limits.max_user_sockets,
            requests: limits.max_user_requests,
            subscriptions: limits.max_user_subscriptions,
            subscribed_fields: limits.max_user_subscribed_fields,
        });
        self.open_embedder(&settings.embeddings).await?;
        if auth.mode == AuthMode::Open {
            return Ok(());
        }
        let keys = match read_signing_keys(auth)? {
            Some(keys) => keys,
            None => Keys::create(&auth.signing_key_file)?,
        };
        self.keys = Some(Arc::new(keys));
        self.issuer = open_issuer(auth, || self.now()).await?.map(Arc::new);
        let rates = &settings.rates;
        self.rates = RateLimiters::of(RateLimits {
            writes: rates.max_sends,
            searches: rates.max_searches,
            sign_ins: rates.max_sign_ins,
            failures: rates.max_sign_in_failures,
            sign_ups: rates.max_sign_ups,
        });
        Ok(())
    }

    /// Opens what makes vectors of texts, if the settings have anything.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_embedder(&mut self, settings: &config::Embeddings) -> Result<(), BadSettings> {
        self.embedder = open_embedder(settings).await?;
        Ok(())
    }

    /// When an access token expires that is issued now; rounded to the second, as in tokens.
    #[must_use]
    pub fn access_expiry(&self) -> Timestamp {
        let expiry = self.now().later(self.lifetimes.access);
        Timestamp::from_milliseconds(expiry.milliseconds() / 1_000 * 1_000)
    }

    /// When a session expires that is begun or renewed now.
    #[must_use]
    pub fn refresh_expiry(&self) -> Timestamp {
        self.now().later(self.lifetimes.refresh)
    }

    /// Now, by the clock of the database where several servers may use it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let shown = (self.clock)().milliseconds();
        Timestamp::from_milliseconds(shown.saturating_add(self.clock_offset.load(Ordering::Relaxed)))
    }

    /// By how many milliseconds the clock of PostgreSQL is ahead of this one; 0 on SQLite.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn clock_offset(&self) -> store::Result<i64> {
        // Measured while it is asked: before that it may have been waited for a connection.
        let ask = |conn: &mut store::Conn<'_>| {
            let asked = Instant::now();
            let theirs = store::nodes::clock(conn)?;
            Ok::<_, Error>((theirs, asked + asked.elapsed() / 2))
        };
        let (Some(theirs), at) = self.store.read(ask).await? else { return Ok(0) };
        let elapsed = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
        Ok(theirs.milliseconds() - (self.now().milliseconds() - elapsed))
    }

    /// From now on the clock is corrected by so many milliseconds more.
    pub fn correct_clock(&self, by_ms: i64) {
        self.clock_offset.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The random text that identifies the history of this database.
    #[must_use]
    pub fn epoch(&self) -> Arc<str> {
        self.epoch.read().clone()
    }

    /// Takes over the epoch that the database has now. If it is another one, all followers get a reset.
    pub fn set_epoch(&self, epoch: &str) {
        if *self.epoch() != *epoch {
            let epoch: Arc<str> = epoch.into();
            self.history.begin(epoch.clone());
            *self.epoch.write() = epoch;
            self.notifier.invalidate_all();
        }
    }

    /// Why requests cannot be served now; `None` if they can: if the database can be read, and takes changes.
    pub async fn problem(&self) -> Option<&'static str> {
        if self.store.is_damaged() {
            return Some(DAMAGED);
        }
        match timeout(PROBE_TIMEOUT, self.store.read(store::server::epoch)).await {
            // Without its file it may be read still, and takes no changes.
            Ok(Ok(_) | Err(Error::Gone(_))) => {}
            Ok(Err(Error::Damaged)) => return Some(DAMAGED),
            Ok(Err(_)) | Err(_) => return Some("the database does not answer"),
        }
        let problem = match timeout(PROBE_TIMEOUT, self.store.check_writable()).await {
            Ok(Ok(())) => None,
            Ok(Err(Error::Overloaded)) => Some("too many changes wait for the database"),
            Err(_) | Ok(Err(Error::Busy)) => Some("changes wait for the database: another program may have locked it"),
            Ok(Err(Error::Full)) => return Some("the disk is full"),
            Ok(Err(Error::Damaged)) => return Some(DAMAGED),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database takes no changes");
                let is_gone = matches!(error, Error::Gone(_));
                return Some(if is_gone { GONE } else { "the database takes no changes: see the log" });
            }
        };
        // Others may use the database for a while, and many may send at once.
        problem.filter(|_| self.blocked_for() >= BLOCKED_AFTER)
    }

    /// For how long changes have had to wait, which they do now. From the first time until they no longer do it is watched, as nobody
    /// may ask meanwhile.
    fn blocked_for(&self) -> Duration {
        let mut blocked_since = self.blocked_since.lock();
        if let Some(since) = *blocked_since {
            return since.elapsed();
        }
        *blocked_since = Some(Instant::now());
        let (store, blocked_since) = (self.store.clone(), self.blocked_since.clone());
        tokio::spawn(async move {
            while let Err(Error::Busy | Error::Overloaded) = store.check_writable().await {
                tokio::time::sleep(BLOCKED_PAUSE).await;
            }
            *blocked_since.lock() = None;
        });
        Duration::ZERO
    }

    /// Checks the whole database after a while, as it is used. What is found is in the log and in [`App::problem`].
    pub async fn check_database(&self, after: Duration) {
        tokio::time::sleep(after).await;
        if let Err(error) = self.store.check_in_background(CHECK_PAUSE).await {
            tracing::warn!(%error, "the database could not be checked");
        }
    }

    /// Removes periodically from a SQLite file what is left of what was deleted. Never returns.
    pub async fn run_removal_job(&self) {
        loop {
            let pause = match self.store.remove_remains().await {
                Ok(Removal::Done | Removal::Continues) => REMOVAL_INTERVAL,
                Ok(Removal::Blocked) => REMOVAL_RETRY_INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "what was deleted could not be removed from the file");
                    REMOVAL_INTERVAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Closes the connections to the database. What was deleted is removed from a SQLite file before, as far as it can be at once.
    pub async fn close(&self) {
        // What this cannot do is done the next time that something is written.
        let _ = self.store.remove_remains().await;
        self.store.close().await;
    }
}

/// A text that no other epoch has.
#[must_use]
pub fn random_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}
