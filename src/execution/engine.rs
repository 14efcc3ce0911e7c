//! The engine: what can be known of a request before anything is run, with caches of documents and plans.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use apollo_compiler::{Name, Node, executable::Operation};

use super::{
    Answer, Arguments, BadDocuments, Error, Persisted, Plan, Request, Schema,
    arguments::Variables,
    caches::ByteCache,
    documents::{CACHED_BYTES, Document},
    plan::BindRoot,
};
use crate::config::Limits;

/// Prepares requests: all that can be known before anything is run.
pub struct Engine<R> {
    schema: Arc<Schema>,
    /// Documents that were parsed.
    parsed: AtomicU64,
    documents: ByteCache<Arc<str>, Arc<Document>>,
    plans: ByteCache<PlanKey, Arc<Plan<R>>>,
    bind: BindRoot<R>,
    persisted: Persisted,
    limits: Limits,
}

/// A document, the name of an operation in it, and how its directives are decided.
type PlanKey = (u64, Option<Name>, Box<[Option<bool>]>);

/// An operation with its arguments, ready to be run any number of times.
pub struct Prepared<R> {
    /// What is done.
    pub plan: Arc<Plan<R>>,
    /// The arguments of its fields.
    pub arguments: Arc<Arguments>,
}

impl<R> Prepared<R> {
    /// Bytes that it holds for as long as it is run, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.plan.bytes).unwrap_or(usize::MAX).saturating_add(self.arguments.bytes)
    }
}

impl<R> Engine<R> {
    /// For this schema, whose roots are bound by `bind`.
    ///
    /// # Errors
    /// When the list of trusted documents cannot be read.
    pub fn open(schema: Schema, bind: BindRoot<R>, limits: &Limits) -> Result<Self, BadDocuments> {
        let persisted = Persisted::open(limits.trusted_documents.as_deref())?;
        let (documents, plans) = (ByteCache::new(CACHED_BYTES), ByteCache::new(CACHED_BYTES));
        let (schema, parsed) = (Arc::new(schema), AtomicU64::new(0));
        Ok(Self { schema, parsed, documents, plans, bind, persisted, limits: limits.clone() })
    }

    /// Checks a request without running anything.
    ///
    /// # Errors
    /// The answer to a request that must not be run.
    pub fn prepare(&self, request: &Request) -> Result<Prepared<R>, Answer> {
        let document = self.persisted.document(request, |text| Ok(self.document(text)?))?;
        let operation = document.operation(request.operation_name.as_deref())?;
        let variables = Variables::coerce(operation, &request.variables, &document.lines, &self.schema)?;
        let plan = self.plan(&document, operation, &variables)?;
        let arguments = plan.arguments(&variables, &self.schema, &self.limits)?;
        Ok(Prepared { plan, arguments })
    }

    /// The document with this text, from the cache if it is there.
    fn document(&self, text: &str) -> Result<Arc<Document>, Vec<Error>> {
        if let Some(document) = self.documents.get(text) {
            return Ok(document);
        }
        let id = self.parsed.fetch_add(1, Ordering::Relaxed);
        let document = Arc::new(Document::parse(id, text, &self.schema, &self.limits)?);
        if !document.is_mostly_whitespace {
            self.documents.insert(text.into(), document.clone(), document.bytes);
        }
        Ok(document)
    }

    /// The plan of an operation of this document, from the cache if it is there.
    fn plan(
        &self,
        document: &Document,
        operation: &Node<Operation>,
        variables: &Variables,
    ) -> Result<Arc<Plan<R>>, Error> {
        let conditions = document.conditions.iter().map(|name| variables.condition(name));
        let key = (document.id, operation.name.clone(), conditions.collect());
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan);
        }
        let plan = Arc::new(Plan::new(document, operation, variables, &self.schema, &self.limits, self.bind)?);
        if !document.is_mostly_whitespace {
            self.plans.insert(key, plan.clone(), plan.cached_bytes());
        }
        Ok(plan)
    }
}
