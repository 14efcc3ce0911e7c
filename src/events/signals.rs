//! Signals on their way to those who listen. Who is too slow misses some.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::model::{ids::UserId, signals::Signal};

/// Signals that wait for a slow listener.
const WAITING: usize = 16;

/// Whose signals somebody listens to, or everybody's, and who listens.
type Ear = (Option<UserId>, UserId);
type Ears = BTreeMap<Ear, broadcast::Sender<Signal>>;

/// The ways of signals. Clones share them.
#[derive(Clone, Default)]
pub struct Signals {
    ears: Arc<Mutex<Ears>>,
}

impl Signals {
    /// From now on, [`Listening::next`] gives what is told to this user; with `about`, only the signals of one other user.
    #[must_use]
    pub fn listen(&self, user: UserId, about: Option<UserId>) -> Listening {
        let ear = (about, user);
        let sender = || broadcast::channel(WAITING).0;
        let signals = self.locked(|ears| ears.entry(ear).or_insert_with(sender).subscribe());
        Listening { ear, signals, hub: self.clone() }
    }

    /// Tells a signal to one user.
    pub fn tell(&self, user: UserId, signal: &Signal) {
        self.locked(|ears| {
            for about in [None, Some(signal.user.id)] {
                tell(ears, (about, user), signal);
            }
        });
    }

    /// Tells a signal to these users, and to whoever listens to its user alone and is not among the others.
    pub fn tell_all(&self, users: &[UserId], others: &HashSet<UserId>, signal: &Signal) {
        self.locked(|ears| {
            for user in users {
                tell(ears, (None, *user), signal);
            }
            let about = Some(signal.user.id);
            for ((_, user), listener) in ears.range((about, UserId::MIN)..).take_while(|((its, _), _)| *its == about) {
                if !others.contains(user) {
                    let _ = listener.send(signal.clone());
                }
            }
        });
    }

    /// Ends what a user listens to.
    pub fn end(&self, user: UserId) {
        self.locked(|ears| ears.retain(|(_, listener), _| *listener != user));
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Ears) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.ears.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// It only fails if nobody listens any more.
fn tell(ears: &Ears, ear: Ear, signal: &Signal) {
    if let Some(listener) = ears.get(&ear) {
        let _ = listener.send(signal.clone());
    }
}

/// Somebody who listens, until it is dropped.
pub struct Listening {
    ear: Ear,
    signals: broadcast::Receiver<Signal>,
    hub: Signals,
}

impl Listening {
    /// The next signal; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Signal> {
        loop {
            match self.signals.recv().await {
                Ok(signal) => return Some(signal),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.locked(|ears| {
            if ears.get(&self.ear).is_some_and(|listener| listener.receiver_count() <= 1) {
                ears.remove(&self.ear);
            }
        });
    }
}
