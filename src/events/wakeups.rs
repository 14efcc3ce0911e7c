//! Wake-ups for those who follow a feed. A wake-up carries nothing: who is woken reads the log. So one that is lost delays
//! and never loses, and a slow reader holds up nobody. Those who stand at the same place read it once for all.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::sync::watch;

use super::{
    held::{Held, Hold},
    windows::Window,
};
use crate::model::{
    feed::{Next, Page},
    ids::UserId,
};

/// Wake-ups within this process. Clones share them.
#[derive(Clone, Default)]
pub struct Wakeups {
    watched: Held<UserId, Arc<Watched>>,
}

/// What the followers of one user share.
#[derive(Default)]
struct Watched {
    wakes: watch::Sender<Wakes>,
    window: Mutex<Window>,
    reading: Mutex<Option<Reading>>,
}

/// Counts of wake-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wakes {
    all: u64,
    /// Those because of something that changes what earlier events tell.
    revisions: u64,
}

/// Somebody reads, in a task of its own: no follower that stands still holds up the others.
type Reading = Shared<BoxFuture<'static, ()>>;

impl Wakeups {
    /// From now on, [`Watch::changed`] tells of every change in this user's feed.
    #[must_use]
    pub fn watch(&self, user: UserId) -> Watch {
        let (hold, watched) = self.watched.hold(user, Arc::default, Arc::clone);
        Watch { woken: watched.wakes.subscribe(), revisions: 0, watched, _hold: hold }
    }

    /// Wakes everybody who follows the feed of one of these users.
    pub fn wake(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.watched.with(&user, |watched| watched.wakes.send_modify(|wakes| wakes.all += 1));
        }
    }

    /// The same after something that changes what earlier events tell: what was read before it is not told any more.
    pub fn revise(&self, users: impl IntoIterator<Item = UserId>) {
        for user in users {
            self.watched.with(&user, |watched| {
                watched
                    .wakes
                    .send_modify(|wakes| *wakes = Wakes { all: wakes.all + 1, revisions: wakes.revisions + 1 });
            });
        }
    }

    /// How many users are followed.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watched.len()
    }
}

/// Somebody who follows a user's feed, until it is dropped.
pub struct Watch {
    woken: watch::Receiver<Wakes>,
    /// Before the last read.
    revisions: u64,
    watched: Arc<Watched>,
    _hold: Hold<UserId, Arc<Watched>>,
}

impl Watch {
    /// What comes after a position, at most `limit` events. What no other follower has read since the last wake-up, `read`
    /// finds in the log, after the position that it is given.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn next<E, F>(
        &mut self,
        after: i64,
        limit: usize,
        read: impl Fn(i64) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Next, E>
    where
        E: Send,
        F: Future<Output = Result<Next, E>> + Send,
    {
        let wakes = *self.woken.borrow_and_update();
        self.revisions = wakes.revisions;
        if let Some(page) = self.page_of_window(after, limit, wakes.all) {
            return Ok(Next::Page(page));
        }
        // The first reading may have been begun before the wake-up; then the second one was not.
        for _ in 0..2 {
            if self.watched.window().end_for(after).is_none() {
                break;
            }
            self.watched.reading(&read).await;
            if let Some(page) = self.page_of_window(after, limit, wakes.all) {
                return Ok(Next::Page(page));
            }
        }
        // Behind the window; or what was read is nothing that others can go on with.
        let found = read(after).await?;
        if let Next::Page(page @ Page { is_last: true, .. }) = &found {
            let mut window = self.watched.window();
            if window.end().is_none_or(|end| end.woken < wakes.all) {
                window.restart(page, wakes.all);
                self.forget_if_alone(&mut window);
            }
        }
        Ok(found)
    }

    /// From the window, if it is no older than the wake-up.
    fn page_of_window(&self, after: i64, limit: usize, woken: u64) -> Option<Page> {
        let mut window = self.watched.window();
        let end = window.end_for(after).filter(|end| end.woken >= woken)?;
        let page = window.after(after, end, limit);
        self.forget_if_alone(&mut window);
        Some(page)
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

    /// Whether nothing changed since the last read that changes what it found.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.woken.borrow().revisions == self.revisions
    }

    /// Waits until something changed since the last read. Many changes may be one.
    pub async fn changed(&mut self) {
        let _ = self.woken.changed().await;
    }
}

impl Watched {
    fn window(&self) -> MutexGuard<'_, Window> {
        // A panic elsewhere cannot leave it half changed.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on from the end of the window, or waits for somebody who does.
    fn reading<E, F>(self: &Arc<Self>, read: &(impl Fn(i64) -> F + Clone + Send + Sync + 'static)) -> Reading
    where
        E: Send,
        F: Future<Output = Result<Next, E>> + Send,
    {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = reading.as_ref().filter(|reading| reading.peek().is_none()) {
            return reading.clone();
        }
        let (watched, read) = (self.clone(), read.clone());
        let begun = tokio::spawn(async move { watched.read_on(read).await }).map(drop).boxed().shared();
        reading.insert(begun).clone()
    }

    /// Reads on until the end of the feed. What fails, or is no page, each follower finds out for itself.
    async fn read_on<E, F: Future<Output = Result<Next, E>>>(&self, read: impl Fn(i64) -> F) {
        loop {
            let wakes = *self.wakes.borrow();
            let Some(end) = self.window().end() else { return };
            match read(end.position).await {
                Ok(Next::Page(page)) => {
                    self.window().extend(end, &page, if page.is_last { wakes.all } else { end.woken });
                    if page.is_last {
                        return;
                    }
                }
                Ok(Next::Lost(_) | Next::Erased) | Err(_) => {
                    drop(mem::take(&mut *self.window()));
                    return;
                }
            }
        }
    }
}
