//! Wake-ups for those who follow a feed. A wake-up carries nothing: who is woken reads the log. So one that is lost delays
//! and never loses, and a slow reader holds up nobody. Those who stand at the same place read it once for all.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
};

use tokio::sync::{Mutex, watch};

use super::windows::Window;
use crate::model::{
    feed::{Next, Page},
    ids::UserId,
};

/// Wake-ups within this process. Clones share them.
#[derive(Clone, Default)]
pub struct Wakeups {
    watched: Arc<SyncMutex<HashMap<UserId, Arc<Watched>>>>,
}

/// What the followers of one user share.
#[derive(Default)]
struct Watched {
    /// Counts the wake-ups.
    wakes: watch::Sender<u64>,
    window: Mutex<Window>,
}

impl Wakeups {
    /// From now on, [`Watch::changed`] tells of every change in this user's feed.
    #[must_use]
    pub fn watch(&self, user: UserId) -> Watch {
        self.locked(|all| {
            let watched = all.entry(user).or_default().clone();
            Watch { user, woken: watched.wakes.subscribe(), watched, wakeups: self.clone() }
        })
    }

    /// Wakes everybody who follows the feed of one of these users.
    pub fn wake(&self, users: impl IntoIterator<Item = UserId>) {
        self.locked(|all| {
            for watched in users.into_iter().filter_map(|user| all.get(&user)) {
                watched.wakes.send_modify(|wakes| *wakes += 1);
            }
        });
    }

    /// How many users are followed.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.locked(|all| all.len())
    }

    fn locked<T>(&self, work: impl FnOnce(&mut HashMap<UserId, Arc<Watched>>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Somebody who follows a user's feed, until it is dropped.
pub struct Watch {
    user: UserId,
    woken: watch::Receiver<u64>,
    watched: Arc<Watched>,
    wakeups: Wakeups,
}

impl Watch {
    /// What comes after a position, at most `limit` events. What no other follower has read since the last wake-up, `read`
    /// finds in the log, after the position that it is given.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn next<E, F: Future<Output = Result<Next, E>>>(
        &mut self,
        after: i64,
        limit: usize,
        read: impl Fn(i64) -> F,
    ) -> Result<Next, E> {
        // One reads, the others wait for what is found.
        let mut window = self.watched.window.lock().await;
        let woken = *self.woken.borrow_and_update();
        while let Some(end) = window.end_for(after) {
            if end.woken >= woken {
                let page = window.after(after, end, limit);
                self.forget_if_alone(&mut window);
                return Ok(Next::Page(page));
            }
            match read(end.position).await? {
                // Until the end is known, the last wake-up stays to be seen to.
                Next::Page(page) => window.extend(&page, if page.is_last { woken } else { end.woken }),
                nothing @ (Next::Lost(_) | Next::Erased) => {
                    *window = Window::default();
                    return Ok(nothing);
                }
            }
        }
        let found = read(after).await?;
        if let Next::Page(page @ Page { is_last: true, .. }) = &found {
            window.restart(page, woken);
            self.forget_if_alone(&mut window);
        }
        Ok(found)
    }

    fn forget_if_alone(&self, window: &mut Window) {
        if self.watched.wakes.receiver_count() == 1 {
            window.clear();
        }
    }

    /// Whether nothing changed since the last read.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        // The sender lives for as long as this does.
        !self.woken.has_changed().unwrap_or(false)
    }

    /// Waits until something changed since the last read. Many changes may be one.
    pub async fn changed(&mut self) {
        let _ = self.woken.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.wakeups.locked(|all| {
            if self.watched.wakes.receiver_count() <= 1 {
                all.remove(&self.user);
            }
        });
    }
}
