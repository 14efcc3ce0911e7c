//! What is to be sent to other servers. It is collected here and sent by a task of its own: no change waits for it, and what is lost
//! is found in the database later.

use std::{
    collections::BTreeMap,
    mem,
    ops::Not,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::model::{
    ids::{ConversationId, UserId},
    signals::{Signal, SignalKind},
    timestamps::Timestamp,
};

/// How long what comes together is collected.
const LINGER: Duration = Duration::from_millis(2);
/// Feeds in one message, at most: some 64 KiB.
const FEEDS_PER_MESSAGE: usize = 4_000;
/// Feeds and signals that wait, at most. More are dropped.
const MAX_PENDING: usize = 50_000;
/// A server is linked for so long after it has received a message of its own.
const ECHO_LIFETIME: Duration = Duration::from_millis(2_500);

/// What is to be sent. Clones share it.
#[derive(Clone, Default)]
pub struct Relay(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_open: AtomicBool,
    pending: Mutex<Pending>,
    wake: Notify,
    echo: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Pending {
    /// Whose feed has changed, and whether that changed what earlier entries show.
    feeds: BTreeMap<UserId, bool>,
    typing: Vec<Typing>,
    /// Credentials were revoked.
    revokes: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.feeds.is_empty() && self.typing.is_empty() && !self.revokes
    }
}

/// A message from one server to the others. Unknown fields are ignored, as those of later releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayMessage {
    /// Of the server that sends it.
    #[serde(rename = "n")]
    pub node: i64,
    /// The ids of users whose feed has changed, and 1 if that changed what earlier entries show.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    feeds: Vec<(i64, u8)>,
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    typing: Vec<Typing>,
    /// Credentials were revoked, which the database has.
    #[serde(rename = "r", default, skip_serializing_if = "Not::not")]
    pub revokes: bool,
}

/// Somebody types, or has stopped; or a block between the two begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Typing {
    to: i64,
    from: i64,
    /// When the signal expires, in milliseconds since 1970 by the clock of the database, which all servers follow; `None` if it is about
    /// having stopped.
    until: Option<i64>,
    /// Whether the one is online for the other from now on; `None` if it is about typing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
}

impl Relay {
    /// From now on, something sends what is collected.
    pub fn open(&self) {
        self.0.is_open.store(true, Ordering::Relaxed);
    }

    /// Whether something sends what is collected.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    /// Whether there are other servers, and what is sent reaches at least this one.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.0.echo.lock().is_some_and(|at| at.elapsed() < ECHO_LIFETIME)
    }

    /// This server has received its own message.
    pub fn record_echo(&self) {
        *self.0.echo.lock() = Some(Instant::now());
    }

    /// A feed has changed.
    pub(super) fn queue_feed(&self, user: UserId, invalidates: bool) {
        self.queue(|pending| *pending.feeds.entry(user).or_default() |= invalidates);
    }

    /// A signal is sent to one user.
    pub fn queue_signal(&self, to: UserId, signal: Signal) {
        let until = signal.expires_at.map(Timestamp::milliseconds);
        let online = match signal.kind {
            SignalKind::Online => Some(true),
            SignalKind::Offline => Some(false),
            SignalKind::Typing | SignalKind::StoppedTyping => None,
        };
        let typing = Typing { to: to.key(), from: signal.user.key(), until, online };
        self.queue(|pending| pending.typing.push(typing));
    }

    /// Credentials were revoked.
    pub(super) fn queue_revocation(&self) {
        self.queue(|pending| pending.revokes = true);
    }

    fn queue(&self, add: impl FnOnce(&mut Pending)) {
        if !self.is_open() {
            return;
        }
        let mut pending = self.0.pending.lock();
        if pending.feeds.len() + pending.typing.len() >= MAX_PENDING {
            *pending = Pending { revokes: pending.revokes, ..Pending::default() };
        }
        add(&mut pending);
        drop(pending);
        self.0.wake.notify_one();
    }

    /// Waits until there is something to send, and returns it. If it is dropped before, nothing is lost.
    pub async fn next(&self, node: i64) -> RelayMessage {
        while self.0.pending.lock().is_empty() {
            self.0.wake.notified().await;
        }
        tokio::time::sleep(LINGER).await;
        let mut pending = self.0.pending.lock();
        let rest = pending.feeds.keys().nth(FEEDS_PER_MESSAGE).copied();
        let rest = rest.map_or_else(BTreeMap::new, |first| pending.feeds.split_off(&first));
        let feeds = mem::replace(&mut pending.feeds, rest);
        let (typing, revokes) = (mem::take(&mut pending.typing), mem::take(&mut pending.revokes));
        RelayMessage {
            node,
            feeds: feeds.into_iter().map(|(user, stale)| (user.key(), stale.into())).collect(),
            typing,
            revokes,
        }
    }
}

