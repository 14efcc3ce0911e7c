//! How often something may be done: sends of a user, attempts to sign in, sign-ups.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::model::ids::UserId;

/// A user may send so many times as many at once as in a second.
const BURST: u32 = 3;
/// Failed attempts to sign in count for this long.
const FAILURES_COUNT_FOR: Duration = Duration::from_mins(15);
/// Accounts and addresses whose failures are counted, before those that do not count any more are cleared away.
const FAILURES_KEPT: usize = 10_000;

/// How much is too much; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    /// Sends and other changes of a user in a second.
    pub writes: u32,
    /// Attempts to sign in from an address in a minute.
    pub sign_ins: u32,
    /// Failed attempts for an account from an address in 15 minutes, and changes of passwords and addresses by a user.
    pub failures: u32,
    /// Sign-ups from an address in an hour.
    pub sign_ups: u32,
}

/// The rates. Clones share them.
#[derive(Clone, Default)]
pub struct Rates {
    writes: Rate<UserId>,
    credentials: Rate<UserId>,
    sign_ins: Rate<IpAddr>,
    sign_ups: Rate<IpAddr>,
    failures: Arc<Mutex<HashMap<Account, Failures>>>,
    most_failures: u32,
}

/// The key of an account's address, and from where somebody tries to sign in.
type Account = (String, IpAddr);

struct Failures {
    count: u32,
    since: Instant,
}

/// Too often: it may be done again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too often")]
pub struct TooOften(pub Duration);

impl Rates {
    /// Rates with these limits.
    #[must_use]
    pub fn of(most: Most) -> Self {
        let (second, minute, hour) = (Duration::from_secs(1), Duration::from_mins(1), Duration::from_hours(1));
        Self {
            writes: Rate::of(most.writes, second, BURST),
            credentials: Rate::of(most.failures, FAILURES_COUNT_FOR, 1),
            sign_ins: Rate::of(most.sign_ins, minute, 1),
            sign_ups: Rate::of(most.sign_ups, hour, 1),
            failures: Arc::default(),
            most_failures: most.failures,
        }
    }

    /// A user sends, or changes something else.
    ///
    /// # Errors
    /// [`TooOften`]
    pub fn write(&self, user: UserId) -> Result<(), TooOften> {
        self.writes.check(&user)
    }

    /// A user changes a password or an address.
    ///
    /// # Errors
    /// [`TooOften`]
    pub fn change_credentials(&self, user: UserId) -> Result<(), TooOften> {
        self.credentials.check(&user)
    }

    /// Somebody signs up.
    ///
    /// # Errors
    /// [`TooOften`]
    pub fn sign_up(&self, from: IpAddr) -> Result<(), TooOften> {
        self.sign_ups.check(&network(from))
    }

    /// Somebody tries to sign in. It counts as failed, until it is known that it was not: so guesses that are made at the
    /// same time count, too.
    ///
    /// # Errors
    /// [`TooOften`]
    pub fn sign_in(&self, account: String, from: IpAddr) -> Result<Attempt, TooOften> {
        let from = network(from);
        self.sign_ins.check(&from)?;
        let account = (account, from);
        self.locked(|failures| {
            if failures.len() >= FAILURES_KEPT {
                failures.retain(|_, failures| failures.since.elapsed() < FAILURES_COUNT_FOR);
                if failures.len() >= FAILURES_KEPT {
                    // So many at once are an attack; those who failed once are nobody's concern then.
                    failures.retain(|_, failures| failures.count > 1);
                }
            }
            let now = Instant::now();
            let its = failures.entry(account.clone()).or_insert(Failures { count: 0, since: now });
            let left = FAILURES_COUNT_FOR.saturating_sub(its.since.elapsed());
            if left.is_zero() {
                *its = Failures { count: 0, since: now };
            }
            if self.most_failures > 0 && its.count >= self.most_failures {
                return Err(TooOften(left));
            }
            its.count += 1;
            Ok(())
        })?;
        Ok(Attempt { account, rates: self.clone() })
    }

    /// Forgets those who did nothing for so long that it does not count any more.
    pub fn forget(&self) {
        self.writes.forget();
        self.credentials.forget();
        self.sign_ins.forget();
        self.sign_ups.forget();
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<Account, Failures>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An attempt to sign in that counts as failed.
pub struct Attempt {
    account: Account,
    rates: Rates,
}

impl Attempt {
    /// It came to nothing: it is as if it had not been.
    pub fn withdraw(self) {
        self.rates.locked(|failures| {
            if let Some(its) = failures.get_mut(&self.account) {
                its.count = its.count.saturating_sub(1);
            }
        });
    }

    /// It was not: nothing of before counts any more.
    pub fn succeeded(self) {
        self.rates.locked(|failures| failures.remove(&self.account));
    }
}

/// Who has one address of IPv6 has all of its network, commonly a /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// How often each may do something; `None` is as often as they like.
struct Rate<K: Clone + Hash + Eq>(Option<Arc<DefaultKeyedRateLimiter<K>>>);

impl<K: Clone + Hash + Eq> Clone for Rate<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Hash + Eq> Default for Rate<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Clone + Hash + Eq> Rate<K> {
    /// So many in this time, and `burst` times as many at once.
    fn of(count: u32, time: Duration, burst: u32) -> Self {
        let quota = NonZeroU32::new(count).and_then(|count| {
            let burst = count.saturating_mul(NonZeroU32::new(burst)?);
            Some(Quota::with_period(time / count.get())?.allow_burst(burst))
        });
        Self(quota.map(|quota| Arc::new(RateLimiter::keyed(quota))))
    }

    fn check(&self, who: &K) -> Result<(), TooOften> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(who).map_err(|not_until| TooOften(not_until.wait_time_from(DefaultClock::default().now())))
    }

    fn forget(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
        }
    }
}
