//! Subscriptions. When one begins, its resolver only parses the arguments and puts aside the source of its news. Then the
//! operation is run once for each piece of news. Those who run the same operation for the same viewer, and hear the same
//! event, share its answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex as SyncMutex, PoisonError, Weak},
};

use async_graphql::{Pos, Response};
use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::Mutex;

use super::{
    Answer, Api, Asker, Operation, Prepared,
    answers::Identity,
    calls::{Call, Turn},
    errors::top_level,
};
use crate::{
    domain::{self, Viewer},
    model::{feed::Event, signals::Signal},
};

/// Something that a subscription has to say.
#[derive(Clone)]
pub(super) enum News {
    Feed(Arc<Event>),
    Signal(Box<Signal>),
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
type Running = HashMap<Arc<Key>, Weak<Subscription>>;
type Answers = BTreeMap<i64, (Weak<Event>, Arc<Answer>)>;

/// The subscriptions that run, each once however many there are of the same. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Subscriptions {
    running: Arc<SyncMutex<Running>>,
}

/// A subscription that runs, for all who run the same.
struct Subscription {
    viewer: Viewer,
    prepared: Prepared,
    /// By position, for as long as there are followers behind it.
    answers: Mutex<Answers>,
    /// Where it is known, and as what.
    place: (Subscriptions, Arc<Key>),
}

impl Subscriptions {
    fn run(&self, viewer: &Viewer, prepared: Prepared) -> Arc<Subscription> {
        let key = Arc::new((viewer.clone(), prepared.identity()));
        self.locked(|running| {
            if let Some(subscription) = running.get(&key).and_then(Weak::upgrade) {
                return subscription;
            }
            let place = (self.clone(), key.clone());
            let subscription = Subscription { viewer: viewer.clone(), prepared, answers: Mutex::default(), place };
            let subscription = Arc::new(subscription);
            running.insert(key, Arc::downgrade(&subscription));
            subscription
        })
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Running) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        work(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (subscriptions, key) = &self.place;
        subscriptions.locked(|running| {
            if running.get(key).is_some_and(|its| its.strong_count() == 0) {
                running.remove(key);
            }
        });
    }
}

impl Subscription {
    /// Where its news comes from.
    async fn begin(&self, api: &Api) -> Result<Source, Answer> {
        let source = Arc::default();
        match self.answer(api, Turn::Begins(Arc::clone(&source))).await {
            Some(refusal) => Err(refusal.refused()),
            None => Ok(source
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .unwrap_or_else(|| stream::empty().boxed())),
        }
    }

    /// What it answers to a piece of news.
    async fn say(self: &Arc<Self>, api: &Api, news: domain::Result<News>) -> Arc<Answer> {
        match news {
            Ok(News::Feed(event)) => {
                // Whoever comes while the answer is made waits for it.
                let mut answers = self.answers.lock().await;
                let position = event.cursor.position;
                if let Some((its, answer)) = answers.get(&position)
                    && its.as_ptr() == Arc::as_ptr(&event)
                {
                    return answer.clone();
                }
                let answer = Arc::new(self.run(api, News::Feed(event.clone())).await);
                answers.retain(|_, (event, _)| event.strong_count() > 0);
                if Arc::strong_count(self) > 1 && Arc::strong_count(&event) > 1 {
                    answers.insert(position, (Arc::downgrade(&event), answer.clone()));
                }
                answer
            }
            Ok(news) => Arc::new(self.run(api, news).await),
            Err(error) => {
                let (call, _) = Call::new(&api.app, &self.viewer.clone().into());
                let error = top_level(error, &call.request_id).into_server_error(Pos::default());
                let error = error.with_path(self.prepared.plan.root_path());
                Arc::new(Answer::whole(Response::from_errors(vec![error]), &self.prepared.plan))
            }
        }
    }

    async fn run(&self, api: &Api, news: News) -> Answer {
        let said = self.answer(api, Turn::Says(news)).await;
        said.unwrap_or_else(|| Answer::whole(Response::default(), &self.prepared.plan))
    }

    async fn answer(&self, api: &Api, turn: Turn) -> Option<Answer> {
        let (call, mut loads) = Call::new(&api.app, &self.viewer.clone().into());
        let mut responses = api.schema.execute_stream(self.prepared.request().data(call.in_turn(turn)));
        let response = loads.beside(responses.next()).await?;
        Some(Answer::whole(response, &self.prepared.plan))
    }
}

impl Api {
    /// Runs any operation, a subscription for as long as it goes on. If the first answer is a refusal, it is the only one.
    #[must_use]
    pub fn stream(&self, asker: &Asker, prepared: Prepared) -> BoxStream<'static, Arc<Answer>> {
        let api = self.clone();
        if prepared.operation != Operation::Subscription {
            let asker = asker.clone();
            return stream::once(async move { Arc::new(api.execute(&asker, prepared).await) }).boxed();
        }
        let subscription = self.subscriptions.run(&asker.viewer, prepared);
        async move {
            match subscription.begin(&api).await {
                Ok(source) => answers(api, subscription, source).boxed(),
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
        let answer = subscription.say(&api, news).await;
        Some((answer, (api, subscription, source)))
    })
}
