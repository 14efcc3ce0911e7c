//! Hashes of passwords: Argon2id with 19 MiB, 2 passes and 1 lane (the least that OWASP's Password Storage Cheat Sheet
//! recommends), on threads that may block, a few at a time.

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
use tokio::sync::Semaphore;

use crate::model::texts::Password;

/// Hashes at a time, for each core.
const PER_CORE: usize = 2;
/// Those that wait for their turn, at most.
const WAITING: usize = 64;
/// The hash of no password: so an account that is not there takes as long as one that is.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b3Blbi1zZXNhbWUtMDAwMQ$C0YqF4gdL8bSZ8vEjvVUJCO9nAWWlMLdLjvhUxKMtXg";

/// Hashes passwords. Clones share the turns.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// Too many want to sign in at once: try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Overloaded;

impl Default for Passwords {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new(cores * PER_CORE)), waiting: Arc::default() }
    }
}

impl Passwords {
    /// The hash of a password, as a PHC string.
    ///
    /// # Errors
    /// [`Overloaded`]
    pub async fn hash(&self, password: Password) -> Result<String, Overloaded> {
        self.in_turn(move || {
            let salt: [u8; 16] = rand::random();
            let hash: Result<PasswordHash, _> = argon2().hash_password_with_salt(password.as_str().as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|_no_memory| Overloaded)
        })
        .await?
    }

    /// Whether it is the password with this hash; without one it never is, and takes as long.
    ///
    /// # Errors
    /// [`Overloaded`]
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Overloaded> {
        self.in_turn(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODYS.to_owned());
            let matches =
                PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok());
            known && matches
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_busy) => self.wait().await?,
        };
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_broken| Overloaded)
    }

    async fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Overloaded> {
        let place = Place::take(&self.waiting).ok_or(Overloaded)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_closed| Overloaded);
        drop(place);
        turn
    }
}

/// A place among those who wait, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        // Counted also where there was no room: dropping it takes it back.
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Argon2<'static> {
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::default())
}
