//! In-process events: notifications for feed followers, signal subscriptions, presence, rate limits, permits, and
//! revocations; and how other servers are notified of some of them. Nothing here is stored: what must survive a restart is in the
//! database.
//!
//! Not here: what a feed contains, and who may subscribe to what.

mod notifier;
mod tail_cache;
mod registry;
mod signals;
mod presences;
mod revocations;
mod permits;
mod rates;
mod counters;
mod known_entries;
mod relay;
mod nats;

pub use counters::{Counters, Label};
pub use known_entries::KnownEntries;
pub use nats::{Nats, NatsSettings};
pub use notifier::{Notifier, Watch};
pub use permits::{Holder, Permit, PermitLimits, Permits, Resource};
pub use presences::{OfflineCheck, Presences};
pub use rates::{RateLimited, RateLimiters, RateLimits, network};
pub use relay::{Relay, RelayMessage};
pub use revocations::{Revocation, Revocations};
pub use signals::{SignalSubscription, Signals};
