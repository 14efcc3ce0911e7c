//! The application: the store, the events and the clock, opened from the settings. There is nothing global: two of
//! them live in one process, and every test has its own.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{self, AuthMode},
    events::{Counts, Endings, Most, Presences, Rates, Signals, Wakeups},
    model::timestamps::Timestamp,
    secrets::{BadIssuer, BadKeys, Issuer, Keys, Lifetimes, Passwords},
    store::{self, DatabaseUrl, Direction, Error, Store},
};

const OFFLINE_AFTER: Duration = Duration::from_secs(30);

/// Why it cannot be known who asks: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum BadAuth {
    /// The keys that sign tokens.
    Keys(#[from] BadKeys),
    /// Somebody else's keys.
    Issuer(#[from] BadIssuer),
}

/// What every verb needs. Clones share it.
#[derive(Clone)]
pub struct App {
    /// The data.
    pub store: Store,
    /// The wake-ups of feeds.
    pub wakeups: Wakeups,
    /// The signals.
    pub signals: Signals,
    /// Who is here.
    pub presences: Presences,
    /// How often somebody may do something; without limits in open mode.
    pub rates: Rates,
    /// How many connections each user has.
    pub connections: Counts,
    /// Ends of sessions.
    pub endings: Endings,
    /// Where passwords are hashed.
    pub passwords: Passwords,
    /// What signs tokens; `None` in open mode, where nobody signs in.
    pub keys: Option<Arc<Keys>>,
    /// Somebody else whose tokens are accepted.
    pub issuer: Option<Arc<Issuer>>,
    /// How long tokens hold.
    pub lifetimes: Lifetimes,
    /// How long after their last connection a user is still here.
    pub offline_after: Duration,
    epoch: Arc<str>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl App {
    /// Opens the database and brings it up to date.
    ///
    /// # Errors
    /// [`Error::Unusable`] has a sentence for the operator.
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
        let url: DatabaseUrl =
            settings.database.parse().map_err(|why: store::BadUrl| Error::Unusable(why.to_string()))?;
        let store = Store::open(&url, settings.database_connections.into()).await?;
        store.migrate(Direction::Up).await?;
        let fresh_epoch = random_epoch();
        let epoch = store
            .write(move |conn| {
                store::server::found(conn, &fresh_epoch)?;
                store::server::epoch(conn)
            })
            .await?;
        Ok(Self {
            store,
            wakeups: Wakeups::default(),
            signals: Signals::default(),
            presences: Presences::default(),
            rates: Rates::default(),
            connections: Counts::default(),
            endings: Endings::default(),
            passwords: Passwords::default(),
            keys: None,
            issuer: None,
            lifetimes: Lifetimes::default(),
            offline_after: OFFLINE_AFTER,
            epoch: epoch.into(),
            clock: Arc::new(clock),
        })
    }

    /// Takes over the settings of a server.
    ///
    /// # Errors
    /// When people sign in and there is no key that could sign tokens, or an issuer whose keys cannot be read.
    pub async fn configure(&mut self, settings: &config::Serve) -> Result<(), BadAuth> {
        let auth = &settings.auth;
        self.offline_after = settings.offline_after;
        self.lifetimes = Lifetimes { access: auth.access_token_lifetime, refresh: auth.refresh_token_lifetime };
        if auth.mode == AuthMode::Open {
            return Ok(());
        }
        let keys = match &auth.signing_key {
            Some(keys) => Keys::parse(&keys.0)?,
            None => Keys::read_or_make(&auth.signing_key_file)?,
        };
        self.keys = Some(Arc::new(keys));
        if let (Some(issuer), Some(audience), Some(jwks)) = (&auth.issuer, &auth.audience, &auth.jwks) {
            let opened = Issuer::open(issuer.clone(), audience.clone(), jwks.clone(), auth.create_users);
            self.issuer = Some(Arc::new(opened.await?));
        }
        let config::Rates { max_sends, max_sign_ins, max_sign_in_failures, max_sign_ups } = settings.rates;
        let (writes, sign_ins) = (max_sends, max_sign_ins);
        self.rates = Rates::of(Most { writes, sign_ins, failures: max_sign_in_failures, sign_ups: max_sign_ups });
        Ok(())
    }

    /// Until when an access token holds that is made now; to the second, as tokens have it.
    #[must_use]
    pub fn access_until(&self) -> Timestamp {
        let until = self.now().later(self.lifetimes.access);
        Timestamp::from_milliseconds(until.milliseconds() / 1_000 * 1_000)
    }

    /// Until when a session lasts that is begun or renewed now.
    #[must_use]
    pub fn refresh_until(&self) -> Timestamp {
        self.now().later(self.lifetimes.refresh)
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The random text that tells this database from every other one.
    #[must_use]
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// Gives the database another epoch: no cursor of before holds any more. Servers that run do not see it.
    ///
    /// # Errors
    /// When the database did not do it.
    pub async fn begin_new_epoch(&self) -> Result<(), Error> {
        self.store.write(|conn| store::server::set_epoch(conn, &random_epoch())).await
    }

    /// Whether the database answers.
    pub async fn answers(&self) -> bool {
        self.store.read(store::server::epoch).await.is_ok()
    }

    /// Ends what is still open, in order.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

fn random_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}
