//! Presence. A user is online while a client of theirs follows their feed or their signals, on any server, and for a while after.
//! Servers on one PostgreSQL database publish in a table who is connected to them; each notifies its own subscribers.

use std::{collections::HashMap, sync::Arc};

use tokio::runtime::Handle;

use super::{Result, Viewer, policy};
use crate::{
    app::App,
    events::OfflineCheck,
    model::{
        ids::UserId,
        signals::{Presence, Signal, SignalKind},
    },
    store::{self, Conn},
};

/// Users in one statement of the exchange with other servers, at most.
const BATCH_SIZE: usize = 5_000;

/// The presence of these users, as far as the viewer may see it: not if one of the two has blocked the other.
pub fn of(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, users: &[UserId]) -> Result<Vec<(UserId, Presence)>> {
    if !policy::sees_users(viewer) {
        return Ok(Vec::new());
    }
    let hidden = match viewer.user() {
        Some(me) if !viewer.is_privileged() => store::blocks::among(conn, me, users)?,
        _ => Vec::new(),
    };
    let visible = users.iter().copied().filter(|user| !hidden.contains(user));
    Ok(visible.map(|user| (user, app.presences.of(user))).collect())
}

/// Counts as a connection of a user until it is dropped.
pub(super) struct PresenceGuard {
    app: Arc<App>,
    user: UserId,
    runtime: Handle,
}

impl PresenceGuard {
    /// `None` if the viewer is another user or a service: following somebody does not bring them online.
    pub(super) fn acquire(app: &Arc<App>, viewer: &Viewer, user: UserId) -> Option<Self> {
        if !(viewer.is_unrestricted() || viewer.user() == Some(user)) {
            return None;
        }
        let runtime = Handle::current();
        if app.presences.connect(user) {
            runtime.spawn(broadcast(app.clone(), user, SignalKind::Online));
        }
        Some(Self { app: app.clone(), user, runtime })
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        if self.app.presences.disconnect(self.user, self.app.now()) {
            self.runtime.spawn(go_offline_later(self.app.clone(), self.user));
        }
    }
}

/// Takes a user offline unless they reconnect in time. At most one such task runs for each user.
async fn go_offline_later(app: Arc<App>, user: UserId) {
    let mut wait = app.offline_after;
    loop {
        tokio::time::sleep(wait).await;
        match app.presences.check_offline(user, app.offline_after) {
            OfflineCheck::Offline => return broadcast(app, user, SignalKind::Offline).await,
            OfflineCheck::Reconnected => return,
            OfflineCheck::TooEarly(remaining) => wait = remaining,
        }
    }
}

/// Signals to all peers of a user that they went online or offline, if that is still so.
async fn broadcast(app: Arc<App>, user: UserId, kind: SignalKind) {
    let find = move |conn: &mut Conn<'_>| {
        let mut peers = store::members::peers_of(conn, user)?;
        let blocked = store::blocks::in_either_direction(conn, user)?;
        peers.retain(|peer| !blocked.contains(peer));
        Ok::<_, store::Error>((peers, blocked))
    };
    if !app.signals.has_subscribers() {
        return;
    }
    let _permit = app.presences.broadcast_permit().await;
    match app.store.read(find).await {
        Ok((peers, blocked)) if app.presences.of(user).online == (kind == SignalKind::Online) => {
            app.signals.broadcast(&peers, &blocked, Signal { kind, user, conversation: None, expires_at: None });
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the change of a presence could not be broadcast"),
    }
}

/// Signals to each of two users what they see of the other's presence from now on, because a block begins (`OFFLINE`) or ends (`ONLINE`):
/// nothing if the other is offline anyway. Other servers hear of it as of typing.
pub(super) fn signal_block(app: &App, (one, other): (UserId, UserId), kind: SignalKind) {
    for (to, user) in [(one, other), (other, one)] {
        if app.presences.of(user).online {
            let signal = Signal { kind, user, conversation: None, expires_at: None };
            app.signals.send(to, signal);
            app.relay.queue_signal(to, signal);
        }
    }
}

/// What this server and the others know of each other's connections.
#[derive(Default)]
pub(super) struct Exchange {
    /// Of the last change that this server has written.
    version: i64,
    /// The other servers, and the version up to which each was read.
    known: HashMap<i64, i64>,
}

impl Exchange {
    /// Publishes who is connected to this server, and reads who is connected to the others.
    pub(super) async fn run(&mut self, app: &Arc<App>, node: i64, others: &[i64]) -> store::Result<()> {
        self.publish(app, node).await?;
        let gone: Vec<_> = self.known.keys().filter(|other| !others.contains(other)).copied().collect();
        for other in gone {
            self.forget(app, other);
        }
        for other in others {
            self.known.entry(*other).or_default();
        }
        self.poll(app).await
    }

    /// Reads everything that others have published once more, at the next run.
    pub(super) fn poll_anew(&mut self, app: &Arc<App>) {
        let known: Vec<_> = self.known.keys().copied().collect();
        for other in known {
            self.forget(app, other);
        }
    }

    /// Nobody is connected to another server any more, as far as it is known.
    fn forget(&mut self, app: &Arc<App>, other: i64) {
        self.known.remove(&other);
        for user in app.presences.disconnect_all_of(other, app.now()) {
            tokio::spawn(go_offline_later(app.clone(), user));
        }
    }

    async fn publish(&mut self, app: &App, node: i64) -> store::Result<()> {
        loop {
            let changes = Arc::new(app.presences.take_changes(app.now(), BATCH_SIZE));
            if changes.is_empty() {
                return Ok(());
            }
            let (version, written) = (self.version, changes.clone());
            // Also if it fails: perhaps it was committed all the same, and read.
            self.version += i64::try_from(changes.len()).unwrap_or(i64::MAX);
            let published = app.store.write(move |conn| store::presences::publish(conn, node, version, &written)).await;
            if let Err(error) = published {
                app.presences.put_back(changes.iter().map(|(user, _)| *user));
                return Err(error);
            }
        }
    }

    async fn poll(&mut self, app: &Arc<App>) -> store::Result<()> {
        let mut is_end = self.known.is_empty();
        while !is_end {
            let known: Vec<_> = self.known.iter().map(|(node, version)| (*node, *version)).collect();
            let changes = app.store.read(move |conn| store::presences::changes(conn, &known, BATCH_SIZE)).await?;
            is_end = changes.len() < BATCH_SIZE;
            for change in changes {
                self.known.insert(change.node, change.version);
                apply(app, &change);
            }
        }
        Ok(())
    }
}

/// A user has connected to another server, or left it.
fn apply(app: &Arc<App>, change: &store::presences::PresenceRow) {
    let store::presences::PresenceRow { node, user, left_at, .. } = *change;
    match left_at {
        None if app.presences.connect_elsewhere(user, node) => {
            tokio::spawn(broadcast(app.clone(), user, SignalKind::Online));
        }
        Some(at) if app.presences.disconnect_elsewhere(user, node, at) => {
            tokio::spawn(go_offline_later(app.clone(), user));
        }
        None | Some(_) => {}
    }
}
