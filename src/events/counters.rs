//! What happened in this process, counted for its metrics. Labels come from closed lists, and never tell of a user.

use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    histogram::{Histogram, exponential_buckets},
};

/// A label of a metric, and its value.
pub type Label = [(&'static str, &'static str); 1];

/// What happened in this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Messages that were sent, by `duplicate`: whether it was a repeat of an earlier send.
    pub sends: Family<Label, Counter>,
    /// Attempts to sign in, by `outcome`.
    pub sign_ins: Family<Label, Counter>,
    /// Messages for which the embedding model was asked for a vector, by `outcome`: `ok` or `refused`; and `failed` requests.
    pub embeddings: Family<Label, Counter>,
    /// Followers that came back with a cursor, by `outcome`: `caught_up` or `reset`.
    pub feed_resumes: Family<Label, Counter>,
    /// Events that a follower got until it had caught up.
    pub replayed_events: Histogram,
    /// Seconds from a change to its delivery to a follower that had caught up.
    pub feed_lag: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sends: family("duplicate", ["false", "true"]),
            sign_ins: family("outcome", ["ok", "refused", "limited", "failed"]),
            embeddings: family("outcome", ["ok", "refused", "failed"]),
            feed_resumes: family("outcome", ["caught_up", "reset"]),
            replayed_events: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            feed_lag: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        }
    }
}

/// Counters that are there from the beginning: to Prometheus one that appears with its first event did not grow.
pub(super) fn family<const N: usize>(label: &'static str, values: [&'static str; N]) -> Family<Label, Counter> {
    let family = Family::<Label, Counter>::default();
    for value in values {
        drop(family.get_or_create(&[(label, value)]));
    }
    family
}

impl Counters {
    /// Counts a send.
    pub fn count_send(&self, is_duplicate: bool) {
        self.sends.get_or_create(&[("duplicate", if is_duplicate { "true" } else { "false" })]).inc();
    }

    /// Counts an attempt to sign in.
    pub fn count_sign_in(&self, outcome: &'static str) {
        self.sign_ins.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts messages that got vectors, or not.
    pub fn count_embeddings(&self, outcome: &'static str, count: usize) {
        self.embeddings.get_or_create(&[("outcome", outcome)]).inc_by(count as u64);
    }

    /// Counts a follower that came back with a cursor.
    pub fn count_resume(&self, outcome: &'static str) {
        self.feed_resumes.get_or_create(&[("outcome", outcome)]).inc();
    }
}
