//! Subscriptions. When one begins, its resolver only parses the arguments and puts aside the source of its news. Then the
//! operation is run once for each piece of news. Those who run the same operation for the same viewer, and hear the same
//! event at about the same time, share its answer: it is made in a task of its own, so that a client that stands still
//! holds up nobody else.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use async_graphql::{Pos, Response};
use futures_util::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, Shared},
    stream::{self, BoxStream},
};

use super::{
    Answer, Api, Asker, Operation, Prepared,
    answers::{Identity, broken},
    calls::{Call, Turn, new_request_id},
    errors::top_level,
};
use crate::{
    domain::{self, Viewer},
    model::{feed::Event, signals::Signal, users::User},
};

/// An answer is shared for so long: it shows what was so a moment ago.
const SHARED_FOR: Duration = Duration::from_secs(1);
/// Answers of one operation that are shared at a time, at most …
const SHARED: usize = 256;
/// … and their bytes.
const SHARED_BYTES: usize = 1 << 20;

/// Something that a subscription has to say.
#[derive(Clone)]
pub(super) enum News {
    Feed(Arc<Event>),
    Signal(Box<(Signal, User)>),
}

/// Where the news of a subscription comes from.
pub(super) type Source = BoxStream<'static, domain::Result<News>>;

/// What the resolver of a subscription gives to the library: one piece of news, or nothing while it begins.
pub(super) type Told<T> = stream::Iter<std::option::IntoIter<T>>;

pub(super) fn told<T>(news: Option<T>) -> Told<T> {
    stream::iter(news)
}

/// Who runs what.
type Key = (Viewer, Identity);

/// The subscriptions that run, each once however many there are of the same. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Subscriptions {
    running: Arc<Mutex<HashMap<Arc<Key>, Weak<Subscription>>>>,
}

impl Subscriptions {
    fn running(&self) -> MutexGuard<'_, HashMap<Arc<Key>, Weak<Subscription>>> {
        // A panic elsewhere cannot leave the map half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others run already, or this.
    fn run(&self, viewer: &Viewer, prepared: Prepared) -> Arc<Subscription> {
        let key = Arc::new((viewer.clone(), prepared.identity()));
        let mut running = self.running();
        if let Some(subscription) = running.get(&key).and_then(Weak::upgrade) {
            return subscription;
        }
        let place = (self.clone(), key.clone());
        let runnable = Runnable { viewer: viewer.clone(), prepared };
        let subscription = Arc::new(Subscription { runnable: Arc::new(runnable), shared: Mutex::default(), place });
        running.insert(key, Arc::downgrade(&subscription));
        subscription
    }
}

/// A subscription that runs, for all who run the same.
struct Subscription {
    runnable: Arc<Runnable>,
    /// The oldest first.
    shared: Mutex<VecDeque<SharedAnswer>>,
    /// Where it is known, and as what.
    place: (Subscriptions, Arc<Key>),
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (subscriptions, key) = &self.place;
        let mut running = subscriptions.running();
        if running.get(key).is_some_and(|its| its.strong_count() == 0) {
            running.remove(key);
        }
    }
}

/// The answer to an event, perhaps still being made.
struct SharedAnswer {
    event: Arc<Event>,
    since: Instant,
    answer: Shared<BoxFuture<'static, Arc<Answer>>>,
}

impl SharedAnswer {
    fn bytes(&self) -> usize {
        let written = self.answer.peek().and_then(|answer| answer.json().ok());
        written.map_or(0, |json| json.get().len())
    }
}

impl Subscription {
    /// What it answers to a piece of news.
    async fn say(self: &Arc<Self>, api: &Api, news: domain::Result<News>) -> Arc<Answer> {
        match news {
            Ok(News::Feed(event)) if Arc::strong_count(self) > 1 => self.share(api, event).await,
            Ok(news) => Arc::new(self.runnable.say(api, news).await),
            Err(error) => Arc::new(self.runnable.fail(error)),
        }
    }

