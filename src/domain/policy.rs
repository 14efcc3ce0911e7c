//! Who may do what: pure decisions, all in this place.

use super::{Error, Result, Viewer};
use crate::{
    model::{
        ids::{ConversationId, UserId},
        messages::{List, Message},
    },
    store::users::Addresses,
};

/// Why somebody else's feed and signals are not for the viewer: whether there is such a user or not.
pub(super) const NOT_YOURS_TO_FOLLOW: Error = Error::Forbidden("You may only follow your own feed and signals.");

/// To do something in a user's name: oneself, an admin, a service token, or anybody on an open server.
pub(super) fn may_act_for(viewer: &Viewer, user: UserId) -> bool {
    viewer.acts_for_everyone() || viewer.user() == Some(user)
}

/// Everybody who signed in sees who is there: they may want to write to them.
pub(super) fn sees_users(viewer: &Viewer) -> bool {
    !viewer.is_nobody()
}

/// An address is for its user, and for those who act for everyone.
pub(super) fn sees_email(viewer: &Viewer, user: UserId) -> bool {
    may_act_for(viewer, user)
}

/// By which addresses a user can be found.
pub(super) fn findable(viewer: &Viewer) -> Option<Addresses> {
    if viewer.acts_for_everyone() { Some(Addresses::All) } else { viewer.user().map(Addresses::Of) }
}

/// What two say to each other is for the two.
pub(super) fn sees_conversation(viewer: &Viewer, conversation: ConversationId) -> bool {
    viewer.acts_for_everyone() || viewer.user().is_some_and(|user| conversation.peer_of(user).is_some())
}

/// A client's own ids are for who sent them.
pub(super) fn sees_client_id(viewer: &Viewer, message: &Message) -> bool {
    may_act_for(viewer, message.sender_id)
}

/// The part of a list of messages that the viewer sees; `None` if it is nothing.
pub(super) fn seen_of(viewer: &Viewer, list: List) -> Option<List> {
    if viewer.acts_for_everyone() {
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

/// `Ok` if it is allowed. Nobody is asked to sign in first, whatever it is; others learn the reason.
pub(super) fn require(viewer: &Viewer, allowed: bool, otherwise: impl Into<Error>) -> Result<()> {
    if allowed {
        Ok(())
    } else if viewer.is_nobody() {
        Err(Error::Unauthenticated)
    } else {
        Err(otherwise.into())
    }
}
