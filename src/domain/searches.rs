//! Searches over messages: by words, by meaning, or by both. Only messages that the viewer may see are compared at all, and the
//! scores are made of ranks among them: nothing about other messages can be learned from them.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{Error, Rejection, Result, Viewer, policy};
use crate::{
    app::App,
    model::{
        ids::{ConversationId, MessageId, UserId},
        messages::Message,
        phrases::Phrases,
        searches::{Filter, Mode, Order, Place, Scope},
        timestamps::Timestamp,
        vectors::{QueryVector, Vector},
    },
    search::{EmbedError, nearest::Best, ranking, snippets::snippet},
    store::{self, Conn, TextBudget, vectors::EmbeddingModel},
};

/// Characters of what is looked for.
pub const MAX_TEXT: usize = 1_000;
/// Messages that a search finds at most, unless the newest are wanted first.
const MAX_HITS: usize = 200;
/// The newest messages with all words, of which the best are chosen: so many at most.
const MAX_RANKED: usize = 2_000;
/// Bytes of the texts of these messages, at most.
const MAX_RANKED_BYTES: usize = 1 << 20;
/// The ranks of words and of vectors are fused with these weights: words that all match say more.
const WEIGHTS: [f64; 2] = [2.0, 1.0];
/// Graphemes of a snippet.
const SNIPPET_SIZE: usize = 160;
/// Messages that are not indexed are counted up to so many.
const MAX_PENDING: i64 = 100_000;
/// Changed messages that are left out before the best ones are chosen. Of more, those that were deleted take the places of others, and are
/// left out afterwards.
const MAX_CHANGED: i64 = 100_000;
/// How long the searches of an answer compare vectors, at most; and no longer than half of what a request may take, so that words can
/// be found afterwards.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);
/// After how many chunks the time is looked at.
const CHUNKS_PER_LOOK: usize = 256;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Search {
    /// Words, a phrase in quotes, the beginning of a word with `*`; or a sentence.
    pub text: String,
    /// How it is compared.
    pub mode: Mode,
    /// The order of what is found.
    pub order: Order,
    /// Among the messages of this user; `None` for those of the viewer, or all if they may see all.
    pub user: Option<UserId>,
    /// Only in this conversation.
    pub conversation: Option<ConversationId>,
    /// Only what this user sent.
    pub sender: Option<UserId>,
    /// Only what was sent at this time or later.
    pub since: Option<Timestamp>,
    /// Only what was sent before this time.
    pub until: Option<Timestamp>,
    /// How many, at most.
    pub first: u16,
    /// Only what comes after this place.
    pub after: Option<Place>,
}

