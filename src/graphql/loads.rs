//! The loaders through which relations go. One loader per request, without delay and without cache: it knows its viewer,
//! and an answer never shows what was true before.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use async_graphql::{
    Error, Result,
    dataloader::{DataLoader, Loader},
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered, task::AtomicWaker};
use tokio::sync::mpsc;

use super::{calls::Who, errors::top_level};
use crate::{
    app::App,
    domain,
    model::{
        conversations::Member,
        ids::{ConversationId, MessageId, UserId},
        messages::{List, Message},
        pages::{Page, Span},
        signals::Presence,
        users::User,
    },
};

/// What a call loads, in the task of its answer. In a task of its own a load could begin before every resolver has said
/// what it needs, and there would be more of them.
pub(super) struct Loads {
    begun: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Loads {
    /// Waits for the answer. Loads go on only while it cannot.
    pub(super) async fn beside<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(settled(answer));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                Some(load) = self.begun.recv() => self.running.push(load),
                Some(()) = self.running.next() => {}
            }
        }
    }
}

/// The same future, polled again at once for as long as it wakes itself: the library's resolvers do so before all of them
/// had their turn. When this waits, it waits for something else.
async fn settled<T>(future: impl Future<Output = T>) -> T {
    let nudge = Arc::new(Nudge::default());
    let waker = Waker::from(nudge.clone());
    let mut future = pin!(future);
    poll_fn(|context| {
        nudge.outer.register(context.waker());
        loop {
            nudge.woken.store(false, Ordering::SeqCst);
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_ready() || !nudge.woken.load(Ordering::SeqCst) {
                return polled;
            }
        }
    })
    .await
}

/// A waker that remembers.
#[derive(Default)]
struct Nudge {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.outer.wake();
    }
}

/// Asks for the presence of a user, and not for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PresenceOf(pub(super) UserId);

/// Loads relations, many at a time.
pub(super) struct Relations {
    pub(super) app: App,
    pub(super) who: Who,
    pub(super) request_id: String,
}

impl Relations {
    /// The loader of one request, and what it will load.
    pub(super) fn loader(self) -> (DataLoader<Self>, Loads) {
        let (spawner, begun) = mpsc::unbounded_channel();
        let loader = DataLoader::new(self, move |load| spawner.send(load)).delay(Duration::ZERO);
        (loader, Loads { begun, running: FuturesUnordered::new() })
    }

    fn loaded<T>(&self, outcome: domain::Result<T>) -> Result<T> {
        outcome.map_err(|error| top_level(error, &self.request_id))
    }
}

impl Loader<UserId> for Relations {
    type Value = User;
    type Error = Error;

    async fn load(&self, ids: &[UserId]) -> Result<HashMap<UserId, User>> {
        self.loaded(domain::users::by_ids(&self.app, &self.who.now(), ids.to_vec()).await)
    }
}

impl Loader<MessageId> for Relations {
    type Value = Message;
    type Error = Error;

    async fn load(&self, ids: &[MessageId]) -> Result<HashMap<MessageId, Message>> {
        self.loaded(domain::messages::by_ids(&self.app, &self.who.now(), ids.to_vec()).await)
    }
}

/// A page of a list of messages.
impl Loader<(List, Span)> for Relations {
    type Value = Page<Message>;
    type Error = Error;

    async fn load(&self, wanted: &[(List, Span)]) -> Result<HashMap<(List, Span), Page<Message>>> {
        let pages = self.loaded(domain::messages::pages(&self.app, &self.who.now(), wanted.to_vec()).await)?;
        Ok(wanted.iter().copied().zip(pages).collect())
    }
}

/// A page of a user's conversations.
impl Loader<(UserId, Span)> for Relations {
    type Value = Page<Member>;
    type Error = Error;

    async fn load(&self, wanted: &[(UserId, Span)]) -> Result<HashMap<(UserId, Span), Page<Member>>> {
        let pages = self.loaded(domain::conversations::pages(&self.app, &self.who.now(), wanted.to_vec()).await)?;
        Ok(wanted.iter().copied().zip(pages).collect())
    }
}

/// A user's place with a peer.
impl Loader<(UserId, UserId)> for Relations {
    type Value = Member;
    type Error = Error;

    async fn load(&self, keys: &[(UserId, UserId)]) -> Result<HashMap<(UserId, UserId), Member>> {
        self.loaded(domain::conversations::members(&self.app, &self.who.now(), keys.to_vec()).await)
    }
}

/// How many messages of a conversation a user has not read.
impl Loader<(ConversationId, UserId)> for Relations {
    type Value = i64;
    type Error = Error;

    async fn load(&self, readers: &[(ConversationId, UserId)]) -> Result<HashMap<(ConversationId, UserId), i64>> {
        let counts = self.loaded(domain::conversations::unread(&self.app, &self.who.now(), readers.to_vec()).await)?;
        Ok(readers.iter().copied().zip(counts).collect())
    }
}

/// Whether a user is online.
impl Loader<PresenceOf> for Relations {
    type Value = Presence;
    type Error = Error;

    async fn load(&self, users: &[PresenceOf]) -> Result<HashMap<PresenceOf, Presence>> {
        let users = users.iter().map(|PresenceOf(user)| *user).collect();
        let presences = self.loaded(domain::signals::presences(&self.app, &self.who.now(), users).await)?;
        Ok(presences.into_iter().map(|(user, presence)| (PresenceOf(user), presence)).collect())
    }
}
