//! Plans: what an operation asks for, with its fragments spread, its directives decided and equal fields merged. It is
//! made once for each operation of a document, and for each way in which its directives can be decided.

use std::{collections::HashSet, sync::Arc};

use apollo_compiler::{
    Name, Node,
    ast::{Argument, DirectiveList, Value},
    collections::IndexMap,
    executable::{Field, Operation, OperationType, Selection, SelectionSet},
};

use super::{
    arguments::{ArgumentDecoder, Arguments, Binder, Variables},
    collected::CollectedField,
    documents::Document,
    errors::{Code, Error},
    limits::{ASK_FOR_LESS, MAX_ALIAS, MAX_HELD_BYTES, check_costs, too_deep, too_large},
    schema::Schema,
};
use crate::config::Limits;

/// Selections, each as often as it is reached, that may be visited to make a plan.
const MAX_SELECTIONS: u32 = 10_000;
/// Fields inside fields at most, whatever the settings are: they are followed by functions that call themselves.
const MAX_DEPTH: u32 = 100;
// What a plan holds, rounded up. `tests/api/caches.rs` holds it against the memory of the program.
const BYTES_PER_PLAN: u64 = 2_000;
const BYTES_PER_FIELD: u64 = 450;

/// What an operation asks for, and how it is resolved.
pub struct Plan<R> {
    /// What kind of operation it is.
    pub operation: OperationType,
    /// The name that the client has given it.
    pub name: Option<Name>,
    /// The fields at its root.
    pub fields: Vec<CollectedField>,
    /// How they are answered.
    pub root: R,
    decoders: Vec<ArgumentDecoder>,
    /// The arguments, if no variable decides about them.
    constant: Option<Arc<Arguments>>,
    /// Bytes that it holds without arguments, estimated.
    pub(super) bytes: u64,
}

/// Plans how the fields at the root of an operation are resolved.
pub(super) type BindRoot<R> = fn(OperationType, &[CollectedField], &mut Binder) -> R;

impl<R> Plan<R> {
    /// The plan of an operation of this document.
    pub(super) fn new(
        document: &Document,
        operation: &Node<Operation>,
        variables: &Variables,
        schema: &Arc<Schema>,
        limits: &Limits,
        bind: BindRoot<R>,
    ) -> Result<Self, Error> {
        let mut collector = Collector { document, schema, variables, visited: 0, arguments: 0 };
        let fields = collector.collect(operation.object_type(), &[&operation.selection_set], 0)?;
        let mut binder = Binder::new(collector.arguments);
        let root = bind(operation.operation_type, &fields, &mut binder);
        let bytes = bytes_of(&fields);
        if bytes > MAX_HELD_BYTES as u64 {
            return Err(too_large("The fields of the operation", ASK_FOR_LESS));
        }
        // The fields hold parts of the document, also once that is evicted. So the plan of a document that is too large to be
        // cached is too large as well.
        let bytes = BYTES_PER_PLAN + document.bytes + bytes;
        let (name, kind, decoders) = (operation.name.clone(), operation.operation_type, binder.decoders);
        let mut plan = Self { operation: kind, name, fields, root, decoders, constant: None, bytes };
        if operation.variables.is_empty() {
            plan.constant = Some(plan.arguments(variables, schema, limits)?);
        }
        Ok(plan)
    }

    /// Bytes that it holds in the cache, estimated.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.bytes + self.constant.as_ref().map_or(0, |arguments| arguments.bytes as u64)
    }

    /// The arguments of all fields, if they fit and keep the limits.
    pub(super) fn arguments(
        &self,
        variables: &Variables,
        schema: &Arc<Schema>,
        limits: &Limits,
    ) -> Result<Arc<Arguments>, Error> {
        if let Some(constant) = &self.constant {
            return Ok(constant.clone());
        }
        let values = variables.arguments(&self.fields, self.decoders.len(), schema)?;
        let cost = check_costs(self.operation, &self.fields, &values.0, schema.additional_cost, limits)?;
        Ok(Arc::new(Arguments::decode(cost, values, &self.decoders, schema.clone())?))
    }
}

/// Bytes that the fields of a plan hold, with all below them. A key is written into answers in two forms.
fn bytes_of(fields: &[CollectedField]) -> u64 {
    let below = |field: &CollectedField| field.selections.iter().map(|(_, fields)| bytes_of(fields)).sum::<u64>();
    fields.iter().map(|field| BYTES_PER_FIELD + 2 * field.key.len() as u64 + below(field)).sum()
}

struct Collector<'a> {
    document: &'a Document,
    schema: &'a Schema,
    variables: &'a Variables,
    visited: u32,
    /// Fields that have arguments.
    arguments: usize,
}

/// The fields for each response key, and the sets of selections below them.
type Groups<'a> = IndexMap<&'a Name, (&'a Node<Field>, Vec<&'a SelectionSet>)>;

