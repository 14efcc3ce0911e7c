//! Deleting messages for good once they are older than their retention. Nobody can read them any more from the moment at which they
//! are: the store hides them.
//!
//! It takes two steps. The first one deletes the text and the `clientId`, as an erasure of an account does, but no event says so: clients
//! know the retention from `server`, and whoever comes back with a cursor from before gets a reset. Once its words and vectors
//! are removed from the indexes, the second one removes the row.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Error, Result, steps::step};
use crate::{
    app::App,
    model::{
        ids::{MessageId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn, expiry::Expired},
};

/// 'Expi': the lock of the server that deletes.
const LOCK: i32 = 0x4578_7069;
/// How often it looks for messages that are too old among those with the lowest ids.
const INTERVAL: Duration = Duration::from_mins(1);
/// How often it looks among all messages.
const FULL_INTERVAL: Duration = Duration::from_hours(24);
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

/// Hides messages that are too old, and deletes them, now and periodically.
pub async fn run_job(app: Arc<App>) {
    while let Err(error) = hide_expired(&app).await {
        tracing::warn!(%error, "--message-retention could not be set");
        tokio::time::sleep(INTERVAL).await;
    }
    if app.message_retention.is_some() {
        tokio::join!(delete_periodically(&app), forget_periodically(&app));
    } else {
        forget_periodically(&app).await;
    }
}

/// From now on messages that are older than the retention of this server are hidden, by all servers of the database.
pub async fn hide_expired(app: &App) -> Result<()> {
    let new = app.message_retention;
    let former = app.store.read(store::server::message_retention).await?;
    if former != new {
        app.store.write(move |conn| store::server::set_message_retention(conn, new)).await?;
        let [former, new] = [former, new].map(|retention| retention.map(|it| it.as_secs_f64() / 86_400.0));
        tracing::info!(
            former_days = former,
            days = new,
            "--message-retention has changed, for all servers of the database"
        );
    }
    Ok(())
}

async fn delete_periodically(app: &App) {
    let mut last_full: Option<Instant> = None;
    loop {
        let is_full = last_full.is_none_or(|last| last.elapsed() >= FULL_INTERVAL);
        match run(app, if is_full { Extent::All } else { Extent::Oldest }).await {
            Ok(true) if is_full => last_full = Some(Instant::now()),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "messages older than --message-retention could not be deleted"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn forget_periodically(app: &App) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        forget_read(app).await;
    }
}

/// Forgets what followers share of their feeds, which may have become too old, also if it is another server that has a retention.
pub async fn forget_read(app: &App) {
    let retention = app.store.read(store::server::message_retention).await;
    // If it cannot be read, there may be one.
    if retention.is_ok_and(|retention| retention.is_none()) {
        return;
    }
    app.notifier.forget_read();
}

/// Whether it was run here: one of several servers is enough.
async fn run(app: &App, extent: Extent) -> Result<bool> {
    let Some(_lock) = app.store.try_lock(LOCK).await? else { return Ok(false) };
    let deleted = delete_expired(app, extent).await?;
    if deleted > 0 {
        tracing::info!(deleted, "messages older than --message-retention were deleted");
    }
    Ok(true)
}

/// Deletes messages that are hidden as they are too old, in batches that do not block other writers for long; gives the
/// number of those whose texts were still there.
pub async fn delete_expired(app: &App, extent: Extent) -> Result<usize> {
    let (mut deleted, mut after) = (0, 0);
    while let Some(from) = app.store.read(move |conn| store::expiry::next_id(conn, after)).await? {
        let deleting = async {
            let through = from.saturating_add(LOOK - 1);
            let expired = app.store.read(move |conn| store::expiry::expired(conn, (from, through), BATCH)).await?;
            let is_full = i64::try_from(expired.len()).is_ok_and(|count| count == BATCH);
            let last = expired.last().filter(|_| is_full).map_or(through, |last| last.id.key());
            let is_end = expired.is_empty() && extent == Extent::Oldest;
            Ok::<_, Error>((is_end, delete_batch(app, expired).await?, last))
        };
        let Some((is_end, count, last)) = step(deleting).await? else { continue };
        if is_end {
            break;
        }
        (deleted, after) = (deleted + count, last);
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
        let counted = delete_texts(conn, &live, at)?;
        store::expiry::remove(conn, &deleted)?;
        Ok::<_, Error>(counted)
    };
    let invalidate = move |(_, members): &(usize, Vec<UserId>)| {
        notifier.invalidate(members.iter().copied());
        unindexed.notify_one();
    };
    Ok(app.store.write_then(work, invalidate).await?.0)
}

/// Deletes what can be read of messages; gives how many there still were, and their members.
fn delete_texts(conn: &mut Conn<'_>, live: &[Expired], at: Timestamp) -> Result<(usize, Vec<UserId>)> {
    let ids: Vec<MessageId> = live.iter().map(|message| message.id).collect();
    // Those that nobody deleted meanwhile.
    let kept = store::expiry::kept_of(conn, &ids)?;
    let messages: Vec<&Expired> = live.iter().filter(|message| kept.contains(&message.id)).collect();
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    if ids.is_empty() {
        return Ok((0, Vec::new()));
    }
    let last_of: BTreeMap<UserId, MessageId> =
        messages.iter().flat_map(|it| [(it.sender_id, it.id), (it.receiver_id, it.id)]).collect();
    // First of all: every transaction changes users before messages, which prevents deadlocks with locks of whole tables.
    store::feed::note_trimmed(conn, &last_of)?;
    store::messages::erase(conn, &ids, at)?;
    store::indexing::note_changes(conn, &ids)?;
    store::members::decrement_unread(conn, &ids)?;
    Ok((ids.len(), last_of.into_keys().collect()))
}
