//! Deleting messages for good once they are older than their retention.
//!
//! It takes two steps. The first one deletes the text and the `clientId`, as an erasure of an account does, but no event says so: clients
//! know the retention from `server`, and whoever comes back with a cursor from before gets a reset. Once its words and vectors
//! are removed from the indexes, the second one removes the row.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Error, Result};
use crate::{
    app::App,
    model::{
        ids::{MessageId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn, expiry::Expired},
};

/// Messages in one transaction: more would hold others up for longer than some milliseconds.
const BATCH: i64 = 100;
/// Ids among which a read looks for them: it takes some milliseconds.
const LOOK: i64 = 10_000;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// From the lowest id on, as far as there are messages that are too old among the next 10,000 ids.
    Oldest,
    /// All messages. Imported ones may be older than those with lower ids.
    All,
}

/// Deletes messages that were sent longer ago than the retention, in batches that do not block other writers for long; gives the
/// number of those that could still be read.
pub async fn delete_expired(app: &App, retention: Duration, extent: Extent) -> Result<usize> {
    let before = app.now().earlier(retention);
    let (mut deleted, mut after) = (0, 0);
    while let Some(from) = app.store.read(move |conn| store::expiry::next_id(conn, after)).await? {
        let begun = Instant::now();
        let through = from.saturating_add(LOOK - 1);
        let look = move |conn: &mut Conn<'_>| store::expiry::sent_before(conn, (from, through), before, BATCH);
        let expired = app.store.read(look).await?;
        if expired.is_empty() && extent == Extent::Oldest {
            break;
        }
        let is_full = i64::try_from(expired.len()).is_ok_and(|count| count == BATCH);
        let last = expired.last().filter(|_| is_full).map_or(through, |last| last.id.key());
        match delete_batch(app, expired).await {
            Ok(count) => (deleted, after) = (deleted + count, last),
            // It is tried again.
            Err(Error::Busy | Error::Overloaded(_)) => {}
            Err(error) => return Err(error),
        }
        // At least half of the time is left to others.
        tokio::time::sleep(begun.elapsed()).await;
    }
    Ok(deleted)
}

/// Deletes the texts of some, and the rows of those that have no text any more; gives the number of the texts.
async fn delete_batch(app: &App, expired: Vec<Expired>) -> Result<usize> {
    if expired.is_empty() {
        return Ok(0);
    }
    let at = app.now();
    let (notifier, unindexed) = (app.notifier.clone(), app.unindexed.clone());
    let work = move |conn: &mut Conn<'_>| {
        let members: Vec<UserId> = expired.iter().flat_map(|it| [it.sender_id, it.receiver_id]).collect();
        store::users::lock(conn, &members)?;
        let (deleted, live): (Vec<Expired>, Vec<Expired>) = expired.into_iter().partition(|it| it.is_deleted);
        let told = delete_texts(conn, &live.iter().map(|it| it.id).collect::<Vec<_>>(), at)?;
        store::expiry::remove(conn, &deleted)?;
        Ok::<_, Error>(told)
    };
    let invalidate = move |(_, members): &(usize, Vec<UserId>)| {
        notifier.invalidate(members.iter().copied());
        unindexed.notify_one();
    };
    Ok(app.store.write_then(work, invalidate).await?.0)
}

/// Deletes what can be read of messages; gives how many there still were, and their members.
fn delete_texts(conn: &mut Conn<'_>, ids: &[MessageId], at: Timestamp) -> Result<(usize, Vec<UserId>)> {
    // Those that nobody deleted meanwhile.
    let mut messages = store::messages::by_ids(conn, ids)?;
    messages.sort_unstable_by_key(|message| message.id);
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok((0, Vec::new()));
    }
    let last_of: BTreeMap<UserId, MessageId> =
        messages.iter().flat_map(|it| [(it.sender_id, it.id), (it.receiver_id, it.id)]).collect();
    // First of all: every transaction changes users before messages, which prevents deadlocks with locks of whole tables.
    for (user, last) in &last_of {
        store::feed::note_trimmed(conn, *user, last.key())?;
    }
    store::messages::erase(conn, &ids, at)?;
    store::indexing::note_changes(conn, &ids)?;
    for message in &messages {
        store::members::decrement_unread(conn, (message.receiver_id, message.sender_id), message.id)?;
    }
    Ok((ids.len(), last_of.into_keys().collect()))
}
