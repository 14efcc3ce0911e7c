//! The contract spoken to clients. Per noun: its type, inputs, queries, mutations and subscriptions.
//!
//! A field decides nothing: it says what stands for it, or calls one verb. Everything that comes in goes through [`Api`],
//! and is run by [`crate::execution`].
//!
//! Not here: how a document is run, HTTP and sockets.

mod users;
mod messages;
mod conversations;
mod searches;
mod feed;
mod signals;
mod presence;
mod accounts;
mod blocks;
mod nodes;

mod access;
mod api;
mod subscriptions;
mod loading;
mod executors;
mod schema;
mod roots;
mod arguments;
mod calls;
mod context;
mod errors;
mod metrics;
mod pages;
mod payloads;
mod retries;
mod scalars;
mod sources;

pub use access::{AccessFacts, AccessRecord, milliseconds};
pub use api::{Api, library_graphiql};
pub use calls::{Caller, new_request_id};
pub use executors::{Connection as SocketConnection, Drain, RequestPermits, session_data};
pub use metrics::OperationMetrics;
pub use schema::{Prepared, sdl};

use arguments::{ArgumentParser, acting_user, id};
use calls::Call;
use context::Context;
use conversations::{Conversation, count};
use errors::{internal, top_level};
use pages::{Listed, PageArguments, page_size};
use payloads::{Deleted, Failure, Outcome, Payload};
use roots::{Mutations, Query, Subscriptions, mutation};
use scalars::DateTime;
use sources::{Source, SourceEvent, SourceEvents};
