//! Password hashes: Argon2id with 19 MiB, 2 passes and 1 lane (the minimum of OWASP's Password Storage Cheat Sheet), on
//! blocking threads, with bounded concurrency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use argon2::{
    Argon2, Params,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};
use tokio_util::task::AbortOnDropHandle;

use crate::model::texts::Password;

/// Concurrent hashes for each core.
const HASHES_PER_CORE: usize = 2;
/// Hashes that wait for a permit, at most.
const MAX_WAITING: usize = 64;
/// What hashes of others may cost: memory in KiB, passes over it, and lanes.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
/// Verified against when there is no account, so that the response time does not reveal that.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b3Blbi1zZXNhbWUtMDAwMQ$C0YqF4gdL8bSZ8vEjvVUJCO9nAWWlMLdLjvhUxKMtXg";

/// Hashes passwords. Clones share the permits.
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// Too many passwords are being hashed: retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Overloaded;

impl Default for Passwords {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { permits: Arc::new(Semaphore::new(cores * HASHES_PER_CORE)), waiting: Arc::default() }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`Overloaded`]
    pub async fn hash(&self, password: Password) -> Result<String, Overloaded> {
        self.with_permit(move || {
            let salt: [u8; 16] = rand::random();
            let hash: Result<PasswordHash, _> = argon2().hash_password_with_salt(password.as_str().as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|_no_memory| Overloaded)
        })
        .await?
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
    /// [`Overloaded`]
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Overloaded> {
        self.with_permit(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| DUMMY_HASH.to_owned());
            let matches =
                PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok());
            known && matches
        })
        .await
    }

    async fn with_permit<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let begin = |permit| {
            spawn_blocking(move || {
                let _permit: OwnedSemaphorePermit = permit;
                work()
            })
        };
        let hashing = if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            begin(permit)
        } else {
            let Self { permits, waiting } = self.clone();
            let wait = async move {
                let _slot = WaitSlot::take(&waiting).ok_or(Overloaded)?;
                permits.acquire_owned().await.map(begin).map_err(|_closed| Overloaded)
            };
            // In a task of its own: a caller that nobody polls, as its client does not read, would get a permit and keep it.
            AbortOnDropHandle::new(tokio::spawn(wait)).await.map_err(|_broken| Overloaded)??
        };
        hashing.await.map_err(|_broken| Overloaded)
    }
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
    use super::{DUMMY_HASH, Passwords};

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
