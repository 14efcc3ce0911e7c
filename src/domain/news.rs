//! News: what is written to the feeds of those whom a change concerns, in the transaction of the change.
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

/// What one user is to learn.
#[derive(Debug, Clone, Copy)]
pub(super) struct News {
    /// Whose feed it is for.
    pub(super) user: UserId,
    /// What it is about, unless it is about a user.
    pub(super) message: Option<MessageId>,
    /// The other member of the message's conversation, or the user that it is about.
    pub(super) peer: UserId,
}

/// For both members of a conversation: something happened to a message of it.
pub(super) fn to_both(message: MessageId, conversation: ConversationId) -> [News; 2] {
    let [one, other] = conversation.members();
    [(one, other), (other, one)].map(|(user, peer)| News { user, message: Some(message), peer })
}

/// Writes news to feeds. Those whose feeds they are are locked.
pub(super) fn announce(conn: &mut Conn<'_>, kind: Kind, news: &[News], at: Timestamp) -> Result<()> {
    let mut news_of: BTreeMap<UserId, Vec<&News>> = BTreeMap::new();
    for news in news {
        news_of.entry(news.user).or_default().push(news);
    }
    // One statement for all who get the same number of entries.
    let mut by_count: BTreeMap<i64, Vec<UserId>> = BTreeMap::new();
    for (user, news) in &news_of {
        by_count.entry(i64::try_from(news.len()).unwrap_or(i64::MAX)).or_default().push(*user);
    }
    let mut entries = Vec::with_capacity(news.len());
    for (count, users) in by_count {
        for (user, last) in store::users::advance_feeds(conn, &users, count)? {
            let positions = last - count + 1..;
            let news = news_of.remove(&user).unwrap_or_default();
            entries.extend(
                positions
                    .zip(news)
                    .map(|(position, news)| (user, Entry::new(position, kind, news.message, news.peer, at))),
            );
        }
    }
    Ok(store::feed::append(conn, &entries)?)
}
