//! Search without a database: which part of a text is shown, and the order of hits.
//!
//! Not here: the words of texts and packed vectors ([`crate::model::words`], [`crate::model::vectors`]), what is searched, and
//! who may see it.

pub mod snippets;
pub mod ranking;
