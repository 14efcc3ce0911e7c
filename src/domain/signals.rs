//! Signals: who is typing and who is online. A user is online while somebody follows their feed or their signals, and for
//! a while after.

use std::{collections::HashMap, time::Duration};

use futures_util::{Stream, stream};
use tokio::runtime::Handle;

use super::{Rejection, Result, Viewer, policy};
use crate::{
    app::App,
    events::Absence,
    model::{
        ids::{ConversationId, UserId},
        signals::{Presence, Signal, SignalKind},
        users::User,
    },
    store::{self, Conn},
};

/// Somebody who does not say again that they type has stopped after this time.
const TYPING_ENDS_AFTER: Duration = Duration::from_secs(6);

/// Lets the other member of a conversation know that somebody types, or has stopped.
pub async fn set_typing(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    conversation: ConversationId,
    typing: bool,
) -> Result<()> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    viewer.count_change(app)?;
    let peer = conversation.peer_of(user).ok_or(Rejection::NoConversation)?;
    let look = move |conn: &mut Conn<'_>| {
        let blocked = store::blocks::stands_between(conn, user, peer)?;
        Ok::<_, store::Error>((store::users::by_ids(conn, &[user, peer])?, blocked))
    };
    let (members, blocked) = app.store.read(look).await?;
    if members.len() < 2 {
        return Err(Rejection::NoConversation.into());
    }
    let ends_at = app.now().later(TYPING_ENDS_AFTER);
    let (kind, expires_at) =
        if typing { (SignalKind::Typing, Some(ends_at)) } else { (SignalKind::StoppedTyping, None) };
    if !blocked {
        app.signals.tell(peer, Signal { kind, user, conversation: Some(conversation), expires_at });
    }
    Ok(())
}

/// Listens to what a user's peers signal; with a conversation only to its other member, be there messages yet or not.
/// Who is slow misses some. Ends when the account is erased.
pub async fn listen(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
) -> Result<impl Stream<Item = Result<(Signal, User)>> + use<>> {
    policy::require(viewer, policy::may_act_for(viewer, user), policy::NOT_YOURS_TO_FOLLOW)?;
    let about = conversation.map(|id| id.peer_of(user).ok_or(Rejection::NoConversation)).transpose()?;
    // Listen first, look then: an erasure that comes in between ends this.
    let listening = app.signals.listen(user, about);
    let present = app.store.read(move |conn| store::users::feed_position(conn, user)).await?;
    present.ok_or(Rejection::NoUser(user))?;
    let attendance = Attendance::begin(app, viewer, user);
    let listener = (app.clone(), listening, attendance);
    Ok(stream::try_unfold(listener, move |(app, mut listening, attendance)| async move {
        loop {
            let Some(signal) = listening.next().await else { return Ok(None) };
            // Boxed: most listeners wait most of the time, and need no room for it then.
            if let Some(from) = Box::pin(giver(&app, signal, user)).await? {
                return Ok(Some(((signal, from), (app, listening, attendance))));
            }
        }
    }))
}

/// Who gives a signal, as they are now; `None` if they are gone, or a block stands between.
async fn giver(app: &App, signal: Signal, listener: UserId) -> Result<Option<User>> {
    let look = move |conn: &mut Conn<'_>| {
        let blocked = store::blocks::stands_between(conn, signal.user, listener)?;
        Ok::<_, store::Error>(store::users::by_ids(conn, &[signal.user])?.pop().filter(|_| !blocked))
    };
    Ok(app.store.read(look).await?)
}

/// Whether these users are online, those of whom the viewer may know it: not if one of the two has blocked the other.
pub fn presences(
    conn: &mut Conn<'_>,
    app: &App,
    viewer: &Viewer,
    users: &[UserId],
) -> Result<HashMap<UserId, Presence>> {
    if !policy::sees_users(viewer) {
        return Ok(HashMap::new());
    }
    let hidden = match viewer.user() {
        Some(me) if !viewer.acts_for_everyone() => store::blocks::among(conn, me, users)?,
        _ => Vec::new(),
    };
    let seen = users.iter().copied().filter(|user| !hidden.contains(user));
    Ok(seen.map(|user| (user, app.presences.of(user))).collect())
}

/// One connection of a user, until it is dropped.
pub(super) struct Attendance {
    app: App,
    user: UserId,
    runtime: Handle,
}

impl Attendance {
    /// `None` if it is not the user who connects: whoever watches over others does not bring them here.
    pub(super) fn begin(app: &App, viewer: &Viewer, user: UserId) -> Option<Self> {
        if !(viewer.is_everyone() || viewer.user() == Some(user)) {
            return None;
        }
        let runtime = Handle::current();
        if app.presences.enter(user) {
            runtime.spawn(announce(app.clone(), user, SignalKind::Online));
        }
        Some(Self { app: app.clone(), user, runtime })
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if self.app.presences.leave(self.user, self.app.now()) {
            self.runtime.spawn(await_return(self.app.clone(), self.user));
        }
    }
}

/// Waits to see whether a user comes back; there is one who waits, however often they come and go.
async fn await_return(app: App, user: UserId) {
    let mut wait = app.offline_after;
    loop {
        tokio::time::sleep(wait).await;
        match app.presences.absence(user, app.offline_after) {
            Absence::Gone => return announce(app, user, SignalKind::Offline).await,
            Absence::Over => return,
            Absence::Renewed(missing) => wait = missing,
        }
    }
}

/// Lets all who know a user hear that they came or went, if it is still so.
async fn announce(app: App, user: UserId, kind: SignalKind) {
    let look = move |conn: &mut Conn<'_>| {
        let mut peers = store::members::peers_of(conn, user)?;
        let blocked = store::blocks::of(conn, user)?;
        peers.retain(|peer| !blocked.contains(peer));
        Ok::<_, store::Error>((peers, blocked))
    };
    match app.store.read(look).await {
        Ok((peers, blocked)) if app.presences.of(user).online == (kind == SignalKind::Online) => {
            app.signals.tell_all(&peers, &blocked, Signal { kind, user, conversation: None, expires_at: None });
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "a presence was not told"),
    }
}
