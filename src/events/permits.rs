//! Bounds what each user may have at once: connections, requests, subscriptions, and more; and what those who have not signed in may
//! have from one network. A permit is released on drop.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    rates::network,
    registry::{Registry, RegistryGuard},
};
use crate::model::ids::UserId;

/// For whom a resource is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A user who has signed in.
    User(UserId),
    /// All who have not, from one network.
    Network(IpAddr),
}

impl Holder {
    /// Whoever has this address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

impl From<UserId> for Holder {
    fn from(user: UserId) -> Self {
        Self::User(user)
    }
}

/// What is bounded for each holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A WebSocket or an event stream.
    Connection,
    /// A request, from its beginning until its answer was sent.
    Request,
    /// A subscription.
    Subscription,
    /// A field that a subscription fills for an event.
    SubscribedField,
    /// Events that are read and answered for a subscription.
    Event,
    /// A read for an answer.
    Read,
    /// One that takes longer than a millisecond.
    HeavyRead,
}

/// How much of each resource a user may have; without settings, any amount.
#[derive(Debug, Clone, Copy)]
pub struct PermitLimits {
    /// Of [`Resource::Connection`].
    pub connections: usize,
    /// Of [`Resource::Request`].
    pub requests: usize,
    /// Of [`Resource::Subscription`].
    pub subscriptions: usize,
    /// Of [`Resource::SubscribedField`].
    pub subscribed_fields: usize,
}

impl Default for PermitLimits {
    fn default() -> Self {
        let any = usize::MAX;
        Self { connections: any, requests: any, subscriptions: any, subscribed_fields: any }
    }
}

/// Requests from one network of those who have not signed in.
const VISITOR_REQUESTS: usize = 64;
/// Large answers to events that wait for a client that does not read.
const EVENTS: usize = 4;
/// Fewer than the database has readers, so that some are always left to other users.
const READS: usize = 3;
/// And fewer than it has for heavy reads.
const HEAVY_READS: usize = 2;

/// What a holder may still have.
struct HolderPermits {
    connections: Semaphore,
    requests: Semaphore,
    subscriptions: Semaphore,
    subscribed_fields: Semaphore,
    events: Semaphore,
    reads: Semaphore,
    heavy_reads: Semaphore,
}

impl HolderPermits {
    fn new(holder: Holder, limits: &PermitLimits) -> Self {
        let semaphore = |limit: usize| Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        let requests = match holder {
            Holder::User(_) => limits.requests,
            Holder::Network(_) => VISITOR_REQUESTS,
        };
        Self {
            connections: semaphore(limits.connections),
            requests: semaphore(requests),
            subscriptions: semaphore(limits.subscriptions),
            subscribed_fields: semaphore(limits.subscribed_fields),
            events: semaphore(EVENTS),
            reads: semaphore(READS),
            heavy_reads: semaphore(HEAVY_READS),
        }
    }

    fn of(&self, resource: Resource) -> &Semaphore {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Request => &self.requests,
            Resource::Subscription => &self.subscriptions,
            Resource::SubscribedField => &self.subscribed_fields,
            Resource::Event => &self.events,
            Resource::Read => &self.reads,
            Resource::HeavyRead => &self.heavy_reads,
        }
    }
}

/// The permits of all holders. Clones share them.
#[derive(Clone, Default)]
pub struct Permits {
    holders: Registry<Holder, Arc<HolderPermits>>,
    limits: PermitLimits,
}

impl Permits {
    /// With these limits.
    #[must_use]
    pub fn of(limits: PermitLimits) -> Self {
        Self { holders: Registry::default(), limits }
    }

    /// So much more of a resource for this holder; `None` if that is more than the limit.
    #[must_use]
    pub fn try_acquire(&self, holder: impl Into<Holder>, resource: Resource, amount: u32) -> Option<Permit> {
        let mut permit = self.empty_permit(holder.into(), resource);
        permit.semaphore().try_acquire_many(amount).ok()?.forget();
        permit.amount = amount;
        Some(permit)
    }

    /// One more of a resource, once the holder has less than the limit; `None` for whom nothing is limited.
    pub async fn acquire(&self, holder: Option<impl Into<Holder>>, resource: Resource) -> Option<Permit> {
        let mut permit = self.empty_permit(holder?.into(), resource);
        // The semaphores are never closed.
        let acquired = permit.semaphore().acquire().await.map(SemaphorePermit::forget);
        permit.amount = u32::from(acquired.is_ok());
        Some(permit)
    }

    fn empty_permit(&self, holder: Holder, resource: Resource) -> Permit {
        let (guard, permits) =
            self.holders.acquire(holder, || Arc::new(HolderPermits::new(holder, &self.limits)), Arc::clone);
        Permit { permits, resource, amount: 0, _guard: guard }
    }
}

/// An amount of a resource that a holder has.
pub struct Permit {
    permits: Arc<HolderPermits>,
    resource: Resource,
    amount: u32,
    _guard: RegistryGuard<Holder, Arc<HolderPermits>>,
}

impl Permit {
    fn semaphore(&self) -> &Semaphore {
        self.permits.of(self.resource)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore().add_permits(self.amount as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_not_signed_in_share_the_requests_of_their_network() {
        let permits = Permits::default();
        let at = |address: &str| Holder::at(address.parse().unwrap());
        let request = |holder: Holder| permits.try_acquire(holder, Resource::Request, 1);
        let mut held: Vec<_> = (0..64).map(|_| request(at("2001:db8::1")).unwrap()).collect();
        assert!(request(at("2001:db8::2")).is_none(), "of the same /64");
        assert!(request(at("2001:db8:0:1::1")).is_some());
        assert!(request(UserId::new(1).unwrap().into()).is_some());
        held.pop();
        assert!(request(at("2001:db8::2")).is_some());
    }
}
