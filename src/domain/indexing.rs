//! Keeping the index of words up to date in the background: the words of new and edited messages on SQLite, many at once (on PostgreSQL
//! each send and each edit writes its own), those of messages that were there before words were indexed, and the removal of what was
//! deleted. Former vectors are removed here too, so that they go also while there is no model.
//!
//! Not here: new vectors (`domain::embedding`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

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
/// Bytes of texts and former words in one transaction, unless a single message has more: SQLite removes a word in some microseconds, so
/// that the longest text, of 10,000 words, takes about 60 milliseconds.
const BYTES_PER_STEP: usize = 16 * 1024;
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
    while take_step(app).await?.is_some() {}
    Ok(())
}

/// Takes the next step and gives how many messages were indexed; `None` if there is nothing to do.
async fn take_step(app: &App) -> Result<Option<usize>> {
    let Some(texts) = app.store.read(split_next).await? else { return Ok(None) };
    let taking = async {
        let take = move |conn: &mut Conn<'_>| {
            store::indexing::lock(conn)?;
            Next::find(conn)?.map_or(Ok(0), |next| next.take(conn, texts))
        };
        let taken = app.store.write(take).await;
        app.unembedded.notify_one();
        taken
    };
    Ok(Some(step(taking).await?.unwrap_or_default()))
}

/// The words of texts, by message and version: they are split before the transaction, for which others wait.
type SplitTexts = HashMap<(MessageId, i32), MessageWords>;

/// Splits the texts of what is to do next, if there is something.
fn split_next(conn: &mut Conn<'_>) -> Result<Option<SplitTexts>> {
    let texts = match Next::find(conn)? {
        None => return Ok(None),
        // On PostgreSQL an edit has written its words.
        Some(Next::Remove(changed)) if matches!(conn, Conn::Sqlite(_)) => {
            store::indexing::messages_by_ids(conn, &changed)?
        }
        Some(Next::Remove(_) | Next::BeginAnew) => Vec::new(),
        Some(Next::Index(texts) | Next::IndexEarlier(texts, _)) => texts,
    };
    let live = texts.iter().filter(|message| !message.is_deleted);
    Ok(Some(live.map(|message| ((message.id, message.version), words_of(message))).collect()))
}

fn words_of(message: &IndexedMessage) -> MessageWords {
    MessageWords::of(message.id, message.conversation_id(), &message.content)
}

/// Whether words were split in another way before, and no server does so any more.
fn is_outdated(conn: &mut Conn<'_>, index: &WordsIndex) -> Result<bool> {
    Ok(index.version < words::VERSION && store::nodes::version_without(conn, SPLIT_SINCE)?.is_none())
}

/// What is next to do.
enum Next {
    /// Remove what is indexed of these messages, which were changed.
    Remove(Vec<MessageId>),
    /// Words were split in another way before: index all messages again.
    BeginAnew,
    /// Index these, which were sent after all others.
    Index(Vec<IndexedMessage>),
    /// Index these earlier ones, and whether none are before them.
    IndexEarlier(Vec<IndexedMessage>, bool),
}

impl Next {
    fn find(conn: &mut Conn<'_>) -> Result<Option<Self>> {
        let mut changed = store::indexing::changes(conn, false, REMOVALS_PER_STEP)?;
        if !changed.is_empty() {
            // On PostgreSQL only vectors are left to remove.
            if matches!(conn, Conn::Sqlite(_)) {
                let mut sizes = store::words::sizes(conn, &changed)?;
                for message in store::indexing::messages_by_ids(conn, &changed)? {
                    *sizes.entry(message.id).or_default() += message.content.len();
                }
                changed.truncate(fitting(changed.iter().map(|id| sizes.get(id).copied().unwrap_or_default())));
            }
            return Ok(Some(Self::Remove(changed)));
        }
        let index = store::indexing::words(conn)?;
        if index.version > words::VERSION {
            // That is left to the servers of a later release.
            return Ok(None);
        }
        if is_outdated(conn, &index)? {
            return Ok(Some(Self::BeginAnew));
        }
        let size = |message: &IndexedMessage| message.content.len();
        let mut sent = store::indexing::messages_after(conn, index.through, WORDS_PER_STEP)?;
        if !sent.is_empty() {
            sent.truncate(fitting(sent.iter().map(size)));
            return Ok(Some(Self::Index(sent)));
        }
        if index.from == 0 {
            return Ok(None);
        }
        let mut earlier = store::indexing::messages_before(conn, index.from, WORDS_PER_STEP)?;
        let (found, fit) = (earlier.len(), fitting(earlier.iter().map(size)));
        earlier.truncate(fit);
        let is_last = fit >= found && i64::try_from(found).is_ok_and(|found| found < WORDS_PER_STEP);
        Ok(Some(Self::IndexEarlier(earlier, is_last)))
    }

