//! News within this process: wake-ups for those who follow a feed, signals for those who listen, and who is here. Nothing
//! of it is stored: what must not be lost is in the feed.
//!
//! Not here: what is in a feed, and who may hear what.

mod wakeups;
mod windows;
mod signals;
mod presences;

pub use presences::{Departure, Presences};
pub use signals::{Listening, Signals};
pub use wakeups::{Wakeups, Watch};
