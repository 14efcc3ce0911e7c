//! Use cases and authorization. Transactions begin and end here, and events are published after the commit.
//!
//! Every function takes a [`Viewer`], on whose behalf it runs.
//!
//! Not here: SQL, GraphQL, HTTP.

pub mod users;
pub mod changes;
pub mod messages;
pub mod conversations;
pub mod feed;
pub mod signals;
pub mod accounts;
pub mod blocks;
pub mod connections;
pub mod admin;
pub mod imports;
pub mod demo;

mod errors;
mod issuers;
mod policy;
mod viewers;

pub use errors::{Error, Rejection, Result};
pub use viewers::Viewer;

/// The connection that the parts of an answer are read on, and how it isolates them.
pub use crate::store::{Conn, Snapshot};

use crate::app::App;

/// Runs several reads on one snapshot of the database.
pub async fn snapshot<T: Send + 'static>(
    app: &App,
    how: Snapshot,
    read: impl FnOnce(&mut Conn<'_>) -> T + Send + 'static,
) -> Result<T> {
    app.store.snapshot(how, move |conn| Ok(read(conn))).await
}
