//! Password hashes: Argon2id with 19 MiB, 2 passes and 1 lane (the minimum of OWASP's Password Storage Cheat Sheet), on
//! blocking threads, with bounded concurrency.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use argon2::{
    Argon2, Params,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tokio_util::task::AbortOnDropHandle;

use crate::model::texts::Password;

/// Concurrent hashes for each core, if they need as much memory as those of this server; of those that need more, fewer.
const HASHES_PER_CORE: usize = 2;
/// Hashes that wait for a permit, at most.
const MAX_WAITING: usize = 64;
/// What hashes of others may cost: memory in KiB, passes over it, and lanes.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
/// How the hashes of this server begin.
const COSTS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// Verified against when there is no account, so that the response time does not reveal that.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b3Blbi1zZXNhbWUtMDAwMQ$C0YqF4gdL8bSZ8vEjvVUJCO9nAWWlMLdLjvhUxKMtXg";

/// Hashes passwords. Clones share the permits.
#[derive(Clone)]
pub struct Passwords {
    /// Each is for the memory of a hash of this server.
    permits: Arc<Semaphore>,
    /// How many there are.
    all: u32,
    waiting: Arc<AtomicUsize>,
}

/// Why a password was neither hashed nor checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many passwords are being hashed: retry.
    #[error("too many passwords are being checked")]
    Overloaded,
    /// An unexpected failure. The cause is for the log.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

impl PasswordError {
    fn failed(cause: impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_permits(u32::try_from(cores * HASHES_PER_CORE).unwrap_or(u32::MAX))
    }
}

impl Passwords {
    fn with_permits(all: u32) -> Self {
        let permits = usize::try_from(all).unwrap_or(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), all, waiting: Arc::default() }
    }

    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// As [`PasswordError`] says.
    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        self.permitted(1, move || hashed(password.as_str(), &rand::random())).await
    }

    /// The hash of a password with the costs of this server, if the one that it has is of others: how long those take tells who has an
    /// account. The same each time, so that two who sign in at once make the same.
    ///
    /// # Errors
    /// As [`PasswordError`] says.
    pub async fn renew(&self, password: String, hash: &str) -> Result<Option<String>, PasswordError> {
        if hash.starts_with(COSTS) {
            return Ok(None);
        }
        let digest: [u8; 32] = Sha256::digest(hash).into();
        let salt = *digest.first_chunk().unwrap_or(&[0; 16]);
        self.permitted(1, move || hashed(&password, &salt)).await.map(Some)
    }

    /// Whether a text is a hash of the kind that [`Passwords::hash`] makes, and one that can be verified with no more than 256 MiB.
    #[must_use]
    pub fn is_hash(text: &str) -> bool {
        let Ok(hash) = PasswordHash::new(text) else { return false };
        let is_cheap = |params: Params| {
            params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_PASSES && params.p_cost() <= MAX_LANES
        };
        hash.algorithm == argon2::ARGON2ID_IDENT && hash.hash.is_some() && Params::try_from(&hash).is_ok_and(is_cheap)
    }

    /// Whether the password has this hash; without a hash it is false after the same time.
    ///
    /// # Errors
    /// As [`PasswordError`] says.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordError> {
        let permits = hash.as_deref().map_or(1, memory_of).min(self.all);
        self.permitted(permits, move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| DUMMY_HASH.to_owned());
            let Ok(hash) = PasswordHash::new(&hash) else { return Ok(false) };
            match argon2().verify_password(password.as_bytes(), &hash) {
                Ok(()) => Ok(known),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(PasswordError::failed(error)),
            }
        })
        .await
    }

    /// Does the work on a blocking thread once there are so many permits.
    async fn permitted<T: Send + 'static>(
        &self,
        count: u32,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let begin = |permits| {
            spawn_blocking(move || {
                let _permits: OwnedSemaphorePermit = permits;
                work()
            })
        };
        let hashing = if let Ok(permits) = self.permits.clone().try_acquire_many_owned(count) {
            begin(permits)
        } else {
            let Self { permits, waiting, .. } = self.clone();
            let wait = async move {
                let _slot = WaitSlot::take(&waiting).ok_or(PasswordError::Overloaded)?;
                permits.acquire_many_owned(count).await.map(begin).map_err(PasswordError::failed)
            };
            // In a task of its own: a caller that nobody polls, as its client does not read, would get a permit and keep it.
            AbortOnDropHandle::new(tokio::spawn(wait)).await.map_err(PasswordError::failed)??
        };
        hashing.await.map_err(PasswordError::failed)?
    }
}

