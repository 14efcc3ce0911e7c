//! News within this process: wake-ups for those who follow a feed, signals for those who listen, who is here, how
//! often somebody did something, and ends of sessions. Nothing of it is stored: what must not be lost is in the database.
//!
//! Not here: what is in a feed, and who may hear what.

mod wakeups;
mod windows;
mod held;
mod signals;
mod presences;
mod endings;
mod counts;
mod rates;

pub use counts::{Counted, Counts};
pub use endings::{Ending, Endings};
pub use presences::{Absence, Presences};
pub use rates::{Attempt, Most, Rates, TooOften};
pub use signals::{Listening, Signals};
pub use wakeups::{Wakeups, Watch};
