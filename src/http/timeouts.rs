//! How long a connection may wait for a request: until the first one is complete, between two of them, and for the rest of one
//! that has begun.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::time::{sleep, sleep_until};

use super::connections::ConnectionSlot;
use crate::config::Limits;

/// hyper's timer for the heads of the requests of a connection. hyper has only one timeout for them, which it begins as soon as
/// it waits for a head: this one lets it wait longer as long as nothing of the next request has come.
pub(super) struct HeadTimer {
    slot: Arc<ConnectionSlot>,
    header_timeout: Duration,
    keep_alive_timeout: Duration,
}

impl HeadTimer {
    pub(super) fn new(slot: Arc<ConnectionSlot>, limits: &Limits) -> Self {
        Self { slot, header_timeout: limits.header_timeout, keep_alive_timeout: limits.keep_alive_timeout }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    /// hyper calls it whenever it begins to wait for a head, with the deadline for that head.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let is_idle = self.slot.wait_again();
        let deadline = if is_idle { sleep(self.keep_alive_timeout) } else { sleep_until(deadline.into()) };
        Box::pin(HeadDeadline {
            deadline: Box::pin(deadline),
            idle: is_idle.then(|| (self.slot.clone(), self.header_timeout)),
        })
    }
}

/// The deadline for the head of a request; then the connection is closed.
struct HeadDeadline {
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// As long as nothing of the next head has come, and how much time there is for it from then on.
    idle: Option<(Arc<ConnectionSlot>, Duration)>,
}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // hyper polls it after each read that does not complete the head.
        if let Some((_, timeout)) = self.idle.take_if(|(slot, _)| !slot.is_waiting()) {
            self.deadline.as_mut().reset(tokio::time::Instant::now() + timeout);
        }
        self.deadline.as_mut().poll(cx)
    }
}

impl Sleep for HeadDeadline {}