impl<'a> Collector<'a> {
    /// The fields that several selection sets have for an object of this type, in the order in which they first come.
    fn collect(&mut self, object: &Name, sets: &[&'a SelectionSet], depth: u32) -> Result<Vec<CollectedField>, Error> {
        if depth > MAX_DEPTH {
            return Err(too_deep(depth, MAX_DEPTH));
        }
        let (mut groups, mut spread) = (Groups::default(), HashSet::new());
        for set in sets {
            self.group(object, set, &mut groups, &mut spread)?;
        }
        groups.into_iter().map(|(key, (field, sets))| self.field(key, field, &sets, depth)).collect()
    }

    fn field(
        &mut self,
        key: &Name,
        field: &Node<Field>,
        sets: &[&'a SelectionSet],
        depth: u32,
    ) -> Result<CollectedField, Error> {
        let location = self.document.lines.location(field.location());
        if key.len() > MAX_ALIAS {
            let message = format!("An alias may have at most {MAX_ALIAS} characters: it is written into the answer.");
            return Err(Error::new(Code::QueryTooComplex, message).at(location));
        }
        let arguments = (!field.definition.arguments.is_empty()).then_some(self.arguments);
        self.arguments += usize::from(arguments.is_some());
        let types = if field.selection_set.is_empty() {
            Vec::new()
        } else {
            self.schema.possible_types(field.definition.ty.inner_named_type())
        };
        let selection = |ty: Name| Ok((ty.clone(), self.collect(&ty, sets, depth + 1)?));
        let selections = types.into_iter().map(selection).collect::<Result<_, Error>>()?;
        Ok(CollectedField { key: key.clone(), field: field.clone(), arguments, selections, location })
    }

    fn group(
        &mut self,
        object: &Name,
        set: &'a SelectionSet,
        groups: &mut Groups<'a>,
        spread: &mut HashSet<&'a Name>,
    ) -> Result<(), Error> {
        for selection in &set.selections {
            self.visited += 1;
            if self.visited > MAX_SELECTIONS {
                let message = format!(
                    "The operation has more than {MAX_SELECTIONS} fields, each as often as its fragment is used. Ask for \
                     less at once."
                );
                return Err(Error::new(Code::QueryTooComplex, message));
            }
            if !self.is_included(selection.directives())? {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    let (first, sets) = groups.entry(field.response_key()).or_insert_with(|| (field, Vec::new()));
                    sets.push(&field.selection_set);
                    self.check_arguments(first, field)?;
                }
                Selection::InlineFragment(inline) => {
                    if inline.type_condition.as_ref().is_none_or(|ty| self.schema.is_of(object, ty)) {
                        self.group(object, &inline.selection_set, groups, spread)?;
                    }
                }
                Selection::FragmentSpread(its) => {
                    let document = self.document;
                    if spread.insert(&its.fragment_name)
                        && let Some(fragment) = document.parsed.fragments.get(&its.fragment_name)
                        && self.schema.is_of(object, fragment.type_condition())
                    {
                        self.group(object, &fragment.selection_set, groups, spread)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Fields with one response key have the same arguments
    /// (<https://spec.graphql.org/October2021/#sec-Field-Selection-Merging>); apollo-compiler compares lists only as far as the
    /// shorter one goes.
    fn check_arguments(&self, first: &Node<Field>, other: &Node<Field>) -> Result<(), Error> {
        let is_same = |argument: &Node<Argument>| {
            let value = other.specified_argument_by_name(&argument.name);
            value.is_none_or(|value| have_same_lengths(&argument.value, value))
        };
        if first.arguments.iter().all(is_same) {
            return Ok(());
        }
        let message = format!("`{}` stands for one field, and cannot have different arguments.", other.response_key());
        let location = self.document.lines.location(other.location());
        Err(Error::new(Code::GraphqlValidationFailed, message).at(location))
    }

    /// <https://spec.graphql.org/October2021/#sec--skip>
    fn is_included(&self, directives: &DirectiveList) -> Result<bool, Error> {
        Ok(self.condition(directives, "skip")? != Some(true) && self.condition(directives, "include")? != Some(false))
    }

    /// The argument `if` of a directive; `None` if the directive is not there.
    fn condition(&self, directives: &DirectiveList, name: &str) -> Result<Option<bool>, Error> {
        let Some(value) = directives.get(name).and_then(|its| its.specified_argument_by_name("if")) else {
            return Ok(None);
        };
        let Some(variable) = value.as_variable() else { return Ok(value.to_bool()) };
        self.variables.condition(variable).map(Some).ok_or_else(|| {
            let why = format!("The variable `${variable}` must be true or false: `@{name}` asks for it.");
            Error::bad_input(why).at(self.document.lines.location(value.location()))
        })
    }
}

fn have_same_lengths(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| have_same_lengths(left, right))
        }
        (Value::Object(left), Value::Object(right)) => left.iter().all(|(name, left)| {
            right.iter().find(|(its, _)| its == name).is_none_or(|(_, right)| have_same_lengths(left, right))
        }),
        _ => true,
    }
}