impl Search {
    /// Distinguishes its places from those of other searches.
    fn digest(&self) -> u64 {
        let Self { text, mode, order, user, conversation, sender, since, until, first: _, after: _ } = self;
        let mut hash = Sha256::new();
        hash.update(text);
        // It is in no UTF-8, so it ends the text; all that follows has a fixed length.
        hash.update([0xFF, *mode as u8, *order as u8]);
        let users = [*user, *sender].map(|user| user.map(UserId::key));
        let members =
            conversation.map_or([None; 2], |conversation| conversation.members().map(|user| Some(user.key())));
        let times = [*since, *until].map(|at| at.map(Timestamp::milliseconds));
        for number in users.into_iter().chain(members).chain(times) {
            hash.update(number.unwrap_or(i64::MIN).to_be_bytes());
        }
        hash.finalize().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    /// Among whose messages it is looked; `None` if the viewer may see none of them.
    fn scope(&self, viewer: &Viewer) -> Result<Option<Scope>> {
        policy::require(viewer, !viewer.is_anonymous(), Error::Unauthenticated)?;
        let not_you = Error::Forbidden("You may only search as yourself.");
        policy::require(viewer, self.user.is_none_or(|user| policy::may_act_for(viewer, user)), not_you)?;
        let all = match (self.conversation, self.user) {
            (Some(conversation), Some(user)) => conversation.peer_of(user).map(|_| Scope::Conversation(conversation)),
            (Some(conversation), None) => Some(Scope::Conversation(conversation)),
            (None, Some(user)) => Some(Scope::Of(user)),
            (None, None) => Some(Scope::All),
        };
        Ok(all.and_then(|scope| policy::visible_scope(viewer, scope)))
    }
}

/// What was found.
pub struct Found {
    /// In the order that was wanted.
    pub hits: Vec<Hit>,
    /// How it was compared.
    pub mode: Mode,
    /// Whether there is more.
    pub has_next: bool,
    /// Among whose messages; `None` if the viewer may see none of them.
    pub scope: Option<Scope>,
}

/// A message that was found.
pub struct Hit {
    /// The message.
    pub message: Message,
    /// By which it is compared with others of this search: more is better. 0 where the newest come first.
    pub score: f64,
    /// The part of the text that matches, with `**` around the words.
    pub snippet: String,
    /// Where it stands.
    pub place: Place,
}

/// What has to be done before a connection to the database is taken: counts the search against the viewer's rate limit, and turns
/// the text into a vector. `None` if words alone decide.
pub async fn prepare(app: &App, viewer: &Viewer, search: &Search) -> Result<Option<Vector>> {
    search.scope(viewer)?;
    if search.order == Order::Newest && search.mode == Mode::Semantic {
        return Err(Rejection::NewestByMeaning.into());
    }
    viewer.check_search_rate(app)?;
    let mode = search.after.map_or(search.mode, |after| after.mode);
    if mode == Mode::Text || search.order == Order::Newest {
        return Ok(None);
    }
    let is_wanted = search.mode == Mode::Semantic || search.after.is_some();
    let Some(embedder) = &app.embedder else {
        return if is_wanted { Err(Error::Disabled(NO_EMBEDDER)) } else { Ok(None) };
    };
    match embedder.embed_query(&search.text).await {
        Ok(vector) => Ok(Some(vector)),
        Err(_) if !is_wanted => Ok(None),
        Err(EmbedError::Refused { .. }) => Err(Rejection::RefusedQuery.into()),
        Err(_) => Err(Error::Overloaded(NO_VECTOR)),
    }
}

const NO_EMBEDDER: &str = "This server has no embedding model, and finds messages by their words only: search with the mode TEXT or \
                           HYBRID. `server { features }` has `search:semantic` where there is one.";
const NO_VECTOR: &str = "The embedding model does not answer. Try again, or search with the mode TEXT.";
const OTHER_DIMENSIONS: &str = "The embedding model has changed, and the index has not: its vectors cannot be compared. Search with the \
                                mode TEXT, and tell who runs this server.";

/// Until when the searches of an answer may compare vectors, from the first of them on.
#[must_use]
pub fn deadline(app: &App) -> Instant {
    Instant::now() + SCAN_TIMEOUT.min(app.request_timeout / 2)
}

/// A page of what is found. The vector is the one of [`prepare`], the deadline that of [`deadline`].
pub fn find(
    conn: &mut Conn<'_>,
    app: &App,
    viewer: &Viewer,
    search: &Search,
    vector: Option<&Vector>,
    deadline: Instant,
    budget: &mut TextBudget,
) -> Result<Found> {
    let digest = search.digest();
    if search.after.is_some_and(|after| after.digest != digest) {
        return Err(Rejection::NotPlaceOf.into());
    }
    let mode = if vector.is_some() { search.mode } else { Mode::Text };
    let Some(scope) = search.scope(viewer)? else {
        return Ok(Found { hits: Vec::new(), mode, has_next: false, scope: None });
    };
    let through = match search.after {
        Some(after) => after.through,
        // Of these messages alone: a cursor must not tell how many others there are.
        None => store::indexing::newest(conn, scope)?,
    };
    let Search { sender, until, .. } = *search;
    // Messages that are hidden would take the places of others.
    let since = search.since.max(Some(store::server::messages_from(conn)?));
    let filter = Filter { scope, sender, since, until, through: MessageId::new(through) };
    let (phrases, start) = (Phrases::parse(&search.text), Place { digest, mode, through, at: 0 });
    let page = PageReader { search, phrases, start, deadline };
    if search.order == Order::Newest {
        page.newest(conn, filter, budget)
    } else {
        page.best(conn, app, filter, vector, budget)
    }
}

/// Reads a page of what is found.
struct PageReader<'a> {
    search: &'a Search,
    phrases: Phrases,
    start: Place,
    deadline: Instant,
}

