//! Documents: parsed and planned once, and kept for whoever sends the same text again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::{
    Name, ServerError, Variables,
    parser::{
        parse_query,
        types::{ExecutableDocument, OperationDefinition},
    },
};
use quick_cache::{Weighter, sync::Cache};

use super::{
    completion::Plan,
    errors::{Code, request_error},
    feed::resume,
    limits::check_text,
    shape::Shape,
};
use crate::config::Limits;

/// Documents that are kept at most …
pub(super) const KEPT: usize = 1_000;
/// … and bytes of their texts. Parsed, a document is some twenty times as large.
pub(super) const KEPT_BYTES: u64 = 256 * 1024;

/// A document that was parsed.
pub(super) struct Document {
    pub(super) text: Arc<str>,
    pub(super) parsed: ExecutableDocument,
    plans: Mutex<HashMap<Option<Name>, Arc<Plan>>>,
}

impl Document {
    fn parse(text: &str, limits: &Limits) -> Result<Self, ServerError> {
        check_text(text, limits)?;
        let parsed = parse_query(text).map_err(|error| {
            let at = error.positions().next();
            let said = error.to_string();
            // The first lines of a syntax error draw a picture of the place; the last one says what is wrong.
            let what = said.lines().next_back().unwrap_or_default().trim_start_matches([' ', '=']);
            request_error(Code::GraphqlParseFailed, format!("The document is not GraphQL: {what}."), at)
        })?;
        Ok(Self { text: text.into(), parsed, plans: Mutex::default() })
    }

    /// The same document, where a feed goes on after this cursor.
    pub(super) fn resuming(&self, variables: &mut Variables, after: &str) -> Self {
        let mut parsed = self.parsed.clone();
        resume(&mut parsed, variables, after);
        Self { text: self.text.clone(), parsed, plans: Mutex::default() }
    }

    /// The operation that is meant.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<(Option<&Name>, &OperationDefinition), ServerError> {
        let mut operations = self.parsed.operations.iter();
        let found = match name {
            Some(name) => operations.find(|(its, _)| its.is_some_and(|its| its == name)),
            None if self.parsed.operations.iter().count() == 1 => operations.next(),
            None => {
                let message = "The document has several operations: name one of them with `operationName`.";
                return Err(request_error(Code::GraphqlValidationFailed, message, None));
            }
        };
        let message = "The document has no operation of this name.";
        let unknown = || request_error(Code::GraphqlValidationFailed, message, None);
        found.map(|(name, operation)| (name, &operation.node)).ok_or_else(unknown)
    }

    /// The plan of an operation of it. The document keeps the limits: its fragments do not go round in circles.
    pub(super) fn plan(
        &self,
        name: Option<&Name>,
        operation: &OperationDefinition,
        shape: &Shape,
    ) -> Result<Arc<Plan>, ServerError> {
        let plans = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let key = name.cloned();
        if let Some(plan) = plans().get(&key) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Plan::of(operation, &self.parsed, shape)?);
        plans().insert(key, plan.clone());
        Ok(plan)
    }
}

/// The documents that are kept. Those that come only once make room first: nobody can drive out what others use. Clones
/// share them.
#[derive(Clone)]
pub(super) struct Documents {
    kept: Arc<Cache<Arc<str>, Arc<Document>, Bytes>>,
}

impl Default for Documents {
    fn default() -> Self {
        Self { kept: Arc::new(Cache::with_weighter(KEPT, KEPT_BYTES, Bytes)) }
    }
}

impl Documents {
    /// The parsed document with this text.
    pub(super) fn parsed(&self, text: &str, limits: &Limits) -> Result<Arc<Document>, ServerError> {
        if let Some(document) = self.kept.get(text) {
            return Ok(document);
        }
        let document = Arc::new(Document::parse(text, limits)?);
        self.kept.insert(document.text.clone(), document.clone());
        Ok(document)
    }
}

/// A document weighs what its text does, and as much as an average one at least: so there are at most [`KEPT`].
#[derive(Clone)]
pub(super) struct Bytes;

impl Weighter<Arc<str>, Arc<Document>> for Bytes {
    fn weight(&self, text: &Arc<str>, _: &Arc<Document>) -> u64 {
        weight(text)
    }
}

impl Weighter<String, Arc<str>> for Bytes {
    fn weight(&self, _: &String, text: &Arc<str>) -> u64 {
        weight(text)
    }
}

fn weight(text: &str) -> u64 {
    (text.len() as u64).max(KEPT_BYTES / KEPT as u64)
}
