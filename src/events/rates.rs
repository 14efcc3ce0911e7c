//! Rate limits of this server: on changes and searches by a user, and on the exchange and end of sessions. Attempts to sign in and up
//! are counted in the database.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::counters::{Label, family};
use crate::model::{
    ids::{SessionId, UserId},
    sessions::Credential,
};

/// The burst of a user's changes, as a multiple of what is allowed in a second.
const WRITE_BURST: u32 = 3;
/// Exchanges of the refresh tokens of a session in a minute: one in 15 minutes is usual.
const MAX_REFRESHES: u32 = 30;
/// Sign-outs by a session in a minute: somebody may end all sessions of a long list.
const MAX_SIGN_OUTS: u32 = 100;
/// Exchanges and sign-outs from an address in a minute: many people may share one.
const MAX_SESSION_CHANGES: u32 = 300;

/// What is counted of refusals: by these limiters, by the counts in the database, and by permits.
const RATES: [&str; 10] = [
    "writes",
    "searches",
    "refreshes",
    "sign-outs",
    "session-changes",
    "sign-up",
    "sign-in",
    "failure",
    "credentials",
    "requests",
];

/// The limits; 0 is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimits {
    /// Sends and other changes of a user in a second.
    pub writes: u32,
    /// Attempts to sign in from an address in a minute.
    pub sign_ins: u32,
    /// Failed attempts for an account from an address in 15 minutes, and changes of names, addresses and passwords by a user.
    pub failures: u32,
    /// Sign-ups from an address in an hour.
    pub sign_ups: u32,
    /// Searches of a user over messages in a minute.
    pub searches: u32,
}

/// The limiters. Clones share them.
#[derive(Clone, Default)]
pub struct RateLimiters {
    writes: Limiter<UserId>,
    searches: Limiter<UserId>,
    refreshes: Limiter<SessionId>,
    sign_outs: Limiter<Credential>,
    session_changes: Limiter<IpAddr>,
    limits: RateLimits,
    /// What was refused because it was done too often, by `rate`.
    pub refusals: Family<Label, Counter>,
}

/// A limit was exceeded: try again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too often")]
pub struct RateLimited(pub Duration);

impl RateLimiters {
    /// Limiters with these limits, and with those of sessions, which are fixed.
    #[must_use]
    pub fn of(limits: RateLimits) -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        Self {
            writes: Limiter::of(limits.writes, second, WRITE_BURST),
            searches: Limiter::of(limits.searches, minute, 1),
            refreshes: Limiter::of(MAX_REFRESHES, minute, 1),
            sign_outs: Limiter::of(MAX_SIGN_OUTS, minute, 1),
            session_changes: Limiter::of(MAX_SESSION_CHANGES, minute, 1),
            limits,
            refusals: family("rate", RATES),
        }
    }

    /// Counts a refusal of what was done too often.
    pub fn count_refusal(&self, rate: &'static str) {
        self.refusals.get_or_create(&[("rate", rate)]).inc();
    }

    fn counted(&self, rate: &'static str, outcome: Result<(), RateLimited>) -> Result<(), RateLimited> {
        outcome.inspect_err(|_| self.count_refusal(rate))
    }

    /// The limits, also those of what is counted in the database.
    #[must_use]
    pub fn limits(&self) -> RateLimits {
        self.limits
    }

    /// Counts a change by a user.
    ///
    /// # Errors
    /// [`RateLimited`]
    pub fn check_write(&self, user: UserId) -> Result<(), RateLimited> {
        self.counted("writes", self.writes.check(&user))
    }

    /// Counts a change by a user that writes as much as this many others; no more than what is allowed at once.
    ///
    /// # Errors
    /// [`RateLimited`]
    pub fn check_writes(&self, user: UserId, count: u32) -> Result<(), RateLimited> {
        self.counted("writes", self.writes.check_many(&user, count))
    }

    /// Counts a search by a user over messages.
    ///
    /// # Errors
    /// [`RateLimited`]
    pub fn check_search(&self, user: UserId) -> Result<(), RateLimited> {
        self.counted("searches", self.searches.check(&user))
    }

    /// Counts an exchange of a refresh token of this session.
    ///
    /// # Errors
    /// [`RateLimited`]
    pub fn check_refresh(&self, session: SessionId, from: Option<IpAddr>) -> Result<(), RateLimited> {
        // First, so that one session cannot use up what is for all of its address.
        self.counted("refreshes", self.refreshes.check(&session))?;
        self.check_session_change(from)
    }

    /// Counts a sign-out by who showed this credential.
    ///
    /// # Errors
    /// [`RateLimited`]
    pub fn check_sign_out(&self, credential: Credential, from: Option<IpAddr>) -> Result<(), RateLimited> {
        self.counted("sign-outs", self.sign_outs.check(&credential))?;
        self.check_session_change(from)
    }

    fn check_session_change(&self, from: Option<IpAddr>) -> Result<(), RateLimited> {
        let check = |from| self.counted("session-changes", self.session_changes.check(&network(from)));
        from.map_or(Ok(()), check)
    }

    /// Evicts the keys whose counts have expired.
    pub fn evict_idle(&self) {
        self.writes.evict_idle();
        self.searches.evict_idle();
        self.refreshes.evict_idle();
        self.sign_outs.evict_idle();
        self.session_changes.evict_idle();
    }
}

/// The unit that is limited: a client with one IPv6 address commonly has the whole /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// A limit for each key, and how many are allowed at once; `None` is no limit.
struct Limiter<K: Clone + Hash + Eq>(Option<(Arc<DefaultKeyedRateLimiter<K>>, NonZeroU32)>);

impl<K: Clone + Hash + Eq> Clone for Limiter<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Hash + Eq> Default for Limiter<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Clone + Hash + Eq> Limiter<K> {
    /// `count` in this time, and `burst` times as many at once.
    fn of(count: u32, time: Duration, burst: u32) -> Self {
        let quota = NonZeroU32::new(count).and_then(|count| {
            let burst = count.saturating_mul(NonZeroU32::new(burst)?);
            Some(Quota::with_period(time / count.get())?.allow_burst(burst))
        });
        Self(quota.map(|quota| (Arc::new(RateLimiter::keyed(quota)), quota.burst_size())))
    }

    fn check(&self, key: &K) -> Result<(), RateLimited> {
        self.check_many(key, 1)
    }

    /// As many at once as this, or as are allowed at once if that is fewer.
    fn check_many(&self, key: &K, count: u32) -> Result<(), RateLimited> {
        let Some((limiter, burst)) = &self.0 else { return Ok(()) };
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN).min(*burst);
        let outcome = limiter.check_key_n(key, count).unwrap_or(Ok(()));
        outcome.map_err(|not_until| RateLimited(not_until.wait_time_from(DefaultClock::default().now())))
    }

    fn evict_idle(&self) {
        if let Some((limiter, _)) = &self.0 {
            limiter.retain_recent();
        }
    }
}
