//! Keeping the index of words up to date in the background: the words of new messages on SQLite, many at once (on PostgreSQL each
//! send writes its own), those of messages that were there before words were indexed, and the removal of what was deleted. An edit
//! replaces its words itself. Former vectors are removed here too, so that they go also while there is no model.
//!
//! Not here: new vectors (`domain::embedding`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Result, Viewer, policy, steps::step};
use crate::{
    app::App,
    model::{ids::MessageId, messages::IndexedMessage, words},
    store::{self, Conn, indexing::WordsIndex, words::MessageWords},
};

/// The migration that came with this [`words::VERSION`]: a server that does not know it splits texts in another way.
const SPLIT_SINCE: &str = "20261129000002";
/// Messages whose words are indexed in one transaction: more would hold others up for longer than some milliseconds.
const WORDS_PER_STEP: i64 = 64;
/// Users whose names are indexed in one transaction.
const NAMES_PER_STEP: i64 = 100;
/// Changed messages whose former words and vectors are removed in one transaction: a removal takes about half a millisecond.
const REMOVALS_PER_STEP: i64 = 32;
/// How often a job looks for what other servers left to do, and tries again after an error of the database.
pub(super) const JOB_INTERVAL: Duration = Duration::from_secs(5);
/// How often new messages are looked for. Until then a search reads them one by one: the more come together, the less each costs.
const WORDS_INTERVAL: Duration = Duration::from_secs(2);

/// Removes what is indexed of changed texts, and indexes words that are not indexed yet. Never returns.
pub async fn run_words_job(app: Arc<App>) {
    loop {
        if let Err(error) = index_words(&app).await {
            tracing::warn!(%error, "the index of words is not up to date");
        }
        let _ = tokio::time::timeout(WORDS_INTERVAL, app.unindexed.notified()).await;
    }
}

/// Does what there is to do now for the index of words.
pub async fn index_words(app: &App) -> Result<()> {
    while has_words_to_index(app).await? {
        let taking = async {
            let taken = app.store.write(next_step).await;
            app.unembedded.notify_one();
            taken
        };
        step(taking).await?;
    }
    Ok(())
}

async fn has_words_to_index(app: &App) -> Result<bool> {
    app.store
        .read(|conn| {
            let index = store::indexing::words(conn)?;
            if !store::indexing::changes(conn, false, 1)?.is_empty() {
                return Ok(true);
            }
            Ok(index.version <= words::VERSION
                && (index.from > 0
                    || is_outdated(conn, &index)?
                    || !store::indexing::messages_after(conn, index.through, 1)?.is_empty()))
        })
        .await
}

/// Whether words were split in another way before, and no server does so any more.
fn is_outdated(conn: &mut Conn<'_>, index: &WordsIndex) -> Result<bool> {
    Ok(index.version < words::VERSION && store::nodes::version_without(conn, SPLIT_SINCE)?.is_none())
}

fn next_step(conn: &mut Conn<'_>) -> Result<()> {
    store::indexing::lock(conn)?;
    let changed = store::indexing::changes(conn, false, REMOVALS_PER_STEP)?;
    if !changed.is_empty() {
        return remove(conn, &changed);
    }
    let index = store::indexing::words(conn)?;
    if index.version > words::VERSION {
        // That is left to the servers of a later release.
        return Ok(());
    }
    if is_outdated(conn, &index)? {
        return begin_words_anew(conn);
    }
    let sent = store::indexing::messages_after(conn, index.through, WORDS_PER_STEP)?;
    if let Some(last) = sent.last() {
        index_all(conn, &sent)?;
        return Ok(store::indexing::set_words(conn, WordsIndex { through: last.id.key(), ..index })?);
    }
    let earlier = store::indexing::messages_before(conn, index.from, WORDS_PER_STEP)?;
    let earlier: Vec<_> = earlier.into_iter().map(|message| message.id).collect();
    // They may have words that were split in another way. An edit that is under way waits for this, or this for it: then its text is read.
    store::words::delete(conn, &earlier)?;
    let texts = store::indexing::messages_by_ids(conn, &earlier)?;
    index_all(conn, &texts)?;
    let is_last = earlier.len() < usize::try_from(WORDS_PER_STEP).unwrap_or_default();
    let from = earlier.last().filter(|_| !is_last).map_or(0, |id| id.key());
    Ok(store::indexing::set_words(conn, WordsIndex { from, ..index })?)
}

