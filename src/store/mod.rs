//! SQL queries: functions over a [`Conn`], one file per table, each of one statement or a few.
//!
//! A unit of work is one synchronous closure. It runs on a blocking thread, to its end, even if the caller is gone. So a
//! transaction waits for nothing but the database, and a disconnected client cannot leave one half done. [`Store::read`]
//! and [`Store::write`] have the same interface on SQLite and on PostgreSQL.
//!
//! On PostgreSQL each statement is a round trip. On SQLite it is a function call, and statements with a constant text stay
//! prepared: there, many rows are written one by one.
//!
//! Not here: authorization, and what a missing row means.

pub mod users;
pub mod user_pages;
pub mod changes;
pub mod messages;
pub mod expiry;
pub mod rows;
pub mod members;
pub mod feed;
pub mod words;
pub mod vectors;
pub mod indexing;
pub mod sessions;
pub mod service_tokens;
pub mod identities;
pub mod attempts;
pub mod audit;
pub mod backups;
pub mod blocks;
pub mod server;
pub mod nodes;
pub mod presences;
pub mod moving;

mod budget;
mod cached;
mod conn;
mod connections;
mod errors;
mod feed_reads;
mod inspection;
mod locks;
mod maintenance;
mod metrics;
mod migrations;
mod moved;
mod moved_tables;
mod names;
mod observing;
mod pages;
mod pools;
mod postgres;
mod remains;
mod schema;
mod serving;
mod sqlite;
mod timeouts;
mod tls;
mod urls;
mod visibility;
mod writer;

pub use budget::TextBudget;
pub use conn::Conn;
pub use errors::{Constraint, Error, Result};
pub use locks::Lock;
pub use maintenance::Space;
pub use metrics::Metrics;
pub use migrations::{Direction, has_unknown_migrations, is_compatible, last_known_migration};
pub use pools::{Snapshot, Store};
pub use remains::Removal;
pub use serving::{ServingLock, Unserved};
pub use timeouts::allow_pauses;
pub use urls::{BadUrl, DatabaseUrl};
