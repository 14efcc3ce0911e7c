//! Signals: typing and presence. A user is online while a client of theirs follows their feed or their signals, and for a
//! while after.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::runtime::Handle;

use super::{Rejection, Result, Viewer, policy};
use crate::{
    app::App,
    events::OfflineCheck,
    model::{
        ids::{ConversationId, UserId},
        signals::{Presence, Signal, SignalKind},
        users::User,
    },
    store::{self, Conn},
};

/// A typing signal expires after this time, unless it is repeated.
const TYPING_TIMEOUT: Duration = Duration::from_secs(6);

/// Signals to the other member of a conversation that a user types, or has stopped.
pub async fn set_typing(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    conversation: ConversationId,
    typing: bool,
) -> Result<()> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    viewer.check_write_rate(app)?;
    let peer = conversation.peer_of(user).ok_or(Rejection::NoConversation)?;
    let find = move |conn: &mut Conn<'_>| {
        let blocked = store::blocks::exists_between(conn, user, peer)?;
        Ok::<_, store::Error>((store::users::by_ids(conn, &[user, peer])?, blocked))
    };
    let (members, blocked) = app.store.read(find).await?;
    if members.len() < 2 {
        return Err(Rejection::NoConversation.into());
    }
    let expiry = app.now().later(TYPING_TIMEOUT);
    let (kind, expires_at) =
        if typing { (SignalKind::Typing, Some(expiry)) } else { (SignalKind::StoppedTyping, None) };
    if !blocked {
        let signal = Signal { kind, user, conversation: Some(conversation), expires_at };
        app.signals.send(peer, signal);
        app.relay.tell_of_signal(peer, signal, app.now());
    }
    Ok(())
}

/// Subscribes to the signals of a user's peers; with a conversation only to those of its other member, even before the
/// first message. A slow subscriber loses some. Ends when the account is erased.
pub async fn subscribe(
    app: &Arc<App>,
    viewer: &Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
) -> Result<impl Stream<Item = Result<(Signal, User)>> + use<>> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_OWN_FEED)?;
    let about = conversation.map(|id| id.peer_of(user).ok_or(Rejection::NoConversation)).transpose()?;
    // Subscribe before reading, so that an erasure in between ends the subscription.
    let subscription = app.signals.subscribe(user, about);
    if !app.store.read(move |conn| store::users::exists(conn, user)).await? {
        return Err(Rejection::NoUser(user).into());
    }
    let presence = PresenceGuard::acquire(app, viewer, user);
    let state = (app.clone(), subscription, presence);
    Ok(stream::try_unfold(state, move |(app, mut subscription, presence)| async move {
        loop {
            let Some(signal) = subscription.next().await else { return Ok(None) };
            // Boxed to keep the future of a waiting subscriber small.
            if let Some(from) = Box::pin(sender(&app, signal, user)).await? {
                return Ok(Some(((signal, from), (app, subscription, presence))));
            }
        }
    }))
}

/// The user who sent a signal; `None` if they are erased, or one of the two has blocked the other.
async fn sender(app: &App, signal: Signal, subscriber: UserId) -> Result<Option<User>> {
    let find = move |conn: &mut Conn<'_>| {
        let blocked = store::blocks::exists_between(conn, signal.user, subscriber)?;
        Ok::<_, store::Error>(store::users::by_ids(conn, &[signal.user])?.pop().filter(|_| !blocked))
    };
    Ok(app.store.read(find).await?)
}

/// The presence of these users, as far as the viewer may see it: not if one of the two has blocked the other.
pub fn presences(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, users: &[UserId]) -> Result<Vec<(UserId, Presence)>> {
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
            runtime.spawn(broadcast_presence(app.clone(), user, SignalKind::Online));
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
            OfflineCheck::Offline => return broadcast_presence(app, user, SignalKind::Offline).await,
            OfflineCheck::Reconnected => return,
            OfflineCheck::TooEarly(remaining) => wait = remaining,
        }
    }
}

/// Signals to all peers of a user that they went online or offline, if that is still so.
async fn broadcast_presence(app: Arc<App>, user: UserId, kind: SignalKind) {
    let find = move |conn: &mut Conn<'_>| {
        let mut peers = store::members::peers_of(conn, user)?;
        let blocked = store::blocks::of(conn, user)?;
        peers.retain(|peer| !blocked.contains(peer));
        Ok::<_, store::Error>((peers, blocked))
    };
    match app.store.read(find).await {
        Ok((peers, blocked)) if app.presences.of(user).online == (kind == SignalKind::Online) => {
            app.signals.broadcast(&peers, &blocked, Signal { kind, user, conversation: None, expires_at: None });
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "a presence was not told"),
    }
}
