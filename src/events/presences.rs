//! Who is here: users with a connection now, or a moment ago.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::{ids::UserId, signals::Presence, timestamps::Timestamp};

/// Of at least so many users it is remembered when they were last here, and of at most twice as many.
const REMEMBERED: usize = 50_000;

/// Who is here. Clones share it.
#[derive(Clone, Default)]
pub struct Presences {
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    here: HashMap<UserId, Here>,
    /// Those who left, the last ones …
    gone: HashMap<UserId, Timestamp>,
    /// … and those before them.
    gone_before: HashMap<UserId, Timestamp>,
}

#[derive(Default)]
struct Here {
    connections: u32,
    /// When the last connection ended, by the application's clock and by the machine's.
    left: Option<(Timestamp, Instant)>,
    /// Somebody waits to see whether the user comes back.
    awaited: bool,
}

/// What became of a user who left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// They are gone.
    Gone,
    /// They came back.
    Over,
    /// They came back and left again: look once more after this time.
    Renewed(Duration),
}

impl Presences {
    /// One more connection of a user; true if they were not here.
    #[must_use]
    pub fn enter(&self, user: UserId) -> bool {
        self.locked(|book| {
            let known = book.here.contains_key(&user);
            book.here.entry(user).or_default().connections += 1;
            !known
        })
    }

    /// One connection less. True if it was the last one, and nobody waits yet to see whether they come back: whoever is
    /// told so does, and asks [`Presences::absence`].
    #[must_use]
    pub fn leave(&self, user: UserId, at: Timestamp) -> bool {
        self.locked(|book| {
            let Some(here) = book.here.get_mut(&user) else { return false };
            here.connections = here.connections.saturating_sub(1);
            if here.connections > 0 {
                return false;
            }
            here.left = Some((at, Instant::now()));
            !mem::replace(&mut here.awaited, true)
        })
    }

    /// Lets a user go who has been away for so long.
    #[must_use]
    pub fn absence(&self, user: UserId, long_enough: Duration) -> Absence {
        self.locked(|book| {
            let Some(here) = book.here.get_mut(&user) else { return Absence::Over };
            let Some((left_at, since)) = here.left.filter(|_| here.connections == 0) else {
                here.awaited = false;
                return Absence::Over;
            };
            let missing = long_enough.saturating_sub(since.elapsed());
            if !missing.is_zero() {
                return Absence::Renewed(missing);
            }
            book.here.remove(&user);
            if book.gone.len() >= REMEMBERED {
                book.gone_before = mem::take(&mut book.gone);
            }
            book.gone.insert(user, left_at);
            Absence::Gone
        })
    }

    /// Whether a user is here.
    #[must_use]
    pub fn of(&self, user: UserId) -> Presence {
        self.locked(|book| {
            let here = book.here.get(&user);
            let left_at = match here {
                Some(here) => here.left.filter(|_| here.connections == 0).map(|(at, _)| at),
                None => book.gone.get(&user).or_else(|| book.gone_before.get(&user)).copied(),
            };
            Presence { online: here.is_some(), last_seen_at: left_at }
        })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        // A panic elsewhere cannot leave the book half changed.
        work(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
