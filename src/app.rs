//! The application: the store, the events and the clock, opened from the settings. There is nothing global: two of
//! them live in one process, and every test has its own.

use std::{sync::Arc, time::Duration};

use crate::{
    config,
    events::{Presences, Signals, Wakeups},
    model::timestamps::Timestamp,
    store::{self, DatabaseUrl, Direction, Error, Store},
};

const OFFLINE_AFTER: Duration = Duration::from_secs(30);

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
    /// How long after their last connection a user is still here; 30 seconds unless it is changed.
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
            offline_after: OFFLINE_AFTER,
            epoch: epoch.into(),
            clock: Arc::new(clock),
        })
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
    pub fn close(&self) {
        self.store.close();
    }
}

fn random_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}
