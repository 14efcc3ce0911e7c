//! What the fields of an answer have at hand: who asks, and everything that was loaded.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Instant};

use super::{internal, top_level};
use crate::{
    app::App,
    domain::{
        self, Conn, TextBudget, Viewer, accounts, blocks, conversations, feed, messages, presences,
        searches::{self, Found, Search},
        users,
    },
    execution::{Batch, Error, Unresolved},
    model::{
        conversations::Member,
        feed::Cursor,
        ids::{ConversationId, MessageId, UserId},
        messages::{List, Message},
        pages::{Page, PageRequest},
        searches::{Mode, Scope},
        sessions::Session,
        signals::Presence,
        users::User,
        vectors::Vector,
    },
};

/// The context of the fields of one answer, with what was loaded for it. Nothing is reused by the next answer.
pub struct Context {
    pub(super) app: Arc<App>,
    pub(super) viewer: Viewer,
    request_id: Arc<str>,
    /// Of messages that may still be loaded.
    texts: TextBudget,
    pub(super) loaded: Loaded,
    /// Of searches: the vectors of their texts, or why they are not run.
    prepared: HashMap<Search, domain::Result<Option<Vector>>>,
    /// Until when searches may take.
    deadline: Option<Instant>,
}

/// What was loaded, and what is to be.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) users: Batch<UserId, User>,
    pub(super) messages: Batch<MessageId, Message>,
    pub(super) message_pages: Batch<(List, PageRequest), Page<Message>>,
    pub(super) user_pages: Batch<(Option<String>, PageRequest), Page<User>>,
    pub(super) blocked_pages: Batch<(UserId, PageRequest), Page<User>>,
    /// Each user's conversations.
    pub(super) conversation_pages: Batch<(UserId, PageRequest), Page<Member>>,
    /// Conversations that had messages.
    begun: Batch<ConversationId, ()>,
    /// A user's place with a peer.
    pub(super) members: Batch<(UserId, UserId), Member>,
    /// Over all conversations of a user.
    pub(super) unread: Batch<UserId, i64>,
    pub(super) presences: Batch<UserId, Presence>,
    pub(super) sessions: Batch<UserId, Vec<Session>>,
    pub(super) cursors: Batch<UserId, Cursor>,
    pub(super) feeds: Batch<(UserId, Cursor, u16), feed::Events>,
    pub(super) searches: Batch<Search, Found>,
    /// Messages of a scope that a search does not find yet.
    pub(super) pending: Batch<(Scope, Mode), i64>,
}

impl Context {
    /// Nothing is loaded yet, of at most so many bytes of messages.
    pub(super) fn new(app: Arc<App>, viewer: Viewer, request_id: Arc<str>, max_bytes: usize) -> Self {
        let (texts, loaded, prepared) = (TextBudget::new(max_bytes), Loaded::default(), HashMap::new());
        Self { app, viewer, request_id, texts, loaded, prepared, deadline: None }
    }

    /// Does for what is wanted what must be done before a connection is taken.
    pub(super) async fn prepare(&mut self) {
        for search in self.loaded.searches.wanted() {
            let prepared = searches::prepare(&self.app, &self.viewer, &search).await;
            self.prepared.insert(search, prepared);
        }
    }