    /// Gives how many messages were indexed.
    fn take(self, conn: &mut Conn<'_>, texts: SplitTexts) -> Result<usize> {
        let index = store::indexing::words(conn)?;
        match self {
            Self::Remove(changed) => remove(conn, &changed, &index, texts).map(|()| 0),
            Self::BeginAnew => begin_words_anew(conn).map(|()| 0),
            Self::Index(sent) => {
                index_all(conn, &sent, texts)?;
                let through = sent.last().map_or(index.through, |last| last.id.key());
                store::indexing::set_words(conn, WordsIndex { through, ..index })?;
                Ok(sent.len())
            }
            Self::IndexEarlier(earlier, is_last) => {
                let ids: Vec<_> = earlier.iter().map(|message| message.id).collect();
                // They may have words that were split in another way. An edit that is under way waits for this, or this for it: then its
                // text is read.
                store::words::delete(conn, &ids)?;
                let earlier = store::indexing::messages_by_ids(conn, &ids)?;
                index_all(conn, &earlier, texts)?;
                let from = ids.last().filter(|_| !is_last).map_or(0, |id| id.key());
                store::indexing::set_words(conn, WordsIndex { from, ..index })?;
                Ok(ids.len())
            }
        }
    }
}

/// How many of these sizes fit in a step, which has one at least.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0;
    let fits = |size: &usize| {
        total += size;
        total <= BYTES_PER_STEP
    };
    sizes.take_while(fits).count().max(1)
}

fn index_all(conn: &mut Conn<'_>, messages: &[IndexedMessage], mut texts: SplitTexts) -> Result<()> {
    let live = messages.iter().filter(|message| !message.is_deleted);
    // Of one that was edited since, the text is another.
    let words = live.map(|message| texts.remove(&(message.id, message.version)).unwrap_or_else(|| words_of(message)));
    Ok(store::words::add(conn, &words.collect::<Vec<_>>())?)
}

/// Indexes the names of all users and the words of all messages anew, and says how many messages are done, of how many. Searches find
/// what is done meanwhile.
pub async fn reindex_words(app: &App, viewer: &Viewer, mut progress: impl FnMut(i64, i64)) -> Result<()> {
    policy::require_operator(viewer)?;
    let mut named = Some(0);
    while let Some(after) = named {
        let index = move |conn: &mut Conn<'_>| store::users::reindex_names(conn, after, NAMES_PER_STEP);
        named = step(app.store.write(index)).await?.unwrap_or(named);
    }
    while step(app.store.write(clear_words)).await?.is_none() {}
    let total = count_pending(app, i64::MAX).await?;
    let mut done = 0;
    while let Some(taken) = take_step(app).await? {
        done = (done + i64::try_from(taken).unwrap_or_default()).min(total);
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

/// Removes the vectors of messages that were changed, and the words of those that were deleted; replaces those of edited ones, unless
/// an edit has done so itself.
fn remove(conn: &mut Conn<'_>, changed: &[MessageId], index: &WordsIndex, texts: SplitTexts) -> Result<()> {
    let models = store::vectors::models(conn)?;
    store::indexing::lock_changes(conn, changed)?;
    let mut messages = store::indexing::messages_by_ids(conn, changed)?;
    let mut by_conversation = BTreeMap::<_, Vec<_>>::new();
    for message in &messages {
        by_conversation.entry(message.conversation_id()).or_default().push(message.id);
    }
    for model in &models {
        for (conversation, messages) in &by_conversation {
            store::vectors::remove(conn, model, *conversation, messages)?;
        }
    }
    messages.retain(|message| !message.is_deleted);
    let edited: Vec<_> = messages.iter().map(|message| message.id).collect();
    let deleted: Vec<_> = changed.iter().copied().filter(|id| !edited.contains(id)).collect();
    store::words::delete(conn, &deleted)?;
    if matches!(conn, Conn::Sqlite(_)) {
        // Later ones are indexed with all that were sent since.
        messages.retain(|message| message.id.key() <= index.through);
        index_all(conn, &messages, texts)?;
    }
    store::indexing::finish_changes(conn, &deleted)?;
    if models.is_empty() {
        store::indexing::finish_changes(conn, &edited)?;
    } else {
        store::indexing::set_removed(conn, &edited)?;
    }
    Ok(())
}