impl PageReader<'_> {
    /// The newest messages with all words.
    fn newest(&self, conn: &mut Conn<'_>, filter: Filter, budget: &mut TextBudget) -> Result<Found> {
        let last = self.search.after.map_or(self.start.through, |after| after.at - 1);
        let mut messages = Vec::new();
        if let Some(through) = MessageId::new(last)
            && !self.phrases.is_empty()
        {
            let filter = Filter { through: Some(through), ..filter };
            messages =
                store::words::find(conn, &self.phrases, &filter, usize::from(self.search.first) + 1, usize::MAX)?;
        }
        let limit = usize::from(self.search.first);
        let has_next = messages.len() > limit;
        messages.truncate(limit);
        messages.iter().try_for_each(|message| budget.spend(&message.content))?;
        let hits = messages.into_iter().map(|message| {
            let at = message.id.key();
            self.hit(message, &self.phrases, 0.0, at)
        });
        Ok(Found { hits: hits.collect(), mode: self.start.mode, has_next, scope: Some(filter.scope) })
    }

    /// The best messages.
    fn best(
        mut self,
        conn: &mut Conn<'_>,
        app: &App,
        filter: Filter,
        vector: Option<&Vector>,
        budget: &mut TextBudget,
    ) -> Result<Found> {
        let mut by_words = Vec::new();
        if self.start.mode != Mode::Semantic && !self.phrases.is_empty() {
            let newest = store::words::find(conn, &self.phrases, &filter, MAX_RANKED, MAX_RANKED_BYTES)?;
            by_words =
                ranking::by_relevance(&self.phrases, newest.iter().map(|message| (message.id, &message.content)));
            by_words.truncate(MAX_HITS);
        }
        let by_meaning = self.by_meaning(conn, app, &filter, vector)?;
        let [words, meaning] = WEIGHTS;
        let mut ranked = ranking::fuse(&[(words, &by_words), (meaning, &by_meaning)]);
        ranked.truncate(MAX_HITS);
        let before = self.search.after.map_or(0, |after| usize::try_from(after.at).unwrap_or(MAX_HITS));
        let limit = usize::from(self.search.first);
        let wanted: Vec<_> = (1..).zip(&ranked).skip(before).take(limit).collect();
        let ids: Vec<MessageId> = wanted.iter().map(|(_, (id, _))| *id).collect();
        let messages = store::messages::visible_by_ids(conn, &ids, |_| true, budget)?;
        let mut messages: HashMap<_, _> = messages.into_iter().map(|message| (message.id, message)).collect();
        let words_apart = self.phrases.words_apart();
        let hits = wanted.into_iter().filter_map(|(rank, (id, score))| {
            let phrases = if by_words.contains(id) { &self.phrases } else { &words_apart };
            Some(self.hit(messages.remove(id)?, phrases, *score, rank))
        });
        let has_next = ranked.len() > before + limit;
        Ok(Found { hits: hits.collect(), mode: self.start.mode, has_next, scope: Some(filter.scope) })
    }

    /// The nearest messages, if vectors are compared. Where words are wanted too and vectors cannot be compared, they alone decide; on
    /// the pages that follow as on the first.
    fn by_meaning(
        &mut self,
        conn: &mut Conn<'_>,
        app: &App,
        filter: &Filter,
        vector: Option<&Vector>,
    ) -> Result<Vec<MessageId>> {
        let Some(vector) = vector.filter(|_| self.start.mode != Mode::Text) else { return Ok(Vec::new()) };
        let found = nearest(conn, app, vector, filter, self.deadline);
        let falls_back = self.start.mode == Mode::Hybrid && self.search.after.is_none();
        if falls_back && matches!(found, Err(Error::Overloaded(_) | Error::ScanTimeout)) {
            self.start.mode = Mode::Text;
            return Ok(Vec::new());
        }
        found
    }

    fn hit(&self, message: Message, phrases: &Phrases, score: f64, at: i64) -> Hit {
        let snippet = snippet(&message.content, phrases, SNIPPET_SIZE);
        Hit { message, score, snippet, place: Place { at, ..self.start } }
    }
}

