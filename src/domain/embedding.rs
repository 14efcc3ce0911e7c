//! Vectors of messages, made in the background by the server's embedding model: first those of messages that were edited, then
//! of new ones, then of older ones, the newest first. No send waits for it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Result, indexing::JOB_INTERVAL};
use crate::{
    app::App,
    model::{
        ids::{ConversationId, MessageId},
        messages::IndexedMessage,
        searches::Scope,
        timestamps::Timestamp,
        vectors::{Entry, Vector},
    },
    search::{EmbedError, Embedder},
    store::{self, Conn, Lock, feed::Unsettled, vectors::EmbeddingModel},
};

/// The key of the lock of PostgreSQL that the only one of several servers holds that makes vectors.
const EMBEDDING_LOCK: i32 = 0x4475_6F65;
/// Messages that are looked through for some without a vector.
const MESSAGES_PER_LOOK: i64 = 256;
/// Chunks of a former model that are removed in one transaction.
pub(super) const CHUNKS_PER_STEP: i64 = 64;
/// How long the model is left alone after a failure: at first, and at most.
pub(super) const RETRY_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(5)];
/// How often a text is tried that the model refuses.
const MAX_ATTEMPTS: i32 = 3;
/// Between two tries of such a text.
const ATTEMPT_INTERVAL: Duration = Duration::from_hours(8);

/// Gives messages vectors as they come, if the server has a model. Of several servers on one database one does. Never returns.
pub async fn run_job(app: Arc<App>) {
    let Some(embedder) = app.embedder.clone() else { return };
    let (mut indexer, mut failures) = (Indexer::new(&app, embedder), Failures::default());
    loop {
        let pause = match indexer.step().await {
            Ok(Outcome::Taken) => {
                failures = Failures::default();
                continue;
            }
            Ok(Outcome::Nothing) => {
                let _ = tokio::time::timeout(JOB_INTERVAL, app.unembedded.notified()).await;
                continue;
            }
            Ok(Outcome::Elsewhere) => JOB_INTERVAL,
            Err(error) => {
                if let EmbeddingError::Model(_) = error {
                    // The model of another server may not fail.
                    indexer.lock = None;
                    app.counters.count_embeddings("failed", 1);
                }
                failures.add(&error)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// How many messages have no vector of the server's model yet, at most `limit`; `None` without a model.
pub async fn count_pending(app: &App, limit: i64) -> Result<Option<i64>> {
    let Some(embedder) = &app.embedder else { return Ok(None) };
    let identity = embedder.identity().to_owned();
    let count = move |conn: &mut Conn<'_>| {
        let Some(model) = store::vectors::model(conn, &identity)? else {
            return store::indexing::count_outside(conn, (i64::MAX, i64::MAX), limit);
        };
        let outside = store::indexing::count_outside(conn, (model.from, model.through), limit)?;
        Ok(outside + store::vectors::count_missing(conn, &model, Scope::All, limit - outside)?)
    };
    Ok(Some(app.store.read(count).await?))
}

/// Why messages got no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// The database failed.
    #[error(transparent)]
    Domain(#[from] super::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] EmbedError),
}

impl From<store::Error> for EmbeddingError {
    fn from(error: store::Error) -> Self {
        Self::Domain(error.into())
    }
}

/// Failures in a row.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    /// How long to wait after one more. The first one is logged.
    fn add(&mut self, error: &EmbeddingError) -> Duration {
        if self.0 == 0 {
            tracing::warn!(%error, "messages get no vectors for now, so that searches by meaning do not find the newest");
        }
        let [first, most] = RETRY_INTERVALS;
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.0)).min(most);
        self.0 += 1;
        match error {
            EmbeddingError::Model(EmbedError::Misconfigured { .. }) => most,
            EmbeddingError::Model(EmbedError::Temporary { retry_after: Some(wait), .. }) => doubled.max(*wait),
            EmbeddingError::Model(_) | EmbeddingError::Domain(_) => doubled,
        }
    }
}

