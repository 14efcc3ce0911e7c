//! News: wake-ups for those who follow a feed. A wake-up carries nothing: who is woken reads the log. So one that is
//! lost delays and never loses, and a slow reader holds up nobody.
//!
//! Not here: what happened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::model::ids::UserId;

/// Wake-ups within this process. Clones share them.
#[derive(Clone, Default)]
pub struct Events {
    watched: Arc<Mutex<HashMap<UserId, watch::Sender<()>>>>,
}

impl Events {
    /// From now on, [`Watch::changed`] tells of every change in this user's feed.
    #[must_use]
    pub fn watch(&self, user: UserId) -> Watch {
        let news = self.locked(|watched| watched.entry(user).or_default().subscribe());
        Watch { user, news, events: self.clone() }
    }

    /// Wakes everybody who follows the feed of one of these users.
    pub fn wake(&self, users: impl IntoIterator<Item = UserId>) {
        self.locked(|watched| {
            for user in users {
                if let Some(news) = watched.get(&user) {
                    news.send_replace(());
                }
            }
        });
    }

    /// How many users are followed.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.locked(|watched| watched.len())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<UserId, watch::Sender<()>>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Somebody who follows a user's feed, until it is dropped.
pub struct Watch {
    user: UserId,
    news: watch::Receiver<()>,
    events: Events,
}

impl Watch {
    /// Waits until the feed changed since the last call. Many changes may be one.
    pub async fn changed(&mut self) {
        // The sender lives in the map for as long as this does.
        let _ = self.news.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.events.locked(|watched| {
            if watched.get(&self.user).is_some_and(|news| news.receiver_count() <= 1) {
                watched.remove(&self.user);
            }
        });
    }
}
