//! How often somebody may try what a guesser tries often. It is counted in the database: for all servers together, and also after a
//! restart. A refused attempt costs one read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{Error, Result};
use crate::{
    app::App,
    events::network,
    model::ids::UserId,
    secrets::digest,
    store::{self, Conn},
};

/// In which failed attempts to sign in count, and changes of credentials.
const FAILURE_WINDOW: Duration = Duration::from_mins(15);

/// A count and its limit. With a limit of 0 nothing is counted.
#[derive(Clone, Copy)]
struct Counter {
    rate: &'static str,
    key: i64,
    max: i32,
    window: Duration,
}

impl Counter {
    /// Counts what is done by somebody, at most `max` in a window of time.
    fn of(rate: &'static str, by: &str, max: u32, window: Duration) -> Self {
        let what = digest(&format!("{rate} {by}"));
        let key = what.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        Self { rate, key, max: i32::try_from(max).unwrap_or(i32::MAX), window }
    }
}

/// Counts an attempt with each of these counters.
///
/// # Errors
/// [`Error::RateLimited`] if one of them had too many.
async fn count<const N: usize>(app: &App, counters: [Counter; N]) -> Result<()> {
    let limited = move || counters.into_iter().filter(|counter| counter.max > 0);
    if limited().next().is_none() {
        return Ok(());
    }
    loop {
        let now = app.now();
        let blocked_until = move |conn: &mut Conn<'_>| {
            let mut until = None;
            for Counter { rate, key, max, window } in limited() {
                let blocked_until = store::attempts::blocked_until(conn, key, max, now, window)?;
                until = until.max(blocked_until.map(|until| (until, rate)));
            }
            Ok::<_, store::Error>(until)
        };
        if let Some((until, rate)) = app.store.read(blocked_until).await? {
            app.rates.count_refusal(rate);
            return Err(Error::RateLimited(Duration::from_millis(until.milliseconds().abs_diff(now.milliseconds()))));
        }
        let count = move |conn: &mut Conn<'_>| {
            for Counter { key, max, window, .. } in limited() {
                if !store::attempts::count(conn, key, max, now, window)? {
                    // Somebody else was faster: none is counted.
                    return Err(Error::RateLimited(window));
                }
            }
            Ok(())
        };
        match app.store.write(count).await {
            Err(Error::RateLimited(_)) => {}
            counted => return counted,
        }
    }
}

/// Counts a sign-up.
pub(super) async fn count_sign_up(app: &App, from: IpAddr) -> Result<()> {
    let network = network(from).to_string();
    count(app, [Counter::of("sign-up", &network, app.rates.limits().sign_ups, Duration::from_hours(1))]).await
}

/// Counts a change of a name, an address or a password by a user.
pub(super) async fn count_credential_change(app: &App, user: UserId) -> Result<()> {
    count(app, [Counter::of("credentials", &user.key().to_string(), app.rates.limits().failures, FAILURE_WINDOW)]).await
}

/// An attempt to sign in. It counts as failed, so that concurrent guesses count too, until it succeeded or was dropped: then nobody
/// learned anything, or the password was right and the account is suspended.
pub(super) struct Attempt {
    app: Arc<App>,
    failures: Counter,
    is_evaluated: bool,
    runtime: Handle,
}

impl Attempt {
    /// Counts it, for an account by the key of its email.
    pub(super) async fn begin(app: &Arc<App>, account: &str, from: IpAddr) -> Result<Self> {
        let (limits, network) = (app.rates.limits(), network(from).to_string());
        let sign_ins = Counter::of("sign-in", &network, limits.sign_ins, Duration::from_mins(1));
        let failures = Counter::of("failure", &format!("{network} {account}"), limits.failures, FAILURE_WINDOW);
        count(app, [sign_ins, failures]).await?;
        Ok(Self { app: app.clone(), failures, is_evaluated: false, runtime: Handle::current() })
    }

    /// The password was wrong, or the user is signed in and their failures were forgotten, by [`Attempt::key`].
    pub(super) fn end(mut self) {
        self.is_evaluated = true;
    }

    /// The key of the failures of this account from this network.
    pub(super) fn key(&self) -> i64 {
        self.failures.key
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_evaluated || self.failures.max == 0 {
            return;
        }
        let (app, key) = (self.app.clone(), self.failures.key);
        self.runtime.spawn(async move {
            if let Err(error) = app.store.write(move |conn| store::attempts::uncount(conn, key)).await {
                tracing::debug!(%error, "an attempt to sign in counts as failed");
            }
        });
    }
}
