//! The end of a user's feed, kept while several follow it: what one of them has read, the others need not read again.

use std::{collections::VecDeque, sync::Arc};

use crate::model::feed::{Change, Event, Kind, News, Page};

/// Events that are kept at most …
const EVENTS: usize = 1_000;
/// … and bytes of their texts. Who is further behind reads the log.
const BYTES: usize = 1 << 20;

/// The last events of a feed, without holes.
#[derive(Default)]
pub(super) struct Window {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Where it ends, and the last wake-up before that was the end of the feed.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) position: i64,
    pub(super) woken: u64,
}

impl Window {
    /// The end, for those who stand at a place from which the window goes on.
    pub(super) fn end_for(&self, after: i64) -> Option<End> {
        let start = self.events.front().map(|event| event.cursor.position - 1);
        self.end.filter(|end| (start.unwrap_or(end.position)..=end.position).contains(&after))
    }

    /// What comes after a place in it: at most `limit` events.
    pub(super) fn after(&self, after: i64, end: End, limit: usize) -> Page {
        let begin = self.events.partition_point(|event| event.cursor.position <= after);
        let events: Vec<_> = self.events.range(begin..).take(limit).cloned().collect();
        let is_last = begin + events.len() == self.events.len();
        let last = events.last().map_or(end.position, |event| event.cursor.position);
        Page { through: if is_last { end.position } else { last }, events, is_last }
    }

    /// The end; `None` where nothing was read yet.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Goes on with what was read after this end, unless it has another one by now.
    pub(super) fn extend(&mut self, end: End, page: &Page, woken: u64) {
        if self.end == Some(end) {
            self.add(page, woken);
        }
    }

    fn add(&mut self, page: &Page, woken: u64) {
        for event in &page.events {
            if changes_what_was_told(event) {
                self.clear();
            }
            self.bytes += bytes(event);
            self.events.push_back(event.clone());
        }
        while self.events.len() > EVENTS || self.bytes > BYTES {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= bytes(&event);
        }
        self.end = Some(End { position: page.through, woken });
    }

    /// Begins anew with what was read elsewhere, and leads to the end of the feed.
    pub(super) fn restart(&mut self, page: &Page, woken: u64) {
        self.clear();
        self.add(page, woken);
    }

    /// Forgets the events, and knows the end still.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }
}

/// Events show what is now. So after these, earlier ones are read again.
fn changes_what_was_told(event: &Event) -> bool {
    let News::Changed(Change { kind, .. }) = &event.news else { return true };
    match kind {
        Kind::Updated | Kind::Deleted | Kind::UserChanged => true,
        // Whoever hears of a mark late has heard of the message without it before.
        Kind::Sent | Kind::OwnMark | Kind::PeerMark => false,
    }
}

fn bytes(event: &Event) -> usize {
    match &event.news {
        News::Changed(Change { message: Some(message), .. }) => message.content.len(),
        News::Changed(_) | News::CaughtUp | News::Reset => 0,
    }
}
