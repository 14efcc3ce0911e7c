//! Reads of feeds that wait. Those that come while others run are one statement: a message wakes those who follow its sender and those
//! who follow its receiver, and a busy server wakes hundreds at once.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Error, Result, feed::FeedSlice};
use crate::model::ids::UserId;

/// Statements at a time. While they run, others come together.
const MAX_RUNNING: usize = 4;
/// Entries that a statement for several reads may give: it bounds what is held of them.
const MAX_ENTRIES: usize = 320;

/// The reads that wait for their statement.
#[derive(Default)]
pub(super) struct FeedReads(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    running: usize,
    /// Whether somebody who runs batches has not taken one yet.
    is_beginning: bool,
}

/// A read, and who waits for what it gives.
struct Read {
    user: UserId,
    position: i64,
    limit: usize,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Option<FeedSlice>>;

/// The reads of one statement.
pub(super) struct Batch {
    reads: Vec<Read>,
    /// Entries of each.
    pub(super) limit: usize,
}

impl FeedReads {
    /// Adds a read of at most `limit` entries of a user's feed after a position; gives what waits for its answer, and whether the caller
    /// must run the batches that there are.
    pub(super) fn add(
        &self,
        user: UserId,
        position: i64,
        limit: usize,
    ) -> (impl Future<Output = Answer> + use<>, bool) {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.0.lock();
        waiting.reads.push_back(Read { user, position, limit, answer });
        let must_run = waiting.running < MAX_RUNNING && !waiting.is_beginning;
        if must_run {
            waiting.running += 1;
            waiting.is_beginning = true;
        }
        // It is not answered when the runtime ends.
        let answer = async { answered.await.unwrap_or_else(|_| Err(Error::Failed("a feed was not read".to_owned()))) };
        (answer, must_run)
    }

    /// The next batch; `None` if nothing waits, and the caller has to run no more.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut waiting = self.0.lock();
        waiting.is_beginning = false;
        let mut batch = Batch { reads: Vec::new(), limit: 0 };
        while let Some(read) =
            waiting.reads.pop_front_if(|read| read.answer.is_closed() || batch.has_room_for(read.limit))
        {
            // Nobody waits for it any more.
            if read.answer.is_closed() {
                continue;
            }
            batch.limit = batch.limit.max(read.limit);
            batch.reads.push(read);
        }
        if batch.reads.is_empty() {
            waiting.running -= 1;
            return None;
        }
        Some(batch)
    }
}

impl Batch {
    fn has_room_for(&self, limit: usize) -> bool {
        self.reads.is_empty() || (self.reads.len() + 1) * self.limit.max(limit) <= MAX_ENTRIES
    }

    /// Whose feeds, and after which positions.
    pub(super) fn wanted(&self) -> Vec<(UserId, i64)> {
        self.reads.iter().map(|read| (read.user, read.position)).collect()
    }

    /// Answers the reads.
    pub(super) fn answer(self, slices: Result<Vec<Option<FeedSlice>>>) {
        let mut slices = slices.map(Vec::into_iter);
        for read in self.reads {
            let slice = slices.as_mut().map(|slices| slices.next().flatten()).map_err(|error| error.clone());
            // Who does not wait any more needs none.
            let _ = read.answer.send(slice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_read() {
        let (reads, user) = (FeedReads::default(), UserId::new(7).unwrap());
        let (first, must_run) = reads.add(user, 0, 10);
        assert!(must_run);
        let (second, _) = reads.add(user, 1, 10);
        drop(first);
        assert_eq!(reads.next().unwrap().wanted(), [(user, 1)]);
        drop((second, reads.add(user, 2, 10)));
        assert!(reads.next().is_none());
    }
}