impl RelayMessage {
    /// That a server is there, and nothing else.
    #[must_use]
    pub fn beat(node: i64) -> Self {
        Self { node, feeds: Vec::new(), typing: Vec::new(), revokes: false }
    }

    /// Whose feed has changed, and whether that changed what earlier entries show.
    pub fn feeds(&self) -> impl Iterator<Item = (UserId, bool)> {
        self.feeds.iter().filter_map(|(user, stale)| Some((UserId::new(*user)?, *stale != 0)))
    }

    /// The signals, each with whom it is for, but for those that have expired on the way.
    pub fn signals(&self, now: Timestamp) -> impl Iterator<Item = (UserId, Signal)> {
        let signal = |typing: &Typing| {
            let (to, user) = (UserId::new(typing.to)?, UserId::new(typing.from)?);
            let expires_at = typing.until.map(Timestamp::from_milliseconds);
            let kind = match typing.online {
                Some(true) => SignalKind::Online,
                Some(false) => SignalKind::Offline,
                None if expires_at.is_some() => SignalKind::Typing,
                None => SignalKind::StoppedTyping,
            };
            let conversation = ConversationId::between(to, user).filter(|_| typing.online.is_none());
            Some((to, Signal { kind, user, conversation, expires_at }))
        };
        let signals = self.typing.iter().filter_map(signal);
        signals.filter(move |(_, signal)| signal.expires_at.is_none_or(|at| at > now))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn user(id: i64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[tokio::test]
    async fn what_comes_together_is_sent_together_and_small() {
        let relay = Relay::default();
        relay.queue_feed(user(1), false);
        relay.open();
        for id in [17, 18, 17] {
            relay.queue_feed(user(id), id == 18);
        }
        relay.queue_feed(user(18), false);
        let now = Timestamp::from_milliseconds(1_000);
        let conversation = ConversationId::between(user(17), user(18));
        let expires_at = Some(now.later(Duration::from_secs(6)));
        relay.queue_signal(user(17), Signal { kind: SignalKind::Typing, user: user(18), conversation, expires_at });
        let offline = Signal { kind: SignalKind::Offline, user: user(18), conversation: None, expires_at: None };
        relay.queue_signal(user(17), offline);
        relay.queue_revocation();
        let message = relay.next(7).await;
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(
            text,
            r#"{"n":7,"f":[[17,0],[18,1]],"t":[{"to":17,"from":18,"until":7000},{"to":17,"from":18,"until":null,"online":false}],"r":true}"#
        );
        let read: RelayMessage = serde_json::from_str(&text.replace("\"n\"", "\"later\":[1],\"n\"")).unwrap();
        assert_eq!(read, message);
        assert_eq!(read.feeds().collect::<Vec<_>>(), [(user(17), false), (user(18), true)]);
        let (to, signal) = read.signals(now.later(Duration::from_secs(5))).next().unwrap();
        assert_eq!((to, signal.conversation, signal.expires_at), (user(17), conversation, expires_at));
        // The other one has waited until NATS was back.
        let left: Vec<_> = read.signals(now.later(Duration::from_secs(6))).map(|(_, signal)| signal).collect();
        assert_eq!(left, [offline]);
    }

    #[tokio::test]
    async fn what_is_collected_when_a_sender_is_dropped_is_sent_by_the_next_one() {
        let relay = Relay::default();
        relay.open();
        relay.queue_feed(user(1), false);
        assert!(futures_util::poll!(pin!(relay.next(1))).is_pending());
        let next = tokio::time::timeout(Duration::from_mins(1), relay.next(1)).await.unwrap();
        assert_eq!(next.feeds().collect::<Vec<_>>(), [(user(1), false)]);
    }

    #[tokio::test]
    async fn many_feeds_are_sent_in_several_messages() {
        let relay = Relay::default();
        relay.open();
        for id in 1..=9_000 {
            relay.queue_feed(user(id), false);
        }
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(relay.next(1).await.feeds().count());
        }
        assert_eq!(sizes, [4_000, 4_000, 1_000]);
    }
}
