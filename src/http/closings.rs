//! How sockets and event streams end when the server stops: not all in the same moment, so that their clients do not all come back
//! in the same moment.

use std::{sync::Arc, time::Duration};

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Connections are assigned at random to this many groups. The connections of a group are closed together.
const GROUPS: u32 = 50;
/// Connections closed in a second, at least: more if closing all would take longer than [`MAX_TIME`].
const CLOSED_PER_SECOND: u32 = 400;
/// All connections are closed within this time.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Sockets and event streams. Clones share them.
#[derive(Clone)]
pub(super) struct Closings {
    groups: Arc<[CancellationToken]>,
    open: TaskTracker,
}

impl Closings {
    pub(super) fn new() -> Self {
        let groups = (0..GROUPS).map(|_| CancellationToken::new()).collect();
        Self { groups, open: TaskTracker::new() }
    }

    /// One more connection: what is cancelled when it has to end, and what it holds until it has ended.
    pub(super) fn add(&self) -> (CancellationToken, TaskTrackerToken) {
        let by_chance = rand::random::<u32>() % GROUPS;
        let group = self.groups.get(by_chance as usize).cloned().unwrap_or_default();
        (group, self.open.token())
    }

    /// Closes all, and waits until they have ended.
    pub(super) async fn close_all(&self) {
        self.open.close();
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        let time = (Duration::from_secs(1) * open / CLOSED_PER_SECOND).min(MAX_TIME);
        for group in self.groups.iter() {
            group.cancel();
            tokio::time::sleep(time / GROUPS).await;
        }
        self.open.wait().await;
    }
}
