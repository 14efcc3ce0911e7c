//! Signals on their way to those who listen. Who is too slow misses some.

use std::collections::HashSet;

use tokio::sync::broadcast::{self, error::RecvError};

use super::held::{Held, Hold};
use crate::model::{ids::UserId, signals::Signal};

/// Signals that wait for a slow listener.
const WAITING: usize = 16;

/// Whose signals somebody listens to, or everybody's, and who listens.
type Ear = (Option<UserId>, UserId);
/// `None` is the end.
type Heard = broadcast::Sender<Option<Signal>>;

/// The ways of signals. Clones share them.
#[derive(Clone, Default)]
pub struct Signals {
    ears: Held<Ear, Heard>,
}

impl Signals {
    /// From now on, [`Listening::next`] gives what is told to this user; with `about`, only the signals of one other user.
    #[must_use]
    pub fn listen(&self, user: UserId, about: Option<UserId>) -> Listening {
        let (hold, signals) = self.ears.hold((about, user), || Heard::new(WAITING), Heard::subscribe);
        Listening { signals, _hold: hold }
    }

    /// Tells a signal to one user.
    pub fn tell(&self, user: UserId, signal: Signal) {
        for about in [None, Some(signal.user)] {
            self.ears.with(&(about, user), |ear| say(ear, Some(signal)));
        }
    }

    /// Tells a signal to these users, and to whoever listens to its user alone and is not among the others.
    pub fn tell_all(&self, users: &[UserId], others: &HashSet<UserId>, signal: Signal) {
        for user in users {
            self.ears.with(&(None, *user), |ear| say(ear, Some(signal)));
        }
        let about = Some(signal.user);
        self.ears.with_range((about, UserId::MIN)..=(about, UserId::MAX), |ears| {
            for ((_, user), ear) in ears {
                if !others.contains(user) {
                    say(&ear.value, Some(signal));
                }
            }
        });
    }

    /// Ends what a user listens to.
    pub fn end(&self, user: UserId) {
        self.ears.with_range(.., |ears| {
            for (_, ear) in ears.filter(|((_, listener), _)| *listener == user) {
                say(&ear.value, None);
            }
        });
    }
}

/// It only fails if nobody listens any more.
fn say(ear: &Heard, signal: Option<Signal>) {
    let _ = ear.send(signal);
}

/// Somebody who listens, until it is dropped.
pub struct Listening {
    signals: broadcast::Receiver<Option<Signal>>,
    _hold: Hold<Ear, Heard>,
}

impl Listening {
    /// The next signal; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Signal> {
        loop {
            match self.signals.recv().await {
                Ok(signal) => return signal,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
