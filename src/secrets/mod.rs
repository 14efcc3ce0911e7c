//! Secrets: what proves who somebody is. Keys that sign tokens, the tokens, and the hashes of passwords. Nothing of it has
//! a `Debug` that would show it.
//!
//! Not here: whose session is still alive, and who may do what.

mod keys;
mod issuers;
mod tokens;
mod passwords;

pub use issuers::{BadIssuer, Issuer, Statement};
pub use keys::{BadKeys, Keys};
pub use passwords::{Overloaded, Passwords};
pub use tokens::{Access, Fresh, Lifetimes, digest};