/// The messages whose vectors are nearest, of all that the filter lets through, the nearest first. [`Error::Overloaded`] if none of the
/// index can be compared, [`Error::ScanTimeout`] if not all could be in time.
fn nearest(
    conn: &mut Conn<'_>,
    app: &App,
    vector: &Vector,
    filter: &Filter,
    deadline: Instant,
) -> Result<Vec<MessageId>> {
    let Some(model) = model(conn, app)? else { return Ok(Vec::new()) };
    if !model.has_dimensions(vector.dimensions()) {
        return Err(Error::Overloaded(OTHER_DIMENSIONS));
    }
    if Instant::now() > deadline {
        // The searches before it in the answer have taken all of the time.
        return Err(Error::ScanTimeout);
    }
    // Both are hidden at once, and their vectors are removed in the background.
    let hidden: HashSet<UserId> = store::changes::erasing(conn)?.into_iter().collect();
    let changed: HashSet<MessageId> = store::indexing::changes(conn, false, MAX_CHANGED)?.into_iter().collect();
    let (query, mut best, mut chunks) = (QueryVector::from(vector), Best::new(MAX_HITS), 0_usize);
    store::vectors::scan(conn, &model, filter.scope, |(low, high, entries, vectors)| {
        chunks += 1;
        if chunks.is_multiple_of(CHUNKS_PER_LOOK) && Instant::now() > deadline {
            return Err(Error::ScanTimeout);
        }
        for (entry, score) in query.scores(&entries, &vectors).into_iter().flatten() {
            let sender = if entry.is_from_low { low } else { high };
            let is_wanted = filter.through.is_none_or(|through| entry.message <= through)
                && filter.sender.is_none_or(|wanted| wanted == sender)
                && filter.since.is_none_or(|since| entry.created_at >= since)
                && filter.until.is_none_or(|until| entry.created_at < until)
                && !hidden.contains(&sender)
                && !changed.contains(&entry.message);
            if is_wanted {
                best.offer(score, entry);
            }
        }
        Ok(())
    })?;
    Ok(best.into_sorted().into_iter().map(|(_, entry)| entry.message).collect())
}

/// The embedding model of the server, once a message has a vector of it.
fn model(conn: &mut Conn<'_>, app: &App) -> Result<Option<EmbeddingModel>> {
    let Some(embedder) = &app.embedder else { return Ok(None) };
    Ok(store::vectors::model(conn, embedder.identity())?)
}

/// How many messages of a scope are not indexed yet as this mode needs it; 100,000 if there are more.
pub fn pending(conn: &mut Conn<'_>, app: &App, viewer: &Viewer, scope: Scope, mode: Mode) -> Result<i64> {
    let Some(scope) = policy::visible_scope(viewer, scope) else { return Ok(0) };
    if mode == Mode::Text {
        let words = store::indexing::words(conn)?;
        let before_scanned = store::indexing::scanned_after(conn, &words)?.saturating_add(1);
        let changed = store::indexing::count_unread_changes(conn, scope, MAX_CHANGED)?;
        return count_pending(conn, scope, &[(i64::MIN, words.from), (words.through, before_scanned)], changed);
    }
    let Some(model) = model(conn, app)? else { return count_pending(conn, scope, &[(i64::MIN, i64::MAX)], 0) };
    let changed = store::indexing::count_changed(conn, scope, MAX_CHANGED)?;
    let missing = store::vectors::count_missing(conn, &model, scope, MAX_PENDING - changed)?;
    count_pending(conn, scope, &[(i64::MIN, model.from), (model.through, i64::MAX)], changed + missing)
}

fn count_pending(conn: &mut Conn<'_>, scope: Scope, ranges: &[(i64, i64)], others: i64) -> Result<i64> {
    ranges.iter().try_fold(others, |pending, range| {
        Ok(pending + store::indexing::count_between(conn, scope, *range, MAX_PENDING - pending)?)
    })
}
