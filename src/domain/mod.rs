//! Verbs and rules: who may do what. Transactions begin and end here, and a change is told to the events after its
//! commit.
//!
//! Every function takes `(app, viewer, …)`: no data without a [`Viewer`].
//!
//! Not here: SQL, GraphQL, HTTP.

pub mod users;
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
mod news;
mod policy;
mod viewers;

pub use errors::{Error, Rejection, Result};
pub use viewers::Viewer;

/// What the parts of an answer are read on, and how.
pub use crate::store::{Conn, Snapshot};

use crate::app::App;

/// Reads several things as they are at one moment.
pub async fn snapshot<T: Send + 'static>(
    app: &App,
    how: Snapshot,
    read: impl FnOnce(&mut Conn<'_>) -> T + Send + 'static,
) -> Result<T> {
    app.store.snapshot(how, move |conn| Ok(read(conn))).await
}
