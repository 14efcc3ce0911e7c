//! Who is here: users with a connection now, or a moment ago.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
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
    /// Counts how often the last connection ended.
    departures: u64,
    /// When it last did.
    left_at: Option<Timestamp>,
}

/// The end of a user's last connection.
#[derive(Debug, Clone, Copy)]
pub struct Departure(u64);

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

    /// One connection less; gives the departure if it was the last one. They stay here until [`Presences::depart`].
    #[must_use]
    pub fn leave(&self, user: UserId, at: Timestamp) -> Option<Departure> {
        self.locked(|book| {
            let here = book.here.get_mut(&user)?;
            here.connections = here.connections.saturating_sub(1);
            (here.connections == 0).then(|| {
                here.departures += 1;
                here.left_at = Some(at);
                Departure(here.departures)
            })
        })
    }

    /// Lets a user go, unless they came back since this departure; true if they went.
    #[must_use]
    pub fn depart(&self, user: UserId, departure: Departure) -> bool {
        self.locked(|book| {
            let goes = |here: &Here| here.connections == 0 && here.departures == departure.0;
            let Some(left_at) = book.here.get(&user).filter(|here| goes(here)).and_then(|here| here.left_at) else {
                return false;
            };
            book.here.remove(&user);
            if book.gone.len() >= REMEMBERED {
                book.gone_before = mem::take(&mut book.gone);
            }
            book.gone.insert(user, left_at);
            true
        })
    }

    /// Whether a user is here.
    #[must_use]
    pub fn of(&self, user: UserId) -> Presence {
        self.locked(|book| {
            let here = book.here.get(&user);
            let left_at = match here {
                Some(here) => here.left_at.filter(|_| here.connections == 0),
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
