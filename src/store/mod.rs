//! Sentences in SQL: functions over a [`Conn`], one file per table, one statement per function.
//!
//! A unit of work is one synchronous closure: it runs on a thread that may block, to its end, whether or not somebody
//! still waits for it. So a transaction cannot wait for anything but the database, and a client that goes away cannot
//! leave half of one behind. [`Store::read`] and [`Store::write`] are the same on SQLite and on PostgreSQL.
//!
//! On PostgreSQL each statement is a trip to the server. On SQLite it is a call, and one that is always the same text stays
//! prepared: there, many rows are written one by one.
//!
//! Not here: who may do what, and what absence means.

pub mod users;
pub mod messages;
pub mod members;
pub mod feed;
pub mod sessions;
pub mod service_tokens;
pub mod identities;
pub mod blocks;
pub mod server;

mod conn;
mod errors;
mod inspection;
mod kept;
mod migrations;
mod pages;
mod pools;
mod schema;
mod sqlite;
mod writer;

pub use conn::Conn;
pub use errors::{Constraint, Error, Result};
pub use migrations::Direction;
pub use pools::{BadUrl, DatabaseUrl, Snapshot, Store};