    fn share(&self, api: &Api, event: Arc<Event>) -> Shared<BoxFuture<'static, Arc<Answer>>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |its: &SharedAnswer| its.since.elapsed() < SHARED_FOR;
        if let Some(its) = shared.iter().find(|its| Arc::ptr_eq(&its.event, &event) && fresh(its)) {
            return its.answer.clone();
        }
        let mut bytes: usize = shared.iter().map(SharedAnswer::bytes).sum();
        while shared.front().is_some_and(|oldest| !fresh(oldest) || shared.len() >= SHARED || bytes > SHARED_BYTES) {
            // One that was still being made may be larger by now.
            bytes = bytes.saturating_sub(shared.pop_front().map_or(0, |oldest| oldest.bytes()));
        }
        let (runnable, api, news) = (self.runnable.clone(), api.clone(), News::Feed(event.clone()));
        let made = tokio::spawn(async move { runnable.say(&api, news).await });
        let answer = made.map(|made| Arc::new(made.unwrap_or_else(|panic| broken(&panic, &new_request_id()))));
        let answer = answer.boxed().shared();
        shared.push_back(SharedAnswer { event, since: Instant::now(), answer: answer.clone() });
        answer
    }
}

/// What a subscription runs, and for whom.
struct Runnable {
    viewer: Viewer,
    prepared: Prepared,
}

impl Runnable {
    /// Where its news comes from.
    async fn begin(&self, api: &Api) -> Result<Source, Answer> {
        let source = Arc::default();
        if let Some(refusal) = self.run(api, Turn::Begins(Arc::clone(&source))).await {
            return Err(refusal.refused());
        }
        let source = source.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(source.unwrap_or_else(|| stream::empty().boxed()))
    }

    async fn say(&self, api: &Api, news: News) -> Answer {
        let said = self.run(api, Turn::Says(news)).await;
        said.unwrap_or_else(|| Answer::whole(Response::default(), &self.prepared.nothing_written()))
    }

    fn fail(&self, error: domain::Error) -> Answer {
        let error = top_level(error, &new_request_id()).into_server_error(Pos::default());
        let error = error.with_path(self.prepared.plan.root_path());
        Answer::whole(Response::from_errors(vec![error]), &self.prepared.nothing_written())
    }

    async fn run(&self, api: &Api, turn: Turn) -> Option<Answer> {
        let written = self.prepared.nothing_written();
        let (call, mut loads) = Call::new(&api.app, &self.viewer.clone().into(), written.clone());
        let mut responses = api.schema.execute_stream(self.prepared.request().data(call.in_turn(turn)));
        let response = loads.beside(responses.next()).await?;
        Some(Answer::whole(response, &written))
    }
}

impl Api {
    /// Runs any operation, a subscription for as long as it goes on. If the first answer is a refusal, it is the only one.
    #[must_use]
    pub fn stream(&self, asker: &Asker, prepared: Prepared) -> BoxStream<'static, Arc<Answer>> {
        let (api, asker) = (self.clone(), asker.clone());
        if prepared.operation != Operation::Subscription {
            return stream::once(async move { Arc::new(api.execute(&asker, prepared).await) }).boxed();
        }
        async move {
            // Each begins with its own document and variables: one that resumes has another cursor.
            let runnable = Runnable { viewer: asker.viewer, prepared };
            match Box::pin(runnable.begin(&api)).await {
                Ok(source) => {
                    let subscription = api.subscriptions.run(&runnable.viewer, runnable.prepared);
                    answers(api, subscription, source).boxed()
                }
                Err(refusal) => stream::once(async { Arc::new(refusal) }).boxed(),
            }
        }
        .flatten_stream()
        .boxed()
    }
}

fn answers(api: Api, subscription: Arc<Subscription>, source: Source) -> impl Stream<Item = Arc<Answer>> {
    stream::unfold((api, subscription, source), |(api, subscription, mut source)| async move {
        let news = source.next().await?;
        let answer = Box::pin(subscription.say(&api, news)).await;
        Some((answer, (api, subscription, source)))
    })
}
