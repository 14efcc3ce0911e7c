//! Documents: parsed and validated once for each text, and cached for whoever sends the same text again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use apollo_compiler::{ExecutableDocument, Name, Node, executable::Operation, validation::Valid};
use quick_cache::{Weighter, sync::Cache};

use super::{
    errors::{Code, Error},
    limits::check_text,
    schema::Schema,
    validation::{Survey, validated},
};
use crate::config::Limits;

/// Documents that are cached, at most …
const CACHED: usize = 1_000;
/// … and the bytes that they hold, estimated.
const CACHED_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that a document holds for each selection and each value in it, estimated.
const BYTES_PER_NODE: u64 = 400;

/// A document that fits the schema.
pub struct Document {
    /// Tells it from every other document of this process.
    pub(super) id: u64,
    pub(super) parsed: Valid<ExecutableDocument>,
    /// The variables that decide about `@skip` and `@include`.
    pub(super) conditions: Vec<Name>,
    weight: u64,
}

impl Document {
    fn parse(text: &str, schema: &Schema, limits: &Limits) -> Result<Self, Vec<Error>> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        check_text(text, limits).map_err(|error| vec![error])?;
        let (parsed, Survey { nodes, conditions, .. }) = validated(text, schema)?;
        let (id, weight) = (IDS.fetch_add(1, Ordering::Relaxed), text.len() as u64 + BYTES_PER_NODE * nodes);
        Ok(Self { id, parsed, conditions: conditions.into_iter().collect(), weight })
    }

    /// The operation that is meant, and its place in the document.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<(usize, &Node<Operation>), Error> {
        let mut operations = self.parsed.operations.iter().enumerate();
        let found = match name {
            Some(name) => operations.find(|(_, its)| its.name.as_ref().is_some_and(|its| its.as_str() == name)),
            None if self.parsed.operations.len() == 1 => operations.next(),
            None => {
                let message = "The document has several operations: name one of them with `operationName`.";
                return Err(Error::new(Code::GraphqlValidationFailed, message));
            }
        };
        let message = "The document has no operation of this name.";
        found.ok_or_else(|| Error::new(Code::GraphqlValidationFailed, message))
    }
}

/// The documents that are cached. Clones share them.
#[derive(Clone)]
pub struct Documents {
    cached: Arc<Cache<Arc<str>, Arc<Document>, ByWeight>>,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Arc<str>, Arc<Document>> for ByWeight {
    fn weight(&self, _: &Arc<str>, document: &Arc<Document>) -> u64 {
        document.weight
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self { cached: Arc::new(Cache::with_weighter(CACHED, CACHED_BYTES, ByWeight)) }
    }
}

impl Documents {
    /// The document with this text, if it fits the schema and the limits.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn get(&self, text: &str, schema: &Schema, limits: &Limits) -> Result<Arc<Document>, Vec<Error>> {
        if let Some(document) = self.cached.get(text) {
            return Ok(document);
        }
        let document = Arc::new(Document::parse(text, schema, limits)?);
        self.cached.insert(text.into(), document.clone());
        Ok(document)
    }
}
