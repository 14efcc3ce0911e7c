//! Appends feed entries for every user that a change concerns, in the transaction of the change.
//!
//! Not here: reading feeds.

use std::collections::BTreeMap;

use super::Result;
use crate::{
    model::{
        feed::{Entry, Kind},
        ids::{ConversationId, MessageId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// An entry that has no position yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewEntry {
    /// Whose feed it is for.
    pub(super) user: UserId,
    /// The message that it is about; `None` if it is about a user.
    pub(super) message: Option<MessageId>,
    /// The other member of the message's conversation, or the user that it is about.
    pub(super) peer: UserId,
}

/// Entries about a message for both members of its conversation.
pub(super) fn for_both_members(message: MessageId, conversation: ConversationId) -> [NewEntry; 2] {
    let [one, other] = conversation.members();
    [(one, other), (other, one)].map(|(user, peer)| NewEntry { user, message: Some(message), peer })
}

/// Appends entries to feeds, whose users must be locked.
pub(super) fn append(conn: &mut Conn<'_>, kind: Kind, new: &[NewEntry], at: Timestamp) -> Result<()> {
    let mut new_of: BTreeMap<UserId, Vec<&NewEntry>> = BTreeMap::new();
    for entry in new {
        new_of.entry(entry.user).or_default().push(entry);
    }
    // One statement for all users that get the same number of entries.
    let mut by_count: BTreeMap<i64, Vec<UserId>> = BTreeMap::new();
    for (user, entries) in &new_of {
        by_count.entry(i64::try_from(entries.len()).unwrap_or(i64::MAX)).or_default().push(*user);
    }
    let mut entries = Vec::with_capacity(new.len());
    for (count, users) in by_count {
        for (user, last) in store::users::advance_feeds(conn, &users, count)? {
            let positions = last - count + 1..;
            let its = new_of.remove(&user).unwrap_or_default();
            entries.extend(
                positions.zip(its).map(|(position, new)| (user, Entry::new(position, kind, new.message, new.peer, at))),
            );
        }
    }
    Ok(store::feed::append(conn, &entries)?)
}