fn index_all(conn: &mut Conn<'_>, messages: &[IndexedMessage]) -> Result<()> {
    for message in messages.iter().filter(|message| !message.is_deleted) {
        store::words::add(conn, message.id, message.conversation_id(), &MessageWords::of(&message.content))?;
    }
    Ok(())
}

/// Indexes the names of all users and the words of all messages anew, and says how many messages are done, of how many. Searches find
/// what is done meanwhile.
pub async fn reindex_words(app: &App, viewer: &Viewer, mut progress: impl FnMut(i64, i64)) -> Result<()> {
    policy::require_operator(viewer)?;
    let mut named = Some(0);
    while let Some(after) = named {
        let step = move |conn: &mut Conn<'_>| store::users::reindex_names(conn, after, NAMES_PER_STEP);
        named = app.store.write(step).await?;
    }
    while step(app.store.write(clear_words)).await?.is_none() {}
    let total = count_pending(app, i64::MAX).await?;
    let mut done = 0;
    while has_words_to_index(app).await? {
        app.store.write(next_step).await?;
        done = (done + WORDS_PER_STEP).min(total);
        progress(done, total);
    }
    Ok(())
}

/// How many messages have words that are not indexed yet, at most `limit`.
pub async fn count_pending(app: &App, limit: i64) -> Result<i64> {
    let count = move |conn: &mut Conn<'_>| {
        let index = store::indexing::words(conn)?;
        store::indexing::count_outside(conn, (index.from, index.through), limit)
    };
    Ok(app.store.read(count).await?)
}

/// Removes the words of all messages: all count as not indexed.
fn clear_words(conn: &mut Conn<'_>) -> Result<()> {
    store::indexing::lock(conn)?;
    store::words::clear(conn)?;
    begin_words_anew(conn)
}

/// All messages count as not indexed. The words that they have are found until they are replaced.
fn begin_words_anew(conn: &mut Conn<'_>) -> Result<()> {
    let last = store::feed::last_id(conn)?;
    let through = store::indexing::words(conn)?.through.max(last);
    Ok(store::indexing::set_words(conn, WordsIndex { from: last + 1, through, version: words::VERSION })?)
}

/// Removes the vectors of messages that were changed, and the words of those that were deleted; an edit has replaced its words.
fn remove(conn: &mut Conn<'_>, changed: &[MessageId]) -> Result<()> {
    let models = store::vectors::models(conn)?;
    store::indexing::lock_changes(conn, changed)?;
    let messages = store::indexing::messages_by_ids(conn, changed)?;
    let mut by_conversation = BTreeMap::<_, Vec<_>>::new();
    for message in &messages {
        by_conversation.entry(message.conversation_id()).or_default().push(message.id);
    }
    for model in &models {
        for (conversation, messages) in &by_conversation {
            store::vectors::remove(conn, model, *conversation, messages)?;
        }
    }
    let edited: Vec<_> = messages.iter().filter(|message| !message.is_deleted).map(|message| message.id).collect();
    let deleted: Vec<_> = changed.iter().copied().filter(|id| !edited.contains(id)).collect();
    store::words::delete(conn, &deleted)?;
    store::indexing::finish_changes(conn, &deleted)?;
    if models.is_empty() {
        store::indexing::finish_changes(conn, &edited)?;
    } else {
        store::indexing::set_removed(conn, &edited)?;
    }
    Ok(())
}
