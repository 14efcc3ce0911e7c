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
