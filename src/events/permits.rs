//! Bounds what each user may have at once: connections, requests, subscriptions, and more. A permit is released on drop.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::registry::{Registry, RegistryGuard};
use crate::model::ids::UserId;

/// What is bounded for each user.
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

/// Large answers to events that wait for a client that does not read.
const EVENTS: usize = 4;
/// Fewer than the database has readers, so that some are always left to other users.
const READS: usize = 3;
/// And fewer than it has for heavy reads.
const HEAVY_READS: usize = 2;

/// What a user may still have.
struct UserPermits {
    connections: Semaphore,
    requests: Semaphore,
    subscriptions: Semaphore,
    subscribed_fields: Semaphore,
    events: Semaphore,
    reads: Semaphore,
    heavy_reads: Semaphore,
}

impl UserPermits {
    fn new(limits: &PermitLimits) -> Self {
        let semaphore = |limit: usize| Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        Self {
            connections: semaphore(limits.connections),
            requests: semaphore(limits.requests),
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

/// The permits of all users. Clones share them.
#[derive(Clone, Default)]
pub struct Permits {
    users: Registry<UserId, Arc<UserPermits>>,
    limits: PermitLimits,
}

impl Permits {
    /// With these limits.
    #[must_use]
    pub fn of(limits: PermitLimits) -> Self {
        Self { users: Registry::default(), limits }
    }

    /// So much more of a resource for this user; `None` if that is more than the limit.
    #[must_use]
    pub fn try_acquire(&self, user: UserId, resource: Resource, amount: u32) -> Option<Permit> {
        let mut permit = self.empty_permit(user, resource);
        permit.semaphore().try_acquire_many(amount).ok()?.forget();
        permit.amount = amount;
        Some(permit)
    }

    /// One more of a resource, once the user has less than the limit; `None` for whom nothing is limited.
    pub async fn acquire(&self, user: Option<UserId>, resource: Resource) -> Option<Permit> {
        let mut permit = self.empty_permit(user?, resource);
        // The semaphores are never closed.
        let acquired = permit.semaphore().acquire().await.map(SemaphorePermit::forget);
        permit.amount = u32::from(acquired.is_ok());
        Some(permit)
    }

    fn empty_permit(&self, user: UserId, resource: Resource) -> Permit {
        let (guard, permits) = self.users.acquire(user, || Arc::new(UserPermits::new(&self.limits)), Arc::clone);
        Permit { permits, resource, amount: 0, _guard: guard }
    }
}

/// An amount of a resource that a user has.
pub struct Permit {
    permits: Arc<UserPermits>,
    resource: Resource,
    amount: u32,
    _guard: RegistryGuard<UserId, Arc<UserPermits>>,
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
