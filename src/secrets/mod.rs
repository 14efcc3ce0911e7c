//! Authentication: signing keys, tokens, issuers, and password hashes. No secret has a `Debug` that would show it.
//!
//! Not here: whether a session is active, and who may do what.

mod keys;
mod issuers;
mod jwks;
mod tokens;
mod passwords;

pub use issuers::{BadIssuer, Issuer, IssuerClaims, IssuerSettings};
pub use keys::{BadKeys, Keys};
pub use passwords::{PasswordError, Passwords};
pub use tokens::{AccessClaims, Lifetimes, NewToken, digest};
