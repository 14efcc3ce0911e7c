//! A cache of the tail of a user's feed, while several followers read it: what one has read, the others need not read again.

use std::{collections::VecDeque, sync::Arc};

use crate::model::feed::{Change, Event, EventBody, EventKind, FeedPage};

/// Cached events, at most. They are kept for as long as several follow the feed.
const MAX_EVENTS: usize = 64;
/// Bytes of the texts of cached events, at most. A follower that is further behind reads the database.
const MAX_BYTES: usize = 64 * 1024;

/// The last events of a feed: all of them after a position.
#[derive(Default)]
pub(super) struct TailCache {
    /// The position before the first event.
    begin: i64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    end: Option<TailEnd>,
}

/// Where the cache ends: the position of its last entry, the number of the last notification before which that was the end of
/// the feed, and that of the last invalidation before which its events were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TailEnd {
    pub(super) position: i64,
    pub(super) notified: u64,
    pub(super) invalidated: u64,
}

impl TailCache {
    /// The end, if the cache holds everything after this position.
    pub(super) fn end_for(&self, after: i64) -> Option<TailEnd> {
        self.end.filter(|end| (self.begin..=end.position).contains(&after))
    }

    /// The page after a position in the cache: at most `limit` events.
    pub(super) fn page_after(&self, after: i64, end: TailEnd, limit: usize) -> FeedPage {
        let begin = self.events.partition_point(|event| event.cursor.position <= after);
        let events: Vec<_> = self.events.range(begin..).take(limit).cloned().collect();
        let is_last = begin + events.len() == self.events.len();
        let last = events.last().map_or(end.position, |event| event.cursor.position);
        let through = if is_last { end.position } else { last };
        // Nothing of it is missing.
        FeedPage { events, through, is_last, trimmed_through: 0 }
    }

    /// The end; `None` before the first read.
    pub(super) fn end(&self) -> Option<TailEnd> {
        self.end
    }

    /// The end, after the removal of events that were read before an invalidation.
    pub(super) fn valid_end(&mut self, invalidated: u64) -> Option<TailEnd> {
        if self.end.is_some_and(|end| end.invalidated < invalidated) {
            self.clear();
            self.end = self.end.map(|end| TailEnd { invalidated, ..end });
        }
        self.end
    }

    /// Appends a page that was read after this end, unless the end has moved since.
    pub(super) fn extend(&mut self, end: TailEnd, page: &FeedPage, notified: u64) {
        if self.end == Some(end) {
            self.append(page, notified, end.invalidated);
        }
    }

    fn append(&mut self, page: &FeedPage, notified: u64, invalidated: u64) {
        for event in &page.events {
            if invalidates_earlier(event) {
                self.begin = self.events.back().map_or(self.begin, |last| last.cursor.position);
                self.events.clear();
                self.bytes = 0;
            }
            self.bytes += bytes(event);
            self.events.push_back(event.clone());
        }
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(event) = self.events.pop_front() else { break };
            self.begin = event.cursor.position;
            self.bytes -= bytes(&event);
        }
        self.end = Some(TailEnd { position: page.through, notified, invalidated });
    }

    /// Replaces the contents by a page that was read after a position and reaches the end of the feed.
    pub(super) fn replace(&mut self, after: i64, page: &FeedPage, notified: u64, invalidated: u64) {
        self.events.clear();
        (self.begin, self.bytes) = (after, 0);
        self.append(page, notified, invalidated);
    }

    /// Drops the events, and keeps the end.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        (self.begin, self.bytes) = (self.end.map_or(0, |end| end.position), 0);
    }
}

/// Events carry the state at the time of reading, so after these the earlier ones must be read again.
fn invalidates_earlier(event: &Event) -> bool {
    let EventBody::Changed(Change { kind, .. }) = &event.body else { return true };
    match kind {
        EventKind::Updated | EventKind::Deleted | EventKind::UserChanged => true,
        // A mark does not change the events of messages that came before it.
        EventKind::Sent | EventKind::OwnMark | EventKind::PeerMark => false,
    }
}

fn bytes(event: &Event) -> usize {
    match &event.body {
        EventBody::Changed(Change { message: Some(message), .. }) => message.content.len(),
        EventBody::Changed(_) | EventBody::CaughtUp | EventBody::Reset => 0,
    }
}
