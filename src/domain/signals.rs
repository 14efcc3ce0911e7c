//! Signals: who types, and the subscriptions to it and to [presence](super::presences).

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};

use super::{Rejection, Result, Snapshot, Viewer, policy, presences::PresenceGuard, snapshot, users::require_user};
use crate::{
    app::App,
    model::{
        ids::{ConversationId, UserId},
        signals::{Signal, SignalKind},
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
        app.relay.queue_signal(peer, signal);
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
    app.store.read(move |conn| require_user(conn, user)).await?;
    let presence = PresenceGuard::acquire(app, viewer, user);
    let state = (app.clone(), viewer.clone(), subscription, presence);
    Ok(stream::try_unfold(state, move |(app, viewer, mut subscription, presence)| async move {
        loop {
            let Some(signal) = subscription.next().await else { return Ok(None) };
            // Boxed to keep the future of a waiting subscriber small.
            if let Some(from) = Box::pin(sender(&app, &viewer, signal, user)).await? {
                return Ok(Some(((signal, from), (app, viewer, subscription, presence))));
            }
        }
    }))
}

/// The user who sent a signal; `None` if they are erased, or one of the two has blocked the other: then all that is heard is that they are
/// offline from now on.
async fn sender(app: &App, viewer: &Viewer, signal: Signal, subscriber: UserId) -> Result<Option<User>> {
    let find = move |conn: &mut Conn<'_>| {
        let blocked =
            signal.kind != SignalKind::Offline && store::blocks::exists_between(conn, signal.user, subscriber)?;
        Ok::<_, store::Error>(store::users::by_ids(conn, &[signal.user])?.pop().filter(|_| !blocked))
    };
    Ok(snapshot(app, viewer, Snapshot { one_snapshot: false, light: true }, find).await??)
}
