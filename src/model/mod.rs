//! Nouns: rows, ids and values that are valid by construction.
//!
//! Not here: input and output, queries, rules about who may do what.

pub mod users;
pub mod messages;
pub mod conversations;
pub mod feed;
pub mod signals;
pub mod sessions;
pub mod searches;

pub mod ids;
pub mod texts;
mod characters;
pub mod words;
pub mod phrases;
pub mod vectors;
pub mod pages;
pub mod timestamps;
