//! The application: the store, the events and the clock, opened from the settings. There is no global state, so that every
//! test can have an application of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::{
    config::{self, AuthMode, SignUp},
    events::{
        Counters, KnownEntries, Notifier, PermitLimits, Permits, Presences, RateLimiters, RateLimits, Relay,
        Revocations, Signals,
    },
    model::timestamps::Timestamp,
    search::Embedder,
    secrets::{Issuer, Lifetimes, Passwords},
    store::{self, Direction, Error, Removal, Store},
};

mod readiness;
mod settings;

pub use crate::secrets::Keys;
pub use settings::{BadSettings, database_url, open_embedder, open_issuer, read_database_file, read_signing_keys};

/// Between two looks at whether a database is whole that is moved here.
const MOVE_PAUSE: Duration = Duration::from_millis(500);
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
    /// The last entries of feeds that were read, by which a loss is noticed; `None` on SQLite, which loses none.
    pub known_entries: Option<KnownEntries>,
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
    /// Whether another database has taken the place of this one.
    is_moved: AtomicBool,
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
        let known_entries = (!store.is_sqlite()).then(|| KnownEntries::of(epoch.clone()));
        Ok(Self {
            store,
            notifier: Notifier::with(relay.clone()),
            revocations: Revocations::with(relay.clone()),
            relay,
            unfinished_changes: Arc::default(),
            unindexed: Arc::default(),
            unembedded: Arc::default(),
            known_entries,
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
            is_moved: AtomicBool::new(false),
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
        let keys = if settings.auth.mode == AuthMode::Open { None } else { read_signing_keys(&settings.auth)? };
        self.configure_with_keys(settings, keys).await
    }

    /// The same with the keys that sign tokens, which were read before; without any, where users sign in, their file is created.
    ///
    /// # Errors
    /// As [`App::configure`].
    pub async fn configure_with_keys(
        &mut self,
        settings: &config::Serve,
        keys: Option<Keys>,
    ) -> Result<(), BadSettings> {
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
        let keys = match keys {
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
            if let Some(known) = &self.known_entries {
                known.begin(epoch.clone());
            }
            *self.epoch.write() = epoch;
            self.notifier.invalidate_all();
        }
    }

    /// Records entries of feeds that were read in an epoch, so that their loss is noticed: their positions, and when they happened.
    pub fn record_entries(&self, epoch: &str, entries: impl IntoIterator<Item = (i64, Option<Timestamp>)>) {
        if let Some(known) = &self.known_entries {
            known.record(epoch, entries, self.store.connections());
        }
    }

    /// Whether another database has taken the place of this one.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.is_moved.load(Ordering::SeqCst)
    }

    /// Another database has taken its place: from now on no requests are answered.
    pub fn set_moved(&self) {
        self.is_moved.store(true, Ordering::SeqCst);
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