    /// Loads all that was asked for since; false if that was nothing. What is asked for at the same time and of the same kind
    /// is one statement. Where there is no connection, all of it fails.
    pub(super) fn load(&mut self, conn: Result<&mut Conn<'_>, &Error>) -> bool {
        let Self { app, viewer, request_id, texts, loaded, prepared, deadline } = self;
        let (app, viewer) = (&*app, &*viewer);
        let mut loads = Loads { conn, request_id, any: false };
        loads.each(&mut loaded.searches, |conn, search| {
            let vector = prepared.remove(search).unwrap_or(Ok(None))?;
            let deadline = *deadline.get_or_insert_with(|| searches::deadline(app));
            searches::find(conn, app, viewer, search, vector.as_ref(), deadline, texts)
        });
        loads.each(&mut loaded.cursors, |conn, user| feed::cursor(conn, app, viewer, *user));
        loads.each(&mut loaded.feeds, |conn, (user, after, limit)| {
            feed::events(conn, app, viewer, *user, after, *limit)
        });
        loads.batch(&mut loaded.users, |conn, ids| users::by_ids(conn, viewer, ids));
        loads.batch(&mut loaded.messages, |conn, ids| messages::by_ids(conn, viewer, ids, texts));
        loads.batch(&mut loaded.message_pages, |conn, keys| messages::pages(conn, viewer, keys, texts));
        loads.each(&mut loaded.user_pages, |conn, (search, span)| users::page(conn, viewer, search.as_deref(), *span));
        loads.each(&mut loaded.blocked_pages, |conn, (user, span)| blocks::page(conn, viewer, *user, *span));
        let members = &mut loaded.members;
        loads.batch(&mut loaded.conversation_pages, |conn, keys| {
            let pages = conversations::pages(conn, viewer, keys)?;
            for member in pages.iter().flat_map(|(_, page)| &page.items) {
                members.insert((member.user_id, member.peer_id), *member);
            }
            Ok(pages)
        });
        loads.batch(&mut loaded.begun, |conn, ids| {
            Ok(conversations::begun(conn, viewer, ids)?.into_iter().map(|id| (id, ())).collect())
        });
        loads.batch(&mut loaded.members, |conn, keys| conversations::members(conn, viewer, keys));
        loads.batch(&mut loaded.unread, |conn, users| conversations::unread(conn, viewer, users));
        loads.batch(&mut loaded.presences, |conn, users| presences::of(conn, app, viewer, users));
        loads.each(&mut loaded.sessions, |conn, user| accounts::sessions(conn, app, viewer, *user));
        loads.each(&mut loaded.pending, |conn, (scope, mode)| searches::pending(conn, app, viewer, *scope, *mode));
        loads.any
    }

    /// What was loaded for a key for which there is always something, if loading does not fail.
    pub(super) fn require<'a, K: Eq + Hash + Clone, V>(
        &self,
        batch: &'a Batch<K, V>,
        key: K,
    ) -> Result<&'a V, Unresolved> {
        let found = batch.get(key)?;
        Ok(found.ok_or_else(|| internal(&self.request_id, "nothing was loaded for a key that has something"))?)
    }

    /// The conversation, if the viewer may see it: there is one between any two users, and one whose members were erased is
    /// there if it ever had messages.
    pub(super) fn conversation(&self, id: ConversationId) -> Result<Option<ConversationId>, Unresolved> {
        if !conversations::sees(&self.viewer, id) {
            return Ok(None);
        }
        let [low, high] = id.members().map(|member| self.loaded.users.get(member));
        let both_are_there = low?.is_some() && high?.is_some();
        Ok(if both_are_there || self.loaded.begun.get(id)?.is_some() { Some(id) } else { None })
    }
}

/// Loads on one connection.
struct Loads<'a, 'c> {
    conn: Result<&'a mut Conn<'c>, &'a Error>,
    request_id: &'a str,
    any: bool,
}

impl<'c> Loads<'_, 'c> {
    /// Loads what was asked for of one kind, all at once.
    fn batch<K: Eq + Hash + Clone, V>(
        &mut self,
        batch: &mut Batch<K, V>,
        load: impl FnOnce(&mut Conn<'c>, &[K]) -> domain::Result<Vec<(K, V)>>,
    ) {
        let keys = batch.take_wanted();
        if !keys.is_empty() {
            let found = self.run(|conn| load(conn, &keys));
            batch.fill(keys, found);
        }
    }

    /// Loads what was asked for of one kind that is not asked for many times at once: one by one.
    fn each<K: Eq + Hash + Clone, V>(
        &mut self,
        batch: &mut Batch<K, V>,
        mut load: impl FnMut(&mut Conn<'c>, &K) -> domain::Result<V>,
    ) {
        for key in batch.take_wanted() {
            let found = self.run(|conn| load(conn, &key));
            batch.fill(vec![key.clone()], found.map(|value| vec![(key, value)]));
        }
    }

    fn run<T>(&mut self, load: impl FnOnce(&mut Conn<'c>) -> domain::Result<T>) -> Result<T, Error> {
        self.any = true;
        match &mut self.conn {
            Ok(conn) => load(conn).map_err(|error| top_level(error, self.request_id)),
            Err(error) => Err(error.clone()),
        }
    }
}
