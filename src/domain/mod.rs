//! Use cases and authorization. Transactions begin and end here, and events are published after the commit.
//!
//! Functions take a [`Viewer`], on whose behalf they run; jobs, and what makes a viewer of a credential, do not.
//!
//! Not here: SQL, GraphQL, HTTP.

pub mod users;
pub mod changes;
pub mod messages;
pub mod conversations;
pub mod searches;
pub mod indexing;
pub mod nodes;
pub mod relaying;
pub mod embedding;
pub mod reindexing;
pub mod feed;
pub mod presences;
pub mod signals;
pub mod accounts;
pub mod blocks;
pub mod connections;
pub mod admin;
pub mod audit;
pub mod imports;
pub mod exports;
pub mod retention;
pub mod expiry;
pub mod jobs;
pub mod moving;
pub mod demo;

mod attempts;
mod demo_marks;
mod demo_texts;
mod errors;
mod import_errors;
mod issuers;
mod lines;
mod moving_steps;
mod policy;
mod steps;
mod viewers;

pub use errors::{Error, Rejection, Result};
pub use viewers::Viewer;

/// The connection that the parts of an answer are read on, how it isolates them, and how much text they may have.
pub use crate::store::{Conn, Snapshot, TextBudget};

use crate::{app::App, events::Resource};

/// Runs several reads on one snapshot of the database. One user's reads do not take all connections at the same time, so that
/// those of others need not wait for them.
pub async fn snapshot<T: Send + 'static>(
    app: &App,
    viewer: &Viewer,
    how: Snapshot,
    read: impl FnOnce(&mut Conn<'_>) -> T + Send + 'static,
) -> Result<T> {
    let (user, permits) = (viewer.limited_user(), app.permits.clone());
    let permits = async move {
        // In this order: who waits for a heavy read must not keep light ones waiting.
        let heavy = permits.acquire(user.filter(|_| !how.light), Resource::HeavyRead).await;
        (heavy, permits.acquire(user, Resource::Read).await)
    };
    app.store.snapshot(permits, how, |conn| Ok(read(conn))).await
}