/// How many times as much memory as one of this server a hash needs, rounded up.
fn memory_of(hash: &str) -> u32 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(1, |params| params.m_cost().div_ceil(Params::DEFAULT_M_COST))
}

fn hashed(password: &str, salt: &[u8; 16]) -> Result<String, PasswordError> {
    let hash: Result<PasswordHash, _> = argon2().hash_password_with_salt(password.as_bytes(), salt);
    hash.map(|hash| hash.to_string()).map_err(PasswordError::failed)
}

/// A slot in the bounded queue, released on drop.
struct WaitSlot<'a>(&'a AtomicUsize);

impl<'a> WaitSlot<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let slot = Self(waiting);
        // If the queue is full, dropping the slot takes the increment back.
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(slot)
    }
}

impl Drop for WaitSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use futures_util::FutureExt;

    use super::{COSTS, DUMMY_HASH, PasswordError, Passwords, memory_of};

    #[tokio::test]
    async fn a_hash_that_needs_more_memory_takes_more_permits() {
        let with_memory = |kib: u32| DUMMY_HASH.replace("m=19456", &format!("m={kib}"));
        for (kib, permits) in [(8, 1), (19_456, 1), (19_457, 2), (262_144, 14)] {
            assert_eq!(memory_of(&with_memory(kib)), permits, "{kib}");
        }
        let passwords = Passwords::with_permits(2);
        let verify = |kib| passwords.verify("a guess".to_owned(), Some(with_memory(kib))).boxed();
        let held = passwords.permits.clone().try_acquire_owned();
        assert_eq!(verify(19_456).await, Ok(false));
        let mut waiting = verify(60_000);
        assert_eq!((&mut waiting).now_or_never(), None);
        // Its turn to wait.
        tokio::task::yield_now().await;
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 1);
        drop(held);
        // There are no more permits than two.
        assert_eq!(waiting.await, Ok(false));
    }

    #[tokio::test]
    async fn the_hash_of_a_password_is_renewed_if_it_is_of_other_costs() {
        let passwords = Passwords::default();
        let renew = async |hash: &str| passwords.renew("correct".to_owned(), hash).await.unwrap();
        assert_eq!(renew(DUMMY_HASH).await, None);
        let other = DUMMY_HASH.replace("t=2", "t=1");
        let renewed = renew(&other).await.unwrap();
        assert!(renewed.starts_with(COSTS) && renew(&other).await.as_ref() == Some(&renewed), "{renewed}");
        assert_eq!(passwords.verify("correct".to_owned(), Some(renewed)).await, Ok(true));
    }

    #[tokio::test]
    async fn a_failure_is_not_taken_for_overload() {
        let passwords = Passwords::default();
        let failed = passwords.permitted(1, || -> Result<(), _> { panic!("broken") }).await;
        assert!(matches!(&failed, Err(PasswordError::Failed(cause)) if cause.contains("broken")), "{failed:?}");
    }

    #[test]
    fn hashes_of_others_are_those_that_can_be_verified_at_a_bounded_cost() {
        assert!(Passwords::is_hash(DUMMY_HASH));
        for (part, other) in [("m=19456", "m=4194304"), ("t=2", "t=100"), ("p=1", "p=64"), ("argon2id", "argon2i")] {
            assert!(!Passwords::is_hash(&DUMMY_HASH.replace(part, other)), "{other}");
        }
        for other in
            ["", "password", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=19456,t=2,p=1$b3Blbi1zZXNhbWUtMDAwMQ"]
        {
            assert!(!Passwords::is_hash(other), "{other}");
        }
    }
}
