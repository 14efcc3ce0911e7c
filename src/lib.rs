//! Duologue: a GraphQL chat server in one binary. It stores data in an embedded SQLite database or in PostgreSQL.
//!
//! # Modules
//!
//! Each folder of `src` is a layer, and each file in it is about one noun. The same noun has the same
//! file name in every layer, so that `*/messages.rs` is the whole feature.
//!
//! | module | what belongs there | may import |
//! | --- | --- | --- |
//! | [`model`] | nouns: rows, ids, values that are valid by construction | nothing |
//! | [`config`] | every setting | nothing |
//! | [`telemetry`] | the log | `config` |
//! | [`store`] | connection pools, transactions and SQL queries | `model` |
//! | [`events`] | in-process events: notifications of feed followers, signals, presence, limits, revocations | `model` |
//! | [`secrets`] | authentication: keys, tokens, issuers, password hashes | `model` |
//! | [`search`] | search without a database: texts to vectors, the parts of texts that are shown, the order of hits | `model` |
//! | [`app`] | the application: what the domain's functions share | `config`, `store`, `events`, `secrets`, `search`, `model` |
//! | [`domain`] | use cases and authorization | `model`, `store`, `events`, `secrets`, `search`, `app` |
//! | [`execution`] | how a document is run: parsing, validation, limits, plans, batches, answers; no noun of chat | `config` |
//! | [`graphql`] | the schema and its resolvers | `model`, `domain`, `execution`, `app`, `config` |
//! | [`http`] | HTTP, event streams, WebSocket | `config`, `telemetry`, `app`, `domain` (viewers and connections), `execution`, `graphql` |
//!
//! The program (`main.rs`, `cli.rs`) is a thin shell around this library. `tests/tidy.rs` checks these imports,
//! and that the files of a layer do not import each other in a circle.
//!
//! ```text
//! request -> http -> execution (a plan) -> graphql -> domain -> store -> SQLite | PostgreSQL
//!                                                       | after commit: a notification, no payload
//!                                                       v
//! client  <- http <- execution (JSON)   <- graphql <- domain (reads the feed) <- events
//! ```
//!
//! # Invariants
//!
//! - No data without a [`domain::Viewer`]: every function of `domain` that acts for somebody takes one, and no query of `store` knows
//!   one; jobs, and what makes a viewer, do not. Its fields are private, so that a value proves that the credential was checked.
//! - Authorization is decided in `domain/policy.rs`, before anything is returned: forbidden and missing objects give the same error.
//! - A future that a client's connection polls holds no lock across an await: a stalled client blocks nobody. Work that
//!   several clients share runs in a task of its own.
//! - Only `domain` begins transactions that write, and `app` once, at the start; only `store` names tables; only `execution`
//!   and `graphql` know async-graphql, and `http` its older WebSocket protocol; only `execution` knows apollo-compiler, only `http` axum.
//! - A response key is executed once, and a query reads one snapshot: on SQLite always, on PostgreSQL if it selects a
//!   feed's cursor and something else.
//! - A unit of work on the database is one synchronous closure ([`store::Store::write`]): it waits for nothing but the
//!   database, and once begun it runs to its end, even if the caller is gone.
//! - No change is acknowledged before its commit. On SQLite one thread writes, and commits what is queued as one batch.
//! - A change of a row that is subject to concurrent changes locks the users concerned first, in the order of their ids
//!   ([`store::users::lock`]). So the ids of a conversation's messages and the positions of a feed are in commit order, on
//!   both databases, and there are no deadlocks. Messages and events have their ids from one sequence.
//! - A transaction is short: what a change of a user writes for many peers or messages is done in steps, which go on after a
//!   restart ([`domain::changes`]). What is to be deleted is hidden from the first of them on; the unread counts of
//!   peers after the first ones follow.
//! - The feed is the source of truth: the messages themselves, and events that are written in the transaction of the change.
//!   Its readers are only notified, after the commit and before the change is answered.
//! - Several servers may use one PostgreSQL database. Each finds the changes of the others there ([`domain::nodes`]); that they tell
//!   each other ([`domain::relaying`]) makes it faster, and nothing depends on it.
//! - A search compares only messages that the viewer may see, and its scores are ranks among them. Jobs index the messages
//!   ([`domain::indexing`], [`domain::embedding`]) and remove what was indexed of a deleted text; words are found before that.
//! - What one account can make the server hold or do is bounded: answers, caches and queues in bytes, requests, subscriptions and
//!   long reads by permits ([`events::Permits`]). `docs/reference/limits.md` has all limits.
//! - Each layer counts what happens in it ([`store::Metrics`], [`events::Counters`], [`graphql::OperationMetrics`]), and
//!   `http/metrics.rs` gives it names. Labels come from closed lists.
//! - Of what clients send, only names of operations are logged ([`graphql::AccessRecord`]), and origins that are refused.
//! - There is no global state but what a process can have only one of: the log, and free buffers for answers (`execution/chunks.rs`).
//!   So several [`app::App`]s can live in one process, and every test has its own.
//! - The data of fields is loaded in batches, level by level; a test counts the statements of each operation.

pub mod config;
pub mod telemetry;
pub mod model;
pub mod store;
pub mod events;
pub mod secrets;
pub mod search;
pub mod app;
pub mod domain;
pub mod execution;
pub mod graphql;
pub mod http;
