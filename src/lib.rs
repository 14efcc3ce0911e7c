//! Duologue: a GraphQL chat server in one binary. SQLite is inside, PostgreSQL is beside it.
//!
//! # The house
//!
//! Floors are layers, rooms are nouns. The same noun has the same file name on every floor, so that `*/messages.rs`
//! is the whole feature, and the folder tells what kind of thought belongs there.
//!
//! | room | what belongs there | may import |
//! | --- | --- | --- |
//! | [`model`] | nouns: rows, ids, values that are valid by construction | nothing |
//! | [`config`] | every setting | nothing |
//! | [`telemetry`] | the log | `config` |
//! | [`store`] | sentences in SQL | `model` |
//! | [`events`] | news: wake-ups for those who follow a feed, signals, who is here | `model` |
//! | [`secrets`] | what proves who somebody is: keys, tokens, hashes of passwords | `model` |
//! | [`app`] | what a server is made of | `config`, `store`, `events`, `secrets`, `model` |
//! | [`domain`] | verbs and rules | `model`, `store`, `events`, `secrets`, `app` |
//! | [`execution`] | how a document is run: parsing, validation, limits, plans, batches, answers; no noun of chat | `config` |
//! | [`graphql`] | the contract spoken to clients | `model`, `domain`, `execution`, `app`, `config` |
//! | [`http`] | wire | `config`, `app`, `domain` (the viewer only), `execution`, `graphql` |
//!
//! The program (`main.rs`, `cli.rs`) is a thin shell around this library. `tests/tidy.rs` holds the doors.
//!
//! ```text
//! request -> http -> execution (a plan) -> graphql -> domain -> store -> SQLite | PostgreSQL
//!                                                       | after commit: a wake-up, no payload
//!                                                       v
//! client  <- http <- execution (JSON)   <- graphql <- domain (reads the feed) <- events
//! ```
//!
//! # What always holds
//!
//! - No data without a [`domain::Viewer`]: every verb takes one, and no sentence in SQL knows one. Its fields are
//!   private: holding one is the proof that the credential was checked.
//! - Who may do what is decided in `domain/policy.rs`, before anything is looked up: what is not yours and what is not
//!   there are the same.
//! - What a client's connection drives holds no lock while it waits: a client that stands still holds up nobody. What
//!   several share is made in a task of its own.
//! - Only `domain` begins transactions that write, and `app` once, at the start; only `store` names tables; only `execution`
//!   and `graphql` know async-graphql, only `execution` apollo-compiler; only `http` knows axum.
//! - A response key is executed once, and a query reads one moment: on SQLite always, on PostgreSQL where it asks for a
//!   feed's cursor and something else.
//! - A unit of work on the database is one synchronous closure ([`store::Store::write`]): it waits for nothing but the
//!   database, and once begun it goes on to its end whether or not somebody still waits for it.
//! - Nobody is answered before the commit. On SQLite one thread writes, and commits together what has queued.
//! - Everything that changes a row that others may change at the same time locks the users concerned first, in the order
//!   of their ids ([`store::users::lock`]). So the ids of a conversation's messages and the positions of a feed are in
//!   the order of their commits, on both databases, and nobody waits in a circle.
//! - The feed is the truth and is written in the transaction of the change. Events only wake readers: a lost wake-up
//!   delays, it never loses.
//! - Nothing is global: two [`app::App`]s live in one process, and every test has its own.
//! - What fields need is loaded in batches, level by level; a test counts the statements of each operation.

pub mod config;
pub mod telemetry;
pub mod model;
pub mod store;
pub mod events;
pub mod secrets;
pub mod app;
pub mod domain;
pub mod execution;
pub mod graphql;
pub mod http;