/// How a step ended.
pub(super) enum Outcome {
    Taken,
    Nothing,
    /// Another server makes the vectors.
    Elsewhere,
}

/// What there is to do.
enum Work {
    /// The model is new. Messages through this id count as older ones.
    AddModel(i64),
    Embed(NextMessages),
}

/// Messages that get vectors, and what is recorded once they have them.
struct NextMessages {
    /// The model as it was.
    model: EmbeddingModel,
    messages: Vec<IndexedMessage>,
    progress: Progress,
}

#[derive(Clone, Copy)]
enum Progress {
    /// Changed messages are indexed again.
    Changes,
    /// Messages were tried again that had been refused, or that were changed while another model was used.
    Attempts,
    /// All messages from one id through another have vectors.
    Range(i64, i64),
}

pub(super) struct Indexer {
    app: Arc<App>,
    embedder: Arc<Embedder>,
    /// Whether the model makes vectors like those of the index.
    is_checked: bool,
    /// Held by the only one of several servers that makes vectors.
    lock: Option<Lock>,
    earlier: Option<Unsettled>,
    /// New messages that have vectors, after the last one that is known to be committed with all before it.
    ahead: HashSet<MessageId>,
    /// The model as it was left here. If it differs now, somebody had it begin anew, and `ahead` does not hold.
    left: Option<EmbeddingModel>,
}

impl Indexer {
    pub(super) fn new(app: &Arc<App>, embedder: Arc<Embedder>) -> Self {
        let (app, ahead) = (app.clone(), HashSet::new());
        Self { app, embedder, is_checked: false, lock: None, earlier: None, ahead, left: None }
    }

    /// Gives some messages vectors, if there are any without.
    pub(super) async fn step(&mut self) -> Result<Outcome, EmbeddingError> {
        if !self.is_only_one().await? {
            return Ok(Outcome::Elsewhere);
        }
        if !self.is_checked {
            self.check_dimensions().await?;
            self.is_checked = true;
        }
        match self.next_work().await? {
            Some(Work::AddModel(through)) => self.add_model(through).await,
            Some(Work::Embed(next)) => self.embed(next).await,
            None => self.clean_up().await,
        }
    }

    /// An endpoint may have another model of the same name than before.
    async fn check_dimensions(&self) -> Result<(), EmbeddingError> {
        let identity = self.embedder.identity().to_owned();
        match self.app.store.read(move |conn| store::vectors::model(conn, &identity)).await? {
            Some(model) => fits(model, self.embedder.dimensions().await?),
            None => Ok(()),
        }
    }

    /// Adds a model, of which it must be known how many dimensions its vectors have.
    async fn add_model(&self, through: i64) -> Result<Outcome, EmbeddingError> {
        let (dimensions, identity) = (self.embedder.dimensions().await?, self.embedder.identity().to_owned());
        let add = move |conn: &mut Conn<'_>| store::vectors::add_model(conn, &identity, dimensions, through);
        self.app.store.write(add).await?;
        Ok(Outcome::Taken)
    }

    async fn embed(&mut self, next: NextMessages) -> Result<Outcome, EmbeddingError> {
        let NextMessages { model, messages, progress } = next;
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let live: Vec<_> = messages.into_iter().filter(|message| !message.is_deleted).collect();
        let vectors = self.embedder.embed_each(live.iter().map(|message| message.content.clone()).collect()).await?;
        vectors.iter().flatten().try_for_each(|vector| fits(model, vector.dimensions()))?;
        let refused = vectors.iter().filter(|vector| vector.is_none()).count();
        self.app.counters.count_embeddings("refused", refused);
        self.app.counters.count_embeddings("ok", vectors.len() - refused);
        let embedded = Embedded { ids: ids.clone(), live: live.into_iter().zip(vectors).collect() };
        let (identity, retry_at) = (self.embedder.identity().to_owned(), self.app.now().later(ATTEMPT_INTERVAL));
        let save = move |conn: &mut Conn<'_>| save(conn, &identity, model, progress, embedded, retry_at);
        let saved = self.app.store.write(save).await?;
        if self.left != Some(model) {
            self.ahead.clear();
        }
        if let Progress::Range(_, through) = progress {
            self.ahead.extend(ids);
            self.ahead.retain(|id| id.key() > through);
        }
        self.left = saved;
        Ok(Outcome::Taken)
    }

