//! Search without a database: texts to vectors, which part of a text is shown, and the order of hits.
//!
//! Not here: the words of texts and packed vectors ([`crate::model::words`], [`crate::model::vectors`]), what is searched, and
//! who may see it.

pub mod snippets;
pub mod ranking;
pub mod nearest;
mod embedders;
mod kinds;
mod errors;
mod breakers;
mod endpoint;
mod answers;
mod networks;
#[cfg(feature = "local-embeddings")]
mod local;
#[cfg(feature = "local-embeddings")]
mod folder;
#[cfg(feature = "local-embeddings")]
mod bert;
#[cfg(feature = "local-embeddings")]
mod weights;

pub use embedders::{Embedder, Settings, Source};
pub use endpoint::EndpointSettings;
pub use errors::EmbedError;
