//! Texts to vectors, by a model in a folder or by an endpoint.

use std::{
    path::{Path, PathBuf},
    slice,
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use tokio::time::timeout;

#[cfg(feature = "local-embeddings")]
use super::local::Local;
use super::{
    breakers::Breaker,
    endpoint::{Endpoint, EndpointSettings},
    errors::EmbedError,
    kinds::{Kind, Prefixes},
};
use crate::model::vectors::Vector;

/// A query waits this long for its vector.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Queries whose vectors are kept.
const CACHED_QUERIES: usize = 256;

/// What makes vectors, and how.
pub struct Settings {
    /// What makes them.
    pub source: Source,
    /// What is written before queries; `None`: what the model's folder says.
    pub query_prefix: Option<String>,
    /// What is written before passages; `None`: what the model's folder says.
    pub passage_prefix: Option<String>,
}

/// What makes vectors.
pub enum Source {
    /// A model in this folder, in this process.
    Folder(PathBuf),
    /// Another program.
    Endpoint(EndpointSettings),
}

/// Makes vectors of texts.
pub struct Embedder {
    model: Model,
    prefixes: Prefixes,
    identity: String,
    cached_queries: Cache<String, Vector>,
    /// Of queries only: those who write in the background wait by themselves.
    breaker: Breaker,
}

enum Model {
    #[cfg(feature = "local-embeddings")]
    Local(Local),
    Endpoint(Box<Endpoint>),
}

impl Embedder {
    /// Reads the model of a folder, which takes a while, or gets ready to ask an endpoint, without asking it.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let (model, id, name, theirs) = match settings.source {
            Source::Folder(folder) => open_folder(&folder)?,
            Source::Endpoint(settings) => {
                let (id, name) = (settings.id(), settings.name.clone());
                (Model::Endpoint(Box::new(Endpoint::open(settings)?)), id, name, Prefixes::default())
            }
        };
        let prefixes = Prefixes {
            query: settings.query_prefix.unwrap_or(theirs.query),
            passage: settings.passage_prefix.unwrap_or(theirs.passage),
        };
        let wants_prefixes = ["e5", "bge"].iter().any(|family| name.to_lowercase().contains(family));
        if wants_prefixes && prefixes == Prefixes::default() {
            tracing::warn!(
                model = name,
                "models of this name find more with prefixes, unless the endpoint adds them: see --embedding-query-prefix \
                 and --embedding-passage-prefix"
            );
        }
        let identity = serde_json::json!([id, prefixes.query, prefixes.passage]).to_string();
        let (cached_queries, breaker) = (Cache::new(CACHED_QUERIES), Breaker::default());
        Ok(Self { model, prefixes, identity, cached_queries, breaker })
    }

    /// What must be equal for vectors to be comparable: the model, its dimensions and the prefixes. Not where it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How many texts to give at a time at most.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        match &self.model {
            #[cfg(feature = "local-embeddings")]
            Model::Local(_) => Local::BATCH_SIZE,
            Model::Endpoint(endpoint) => endpoint.batch_size(),
        }
    }

    /// How many dimensions its vectors have.
    ///
    /// # Errors
    /// As [`EmbedError`] says.
    pub async fn dimensions(&self) -> Result<usize, EmbedError> {
        let vectors = self.embed_passages(&["hello".to_owned()]).await?;
        Ok(vectors.first().map_or(0, Vector::dimensions))
    }

    /// A vector for each passage, all of the same dimensions; [`Embedder::batch_size`] at most.
    ///
    /// # Errors
    /// As [`EmbedError`] says; then no passage got a vector.
    pub async fn embed_passages(&self, passages: &[String]) -> Result<Vec<Vector>, EmbedError> {
        self.ask(Kind::Passage, passages).await
    }

    /// A vector for each passage, `None` for those that are refused even alone: whatever is refused is halved.
    ///
    /// # Errors
    /// As [`EmbedError`] says, but never that something was refused.
    pub async fn embed_each(&self, passages: Vec<String>) -> Result<Vec<Option<Vector>>, EmbedError> {
        let mut vectors = Vec::with_capacity(passages.len());
        let mut left: Vec<&[String]> = passages.chunks(self.batch_size()).rev().collect();
        while let Some(batch) = left.pop() {
            match self.embed_passages(batch).await {
                Ok(found) => vectors.extend(found.into_iter().map(Some)),
                Err(EmbedError::Refused { .. }) if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    left.extend([second, first]);
                }
                Err(EmbedError::Refused { .. }) => vectors.push(None),
                Err(error) => return Err(error),
            }
        }
        Ok(vectors)
    }

    /// The vector of a query, which waits for three seconds.
    ///
    /// # Errors
    /// As [`EmbedError`] says.
    pub async fn embed_query(&self, text: &str) -> Result<Vector, EmbedError> {
        if let Some(vector) = self.cached_queries.get(text) {
            return Ok(vector);
        }
        self.breaker.admit(Instant::now()).map_err(|wait| EmbedError::Temporary {
            reason: "the endpoint of embeddings has failed again and again, and is left alone for a while".to_owned(),
            retry_after: Some(wait),
        })?;
        let query = text.to_owned();
        let asking = timeout(QUERY_TIMEOUT, self.ask(Kind::Query, slice::from_ref(&query)));
        let late = |_late| Err(EmbedError::temporary("the vector of a query did not come within 3 seconds"));
        let asked = asking.await.unwrap_or_else(late);
        if matches!(self.model, Model::Endpoint(_)) {
            let answers = matches!(asked, Ok(_) | Err(EmbedError::Refused { .. }));
            self.breaker.record(answers, Instant::now());
        }
        let vector = asked?.pop().ok_or_else(|| EmbedError::refused("the query got no vector"))?;
        self.cached_queries.insert(query, vector.clone());
        Ok(vector)
    }

    async fn ask(&self, kind: Kind, texts: &[String]) -> Result<Vec<Vector>, EmbedError> {
        let texts = texts.iter().map(|text| self.prefixes.applied(kind, text)).collect();
        match &self.model {
            #[cfg(feature = "local-embeddings")]
            Model::Local(local) => local.embed(kind, texts).await,
            Model::Endpoint(endpoint) => endpoint.embed(kind, texts).await,
        }
    }
}

#[cfg(feature = "local-embeddings")]
fn open_folder(folder: &Path) -> Result<(Model, String, String, Prefixes), String> {
    let (local, about) = Local::open(folder)?;
    Ok((Model::Local(local), about.digest, about.name, about.prefixes))
}

#[cfg(not(feature = "local-embeddings"))]
fn open_folder(folder: &Path) -> Result<(Model, String, String, Prefixes), String> {
    Err(format!(
        "this program was built without models of its own, so that the folder {} cannot be used: build it with \
         `cargo build --release --features local-embeddings`, name an endpoint with --embedding-url, or say --no-embeddings",
        folder.display()
    ))
}
