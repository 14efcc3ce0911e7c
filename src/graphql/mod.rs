//! Words: the contract spoken to clients. Per noun: its type, inputs, queries and mutations.
//!
//! A resolver decides nothing: it parses, calls one verb, and wraps. Everything that comes in goes through [`Api`],
//! which knows the limits and sees to it that every error has a code.
//!
//! Not here: HTTP and sockets.

mod users;
mod messages;
mod conversations;
mod feed;
mod signals;
mod accounts;
mod blocks;
mod nodes;

mod answers;
mod calls;
mod completion;
mod documents;
mod errors;
mod limits;
mod loads;
mod pages;
mod persisted;
mod scalars;
mod shape;
mod subscriptions;
mod values;
mod written;

pub use answers::{Answer, Api, Operation, Prepared, Request, library_graphiql, sdl};
pub use calls::Asker;
pub use errors::Code;
pub use persisted::BadDocuments;

use conversations::Conversation;
use errors::{UserError, UserErrorCode};
use messages::Message;
use pages::Connection;
use users::User;