    async fn is_only_one(&mut self) -> Result<bool, store::Error> {
        if let Some(lock) = &mut self.lock
            && lock.is_held().await
        {
            return Ok(true);
        }
        self.lock = self.app.store.try_lock(EMBEDDING_LOCK).await?;
        Ok(self.lock.is_some())
    }

    async fn next_work(&mut self) -> Result<Option<Work>, store::Error> {
        let (identity, now, earlier) = (self.embedder.identity().to_owned(), self.app.now(), self.earlier.clone());
        let (ahead, left, size) = (self.ahead.clone(), self.left, self.embedder.batch_size());
        let read = move |conn: &mut Conn<'_>| {
            let unsettled = store::feed::unsettled(conn)?;
            let settled = unsettled.settled_since(earlier.as_ref().unwrap_or(&unsettled));
            let work = match store::vectors::model(conn, &identity)? {
                Some(model) => {
                    let ahead = if left == Some(model) { ahead } else { HashSet::new() };
                    next_messages(conn, model, settled, &ahead, size, now)?.map(Work::Embed)
                }
                None => settled.map(Work::AddModel),
            };
            Ok::<_, store::Error>((unsettled, settled, work))
        };
        let (unsettled, settled, work) = self.app.store.read(read).await?;
        if settled.is_some() || self.earlier.is_none() {
            self.earlier = Some(unsettled);
        }
        Ok(work)
    }

    /// Removes vectors of former models once all messages have some of this one.
    async fn clean_up(&self) -> Result<Outcome, EmbeddingError> {
        let identity = self.embedder.identity().to_owned();
        let former = move |conn: &mut Conn<'_>| {
            let model = store::vectors::model(conn, &identity)?.filter(|model| model.from == 0);
            let all = if model.is_some() { store::vectors::models(conn)? } else { Vec::new() };
            Ok::<_, store::Error>(all.into_iter().find(|other| Some(other) != model.as_ref()))
        };
        let Some(former) = self.app.store.read(former).await? else { return Ok(Outcome::Nothing) };
        let remove = move |conn: &mut Conn<'_>| {
            store::indexing::lock(conn)?;
            // Whoever goes back to it must not take it for complete.
            store::vectors::set_range(conn, &former, (former.through + 1, former.through))?;
            if store::vectors::delete_chunks(conn, &former, CHUNKS_PER_STEP)? == 0 {
                store::vectors::delete_model(conn, &former)?;
            }
            Ok::<_, store::Error>(())
        };
        self.app.store.write(remove).await?;
        Ok(Outcome::Taken)
    }
}

/// Whether vectors of so many dimensions can be added to those of the index.
fn fits(model: EmbeddingModel, dimensions: usize) -> Result<(), EmbeddingError> {
    if model.has_dimensions(dimensions) {
        return Ok(());
    }
    let reason = format!(
        "it makes vectors of {dimensions} dimensions, unlike those of the index: run `duologue reindex --vectors`"
    );
    Err(EmbedError::Misconfigured { reason }.into())
}

