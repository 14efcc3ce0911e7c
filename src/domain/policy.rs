//! The authorization policy: pure decisions, all in this file.

use super::{Error, Result, Viewer};
use crate::{
    model::{
        ids::{ConversationId, UserId},
        messages::{List, Message},
        searches::Scope,
    },
    store::user_pages::Addresses,
};

/// The error for another user's feed and signals, whether there is such a user or not.
pub(super) const NOT_OWN_FEED: Error = Error::Forbidden("You may only follow your own feed and signals.");

/// Whether the viewer may act as a user: as themselves, or as a privileged viewer.
pub(super) fn may_act_for(viewer: &Viewer, user: UserId) -> bool {
    viewer.is_privileged() || viewer.user() == Some(user)
}

/// Whether the viewer may change the passwords and addresses of those they may act for. Who comes with a token of another
/// issuer may not: what they set would outlive that token, and let them sign in as who the issuer did not mean.
pub(super) fn may_change_credentials(viewer: &Viewer) -> bool {
    viewer.is_privileged() || viewer.session().is_some()
}

/// All authenticated viewers see all users, so that they can write to them.
pub(super) fn sees_users(viewer: &Viewer) -> bool {
    !viewer.is_anonymous()
}

/// An address is visible to its user and to privileged viewers.
pub(super) fn sees_email(viewer: &Viewer, user: UserId) -> bool {
    may_act_for(viewer, user)
}

/// The addresses that a search by the viewer may match.
pub(super) fn searchable_addresses(viewer: &Viewer) -> Option<Addresses> {
    if viewer.is_privileged() { Some(Addresses::All) } else { viewer.user().map(Addresses::Of) }
}

/// A conversation is visible to its members and to privileged viewers.
pub(super) fn sees_conversation(viewer: &Viewer, conversation: ConversationId) -> bool {
    viewer.is_privileged() || viewer.user().is_some_and(|user| conversation.peer_of(user).is_some())
}

/// A `clientId` is visible to the sender and to privileged viewers.
pub(super) fn sees_client_id(viewer: &Viewer, message: &Message) -> bool {
    may_act_for(viewer, message.sender_id)
}

/// The part of a list of messages that the viewer may see; `None` if there is none.
pub(super) fn visible_part(viewer: &Viewer, list: List) -> Option<List> {
    if viewer.is_privileged() {
        return Some(list);
    }
    let me = viewer.user()?;
    match list {
        List::All => Some(List::Of(me)),
        List::SentBy(user) if user != me => Some(List::Between(user, me)),
        List::ReceivedBy(user) if user != me => Some(List::Between(me, user)),
        List::SentBy(_) | List::ReceivedBy(_) => Some(list),
        List::Conversation(conversation) => conversation.peer_of(me).map(|_| list),
        List::Of(user) => (user == me).then_some(list),
        List::Between(sender, receiver) => (sender == me || receiver == me).then_some(list),
    }
}

/// The part of the messages of a search that the viewer may see; `None` if there is none.
pub(super) fn visible_scope(viewer: &Viewer, scope: Scope) -> Option<Scope> {
    if viewer.is_privileged() {
        return Some(scope);
    }
    let me = viewer.user()?;
    match scope {
        Scope::All => Some(Scope::Of(me)),
        Scope::Of(user) => (user == me).then_some(scope),
        Scope::Conversation(conversation) => conversation.peer_of(me).map(|_| scope),
    }
}

/// `Ok` for the operator at the command line alone.
pub(super) fn require_operator(viewer: &Viewer) -> Result<()> {
    require(viewer, viewer.is_operator(), Error::Forbidden("Only the operator of the server may do this."))
}

/// `Ok` for everybody but anonymous viewers: to them a list would look as if there were nothing.
pub(super) fn require_authenticated(viewer: &Viewer) -> Result<()> {
    if viewer.is_anonymous() { Err(Error::Unauthenticated) } else { Ok(()) }
}

/// `Ok` if it is allowed. An anonymous viewer gets [`Error::Unauthenticated`], any other one the given error.
pub(super) fn require(viewer: &Viewer, allowed: bool, otherwise: impl Into<Error>) -> Result<()> {
    if allowed {
        Ok(())
    } else if viewer.is_anonymous() {
        Err(Error::Unauthenticated)
    } else {
        Err(otherwise.into())
    }
}
