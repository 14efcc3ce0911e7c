//! Signals: who is typing and who is online. A user is online while somebody follows their feed or their signals, and for
//! a while after.

use futures_util::{Stream, stream};
use tokio::runtime::Handle;

use super::{Rejection, Result, Viewer};
use crate::{
    app::App,
    model::{
        ids::{ConversationId, UserId},
        signals::{Presence, Signal, SignalKind},
        timestamps::Timestamp,
        users::User,
    },
    store::{self, Conn},
};

/// Milliseconds after which somebody who does not say again that they type has stopped.
const TYPING_ENDS_AFTER: i64 = 6_000;

/// Lets the other member of a conversation know that somebody types, or has stopped.
pub async fn set_typing(
    app: &App,
    _viewer: &Viewer,
    user: UserId,
    conversation: ConversationId,
    typing: bool,
) -> Result<()> {
    let peer = conversation.peer_of(user).ok_or(Rejection::NoConversation)?;
    let mut members = app.store.read(move |conn| store::users::by_ids(conn, &[user, peer])).await?;
    let is_user = |member: &User| member.id == user;
    let user = members.iter().position(is_user).map(|index| members.swap_remove(index));
    let (Some(user), false) = (user, members.is_empty()) else { return Err(Rejection::NoConversation.into()) };
    let ends_at = Timestamp::from_milliseconds(app.now().milliseconds() + TYPING_ENDS_AFTER);
    let (kind, expires_at) =
        if typing { (SignalKind::Typing, Some(ends_at)) } else { (SignalKind::StoppedTyping, None) };
    app.signals.tell(peer, &Signal { kind, user, conversation: Some(conversation), expires_at });
    Ok(())
}

/// Listens to what a user's peers signal; with a conversation only to its other member, be there messages yet or not.
/// Who is slow misses some. Ends when the account is erased.
pub async fn listen(
    app: &App,
    viewer: &Viewer,
    user: UserId,
    conversation: Option<ConversationId>,
) -> Result<impl Stream<Item = Signal> + use<>> {
    let about = conversation.map(|id| id.peer_of(user).ok_or(Rejection::NoConversation)).transpose()?;
    // Listen first, look then: an erasure that comes in between ends this.
    let listening = app.signals.listen(user, about);
    let present = app.store.read(move |conn| store::users::feed_position(conn, user)).await?;
    present.ok_or(Rejection::NoUser(user))?;
    let attendance = Attendance::begin(app, viewer, user);
    Ok(stream::unfold((listening, attendance), |(mut listening, attendance)| async move {
        let signal = listening.next().await?;
        Some((signal, (listening, attendance)))
    }))
}

/// Whether a user is online; `None` if the viewer may not know.
#[must_use]
pub fn presence(app: &App, _viewer: &Viewer, user: UserId) -> Option<Presence> {
    Some(app.presences.of(user))
}

/// One connection of a user, until it is dropped.
pub(super) struct Attendance {
    app: App,
    user: UserId,
    runtime: Handle,
}

impl Attendance {
    pub(super) fn begin(app: &App, _viewer: &Viewer, user: UserId) -> Self {
        let runtime = Handle::current();
        if app.presences.enter(user) {
            runtime.spawn(announce(app.clone(), user, SignalKind::Online));
        }
        Self { app: app.clone(), user, runtime }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let (app, user) = (self.app.clone(), self.user);
        let Some(departure) = app.presences.leave(user, app.now()) else { return };
        self.runtime.spawn(async move {
            tokio::time::sleep(app.offline_after).await;
            if app.presences.depart(user, departure) {
                announce(app, user, SignalKind::Offline).await;
            }
        });
    }
}

/// Lets all who know a user hear that they came or went. An erased user does neither.
async fn announce(app: App, user: UserId, kind: SignalKind) {
    let look = move |conn: &mut Conn<'_>| {
        Ok::<_, store::Error>((store::users::by_ids(conn, &[user])?.pop(), store::members::peers_of(conn, user)?))
    };
    match app.store.read(look).await {
        Ok((Some(user), peers)) => {
            app.signals.tell_all(&peers, &Signal { kind, user, conversation: None, expires_at: None });
        }
        Ok((None, _)) => {}
        Err(error) => tracing::debug!(%error, "a presence was not told"),
    }
}
