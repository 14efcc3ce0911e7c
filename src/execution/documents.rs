//! Documents: parsed and validated once for each text, and cached for whoever sends the same text again.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{DirectiveList, Value},
    diagnostic::{Diagnostic, ToCliReport},
    executable::{Operation, Selection, SelectionSet},
    parser::{Parser, SourceSpan},
    validation::{DiagnosticData, DiagnosticList, Valid},
};
use quick_cache::{Weighter, sync::Cache};

use super::{
    Code, Error, Schema,
    errors::Location,
    limits::{MAX_ERRORS, check_text},
};
use crate::config::Limits;

/// Documents that are cached, at most …
const CACHED: usize = 1_000;
/// … and the bytes that they hold, estimated.
const CACHED_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that a document holds for each selection and each argument of it, measured on the documents of the benches.
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
        let ast = Parser::new().parse_ast(text, "document").map_err(|invalid| {
            let not_graphql = |why: String| format!("The document is not GraphQL: {why}.");
            errors(&invalid.errors, |_, _| Code::GraphqlParseFailed, not_graphql, 1)
        })?;
        let parsed = ast.to_executable_validate(&schema.definitions).map_err(|invalid| {
            let code = |kind: &str, at| code_of_diagnostic(kind, text, at);
            errors(&invalid.errors, code, |why| sentence(&why), MAX_ERRORS)
        })?;
        let Survey { nodes, conditions, duplicate } = Survey::of(&parsed);
        if let Some((name, value)) = duplicate {
            let message = format!("There can be only one field `{name}` in an input object.");
            let location = Location::of(&value, &parsed.sources);
            return Err(vec![Error::new(Code::GraphqlValidationFailed, message).at(location)]);
        }
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

/// What is known of a document once it was looked through.
#[derive(Default)]
struct Survey {
    /// Selections and arguments.
    nodes: u64,
    /// Variables that decide about directives.
    conditions: BTreeSet<Name>,
    /// The first field that an input object has twice, which apollo-compiler does not look for
    /// (<https://spec.graphql.org/October2021/#sec-Input-Object-Field-Uniqueness>).
    duplicate: Option<(Name, Node<Value>)>,
}

impl Survey {
    fn of(document: &ExecutableDocument) -> Self {
        let mut survey = Self::default();
        for operation in document.operations.iter() {
            survey.directives(&operation.directives);
            for variable in &operation.variables {
                survey.directives(&variable.directives);
                variable.default_value.iter().for_each(|default| survey.value(default));
            }
            survey.selections(&operation.selection_set);
        }
        for fragment in document.fragments.values() {
            survey.directives(&fragment.directives);
            survey.selections(&fragment.selection_set);
        }
        survey
    }

    fn selections(&mut self, set: &SelectionSet) {
        for selection in &set.selections {
            self.nodes += 1;
            self.directives(selection.directives());
            match selection {
                Selection::Field(field) => {
                    field.arguments.iter().for_each(|argument| self.value(&argument.value));
                    self.selections(&field.selection_set);
                }
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn directives(&mut self, directives: &DirectiveList) {
        for argument in directives.iter().flat_map(|directive| &directive.arguments) {
            self.conditions.extend(argument.value.as_variable().cloned());
            self.value(&argument.value);
        }
    }

    fn value(&mut self, value: &Node<Value>) {
        self.nodes += 1;
        match &**value {
            Value::List(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                let mut names = HashSet::new();
                for (name, inner) in fields {
                    if !names.insert(name) {
                        self.duplicate.get_or_insert_with(|| (name.clone(), inner.clone()));
                    }
                    self.value(inner);
                }
            }
            Value::Null
            | Value::Enum(_)
            | Value::Variable(_)
            | Value::String(_)
            | Value::Float(_)
            | Value::Int(_)
            | Value::Boolean(_) => {}
        }
    }
}

/// What the compiler found, as errors of a response: no more than `most`.
fn errors(
    found: &DiagnosticList,
    code: impl Fn(&str, Option<SourceSpan>) -> Code,
    message: impl Fn(String) -> String,
    most: usize,
) -> Vec<Error> {
    let error = |diagnostic: Diagnostic<'_, DiagnosticData>| {
        let location = diagnostic.line_column_range().map(|range| range.start);
        let location = location.map(|start| Location { line: start.line, column: start.column });
        let kind = diagnostic.error.unstable_error_name().unwrap_or_default();
        let why = diagnostic.error.to_string();
        Error::new(
            code(kind, ToCliReport::location(diagnostic.error)),
            message(why.trim_start_matches("syntax error: ").to_owned()),
        )
        .at(location)
    };
    // A field that is not there leaves nothing selected around it: that would be said, too, and first.
    let kind = |diagnostic: &Diagnostic<'_, DiagnosticData>| diagnostic.error.unstable_error_name();
    let unknown = found.iter().any(|its| kind(&its) == Some("UndefinedField"));
    let follows = |its: &Diagnostic<'_, DiagnosticData>| unknown && kind(its) == Some("MissingSubselection");
    found.iter().filter(|its| !follows(its)).map(error).take(most).collect()
}

/// A literal that does not fit its type is bad input, as it would be if a variable had the value.
fn code_of_diagnostic(kind: &str, text: &str, at: Option<SourceSpan>) -> Code {
    let is_variable = || at.and_then(|at| text.get(at.offset()..)).is_some_and(|value| value.starts_with('$'));
    match kind {
        "UnsupportedValueType" | "IntCoercionError" | "UndefinedEnumValue" if !is_variable() => Code::BadUserInput,
        _ => Code::GraphqlValidationFailed,
    }
}

/// The compiler's words, as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
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