/// The next messages that have no vector, if there are some. All through `settled` are committed.
fn next_messages(
    conn: &mut Conn<'_>,
    model: EmbeddingModel,
    settled: Option<i64>,
    ahead: &HashSet<MessageId>,
    size: usize,
    now: Timestamp,
) -> Result<Option<NextMessages>, store::Error> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX);
    let next = |messages, progress| Ok(Some(NextMessages { model, messages, progress }));
    let changed = store::indexing::changes(conn, true, limit)?;
    if !changed.is_empty() {
        return next(store::indexing::messages_by_ids(conn, &changed)?, Progress::Changes);
    }
    let refused = store::vectors::failures(conn, &model, now, limit)?;
    if !refused.is_empty() {
        return next(store::indexing::messages_by_ids(conn, &refused)?, Progress::Attempts);
    }
    let mut newer = store::indexing::messages_after(conn, model.through, MESSAGES_PER_LOOK)?;
    if !newer.is_empty() {
        let is_end = i64::try_from(newer.len()).is_ok_and(|count| count < MESSAGES_PER_LOOK);
        let looked_through = newer.last().filter(|_| !is_end).map_or(i64::MAX, |message| message.id.key());
        newer.retain(|message| !ahead.contains(&message.id));
        let is_cut = newer.len() > size;
        newer.truncate(size);
        let last = newer.last().filter(|_| is_cut).map_or(looked_through, |message| message.id.key());
        let through = settled.map_or(model.through, |settled| settled.min(last).max(model.through));
        if !newer.is_empty() || through > model.through {
            return next(newer, Progress::Range(model.from, through));
        }
    }
    if model.from == 0 {
        return Ok(None);
    }
    let older = store::indexing::messages_before(conn, model.from, limit)?;
    let is_last = i64::try_from(older.len()).is_ok_and(|count| count < limit);
    let from = older.last().filter(|_| !is_last).map_or(0, |message| message.id.key());
    next(older, Progress::Range(from, model.through))
}

/// Messages and their vectors; `None` for those that were refused.
struct Embedded {
    /// All of them.
    ids: Vec<MessageId>,
    /// Those that were not deleted.
    live: Vec<(IndexedMessage, Option<Vector>)>,
}

/// Saves vectors of messages that were not changed meanwhile, and records what was done. Gives the model as it is then; `None` if somebody
/// had it begin anew.
fn save(
    conn: &mut Conn<'_>,
    identity: &str,
    model: EmbeddingModel,
    progress: Progress,
    Embedded { mut ids, live }: Embedded,
    retry_at: Timestamp,
) -> Result<Option<EmbeddingModel>, store::Error> {
    store::indexing::lock(conn)?;
    if store::vectors::model(conn, identity)? != Some(model) {
        return Ok(None);
    }
    store::indexing::lock_changes(conn, &ids)?;
    let now = store::indexing::messages_by_ids(conn, &ids)?;
    let versions: HashMap<_, _> = now.iter().filter(|now| !now.is_deleted).map(|now| (now.id, now.version)).collect();
    let mut of_conversation: BTreeMap<ConversationId, Vec<(Entry, Vector)>> = BTreeMap::new();
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (message, vector) in live {
        // One that was edited since is noted as changed.
        if versions.get(&message.id) != Some(&message.version) {
            continue;
        }
        done.push(message.id);
        match vector {
            Some(vector) => {
                of_conversation.entry(message.conversation_id()).or_default().push((message.entry(), vector));
            }
            None => refused.push(message.id),
        }
    }
    for (conversation, vectors) in of_conversation {
        store::vectors::add(conn, &model, conversation, &vectors)?;
    }
    for message in &refused {
        store::vectors::note_failure(conn, &model, *message, retry_at, MAX_ATTEMPTS)?;
    }
    match progress {
        Progress::Changes => {
            store::vectors::note_missing(conn, &model, &done)?;
            // What was deleted or hidden gets none.
            done.extend(now.iter().filter(|now| now.is_deleted).map(|now| now.id));
            store::indexing::finish_removed(conn, &done)?;
        }
        Progress::Attempts => {
            // Those too that were deleted, or edited: there is nothing to try again.
            ids.retain(|id| !refused.contains(id));
            store::vectors::forget_failures(conn, &model, &ids)?;
        }
        Progress::Range(from, through) => {
            store::vectors::set_range(conn, &model, (from, through))?;
            return Ok(Some(model.with_range(from, through)));
        }
    }
    Ok(Some(model))
}
