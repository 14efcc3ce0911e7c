//! What must hold: every limit of these benches is in this file. A figure beyond its limit ends the run with an error.

/// On which side of the limit a figure may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

/// A figure that must be kept.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) what: &'static str,
    pub(crate) side: Side,
    pub(crate) bound: f64,
    pub(crate) unit: &'static str,
}

const fn at_most(bound: f64, unit: &'static str, what: &'static str) -> Limit {
    Limit { what, side: Side::AtMost, bound, unit }
}

const fn at_least(bound: f64, unit: &'static str, what: &'static str) -> Limit {
    Limit { what, side: Side::AtLeast, bound, unit }
}

// Against the baseline: bare axum over the same store.
pub(crate) const PAGE_RATE: Limit = at_least(0.75, "x the baseline", "rate of the page of 50, 32 connections");
pub(crate) const PAGE_CPU: Limit = at_most(1.3, "x the baseline", "CPU of the page of 50, 32 connections");
pub(crate) const PAGE_INSTRUCTIONS: Limit = at_most(2.0, "x the baseline", "instructions of the page of 50");
// What every request costs, whatever it asks for.
pub(crate) const NAME_INSTRUCTIONS: Limit = at_most(5.0, "x the baseline", "instructions of { __typename }");
pub(crate) const USERS_RATE: Limit = at_least(0.7, "x the baseline", "rate of the page of 100 users, 32 connections");

pub(crate) const USERS_CPU: Limit = at_most(2.2, "x the baseline", "CPU of the page of 100 users, 32 connections");

// What chat clients ask for.
pub(crate) const CHAT_CPU: Limit = at_most(1.5, "x the page of 50", "CPU of an open conversation, 32 connections");
pub(crate) const CONVERSATIONS_CPU: Limit = at_most(300.0, "us", "CPU of a list of 20 conversations, 32 connections");

// Against a server that commits every message by itself.
pub(crate) const SEND_RATE: Limit = at_least(3.0, "x one commit each", "rate of sends, 32 connections");
pub(crate) const SEND_ALONE_RATE: Limit = at_least(0.85, "x one commit each", "rate of sends, 1 connection");
pub(crate) const SEND_TAIL: Limit = at_most(4.0, "x p50", "p99 of sends, 32 connections");
// Between random pairs each send changes some eight pages of the file that no other changes, which takes about as long as the
// commit: sharing that gains no more than this on a disk that syncs in a third of a millisecond.
pub(crate) const RANDOM_RATE: Limit = at_least(2.0, "x one commit each", "rate of sends, random pairs, 32 connections");
pub(crate) const RANDOM_ALONE_RATE: Limit =
    at_least(0.85, "x one commit each", "rate of sends, random pairs, 1 connection");
pub(crate) const RANDOM_TAIL: Limit = at_most(4.0, "x p50", "p99 of sends, random pairs, 32 connections");

// Against sends whose words are not indexed.
pub(crate) const INDEXED_RATE: Limit =
    at_least(0.88, "x without", "rate of sends whose words are indexed, 32 connections");
pub(crate) const INDEXED_TAIL: Limit =
    at_most(1.3, "x without", "p99 of sends whose words are indexed, 32 connections");

pub(crate) const BACKUP_TAIL: Limit = at_most(100.0, "ms", "p99 of 500 sends a second during backups");

pub(crate) const IDLE_SUBSCRIBER: Limit = at_most(11.0, "KiB", "memory of an idle subscriber");
pub(crate) const DELIVERY_CPU: Limit = at_most(12.0, "us", "CPU of a delivery of one feed to many");
pub(crate) const CATCHING_UP_CPU: Limit = at_most(8.0, "us", "CPU of an event of 10,000 that somebody has missed");

pub(crate) const MEMORY: Limit = at_most(24.0, "MiB", "memory of an idle server, after one answer");
pub(crate) const START: Limit = at_most(150.0, "ms", "start on no database, to the first answer");
pub(crate) const SIZE: Limit = at_most(30.0, "MiB", "the program, without the pages in it");

impl Limit {
    pub(crate) fn holds(&self, figure: f64) -> bool {
        match self.side {
            Side::AtMost => figure <= self.bound,
            Side::AtLeast => figure >= self.bound,
        }
    }
}
