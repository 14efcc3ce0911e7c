//! Signal subscriptions. Each has a bounded queue: a subscriber that is too slow loses the oldest signals.

use std::collections::HashSet;

use tokio::sync::broadcast::{self, error::RecvError};

use super::registry::{Registry, RegistryGuard};
use crate::model::{ids::UserId, signals::Signal};

/// Signals queued for a slow subscriber, at most.
const QUEUE_CAPACITY: usize = 16;

/// Whose signals are wanted (`None`: everybody's), and the subscriber.
type Topic = (Option<UserId>, UserId);
/// `None` ends the subscription.
type Sender = broadcast::Sender<Option<Signal>>;

/// The subscriptions. Clones share them.
#[derive(Clone, Default)]
pub struct Signals {
    topics: Registry<Topic, Sender>,
}

impl Signals {
    /// Subscribes a user to the signals sent to them; with `about`, only to those of one other user.
    #[must_use]
    pub fn subscribe(&self, user: UserId, about: Option<UserId>) -> SignalSubscription {
        let (guard, signals) = self.topics.acquire((about, user), || Sender::new(QUEUE_CAPACITY), Sender::subscribe);
        SignalSubscription { signals, _guard: guard }
    }

    /// Whether there is anybody to send a signal to.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.topics.len() > 0
    }

    /// Sends a signal to one user.
    pub fn send(&self, user: UserId, signal: Signal) {
        for about in [None, Some(signal.user)] {
            self.topics.with(&(about, user), |sender| send(sender, Some(signal)));
        }
    }

    /// Sends a signal to these users, and to all who subscribed to its user alone, except those in `excluded`.
    pub fn broadcast(&self, users: &[UserId], excluded: &HashSet<UserId>, signal: Signal) {
        for user in users {
            self.topics.with(&(None, *user), |sender| send(sender, Some(signal)));
        }
        let about = Some(signal.user);
        self.topics.with_range((about, UserId::MIN)..=(about, UserId::MAX), |topics| {
            for ((_, subscriber), sender) in topics {
                if !excluded.contains(subscriber) {
                    send(&sender.value, Some(signal));
                }
            }
        });
    }

    /// Ends all subscriptions of a user.
    pub fn end(&self, user: UserId) {
        self.topics.with_range(.., |topics| {
            for (_, sender) in topics.filter(|((_, subscriber), _)| *subscriber == user) {
                send(&sender.value, None);
            }
        });
    }
}

/// Fails only when no receiver is left, which is fine.
fn send(sender: &Sender, signal: Option<Signal>) {
    let _ = sender.send(signal);
}

/// A subscription to signals, until it is dropped.
pub struct SignalSubscription {
    signals: broadcast::Receiver<Option<Signal>>,
    _guard: RegistryGuard<Topic, Sender>,
}

impl SignalSubscription {
    /// The next signal; `None` when the subscription has ended.
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
