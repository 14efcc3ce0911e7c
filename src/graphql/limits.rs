//! What a document may ask for, judged before anything of it is run or expanded.
//!
//! The library compares depth and complexity only after it has followed every fragment as often as it is spread, and a
//! document of 1 kB can spread one a billion times. So brackets and tokens are counted before it is parsed, and all else
//! on the parsed document, each fragment once.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};

use super::{
    completion::root,
    errors::{Code, request_error},
    pages::MAX_SIZE,
    shape::{FieldShape, Shape},
};
use crate::config::Limits;

/// Items that a list counts for when nothing says how many it has.
const USUAL_LIST: u64 = 2;
/// Items that a page counts for without `first` or `last`.
const USUAL_PAGE: u64 = 50;
/// Fields and fragments, each as often as it is reached, that the library may have to visit.
const MAX_SELECTIONS: u64 = 10_000;
/// Fields inside fields in introspection. The usual query of clients is about 15 deep.
const MAX_INTROSPECTION_DEPTH: u32 = 20;
/// Lists inside lists in introspection: `fields { type { fields … } }` would go round in circles.
const MAX_INTROSPECTION_LISTS: u32 = 2;
/// What a field of introspection counts for: it is there for many types.
const INTROSPECTION_WEIGHT: u64 = 10;

/// Counts tokens and brackets of a text that need not be GraphQL. What it takes for one token is never more than one to
/// the parser: <https://spec.graphql.org/October2021/#sec-Appendix-Grammar-Summary.Lexical-Tokens>.
pub(super) fn check_text(text: &str, limits: &Limits) -> Result<(), ServerError> {
    let (mut tokens, mut depth) = (0_usize, 0_u32);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '#' => {
                rest = rest.split_once(['\n', '\r']).map_or("", |(_, after)| after);
                continue;
            }
            c if c.is_whitespace() || c == ',' || c == '\u{FEFF}' => {
                rest = rest.strip_prefix(c).unwrap_or_default();
                continue;
            }
            '"' => string_length(rest).ok_or_else(|| {
                let message = "The document is not GraphQL: a string in it does not end.";
                request_error(Code::GraphqlParseFailed, message, None)
            })?,
            '.' if rest.starts_with("...") => 3,
            c if c.is_ascii_alphanumeric() || c == '_' => {
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        tokens += 1;
        match first {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if tokens > limits.max_tokens {
            let message = format!("The document has more than {} tokens. Ask for less at once.", limits.max_tokens);
            return Err(request_error(Code::QueryTooComplex, message, None));
        }
        if depth > limits.max_recursion {
            let message = format!("The document has brackets nested more than {} deep.", limits.max_recursion);
            return Err(request_error(Code::QueryTooDeep, message, None));
        }
        rest = rest.get(token..).unwrap_or_default();
    }
    Ok(())
}

/// Bytes of the string that the text starts with; `None` if it does not end.
fn string_length(text: &str) -> Option<usize> {
    let block = text.starts_with("\"\"\"");
    let mut at = if block { 3 } else { 1 };
    loop {
        let rest = text.get(at..)?;
        let step = match rest.chars().next()? {
            '"' if !block => return Some(at + 1),
            '"' if rest.starts_with("\"\"\"") => return Some(at + 3),
            '\n' | '\r' if !block => return None,
            '\\' if block && rest.starts_with("\\\"\"\"") => 4,
            '\\' if !block => 1 + rest.chars().nth(1)?.len_utf8(),
            c => c.len_utf8(),
        };
        at += step;
    }
}

/// Judges a parsed document, whichever of its operations will be run.
pub(super) fn check_document(
    document: &ExecutableDocument,
    variables: &Variables,
    shape: &Shape,
    limits: &Limits,
) -> Result<(), ServerError> {
    let mut measure = Measure { document, variables, shape, limits, operation: None, fragments: HashMap::new() };
    let mut selections = 0_u64;
    for (_, operation) in document.operations.iter() {
        measure.operation = Some(&operation.node);
        measure.fragments.clear();
        selections = selections.saturating_add(measure.check(&operation.node)?);
    }
    // The library validates them all the same, spread or not.
    for (name, fragment) in &document.fragments {
        selections = selections.saturating_add(measure.fragment(name, fragment.pos)?.selections);
    }
    if selections > MAX_SELECTIONS {
        let message = format!(
            "The document has {selections} fields, each as often as its fragment is used; {MAX_SELECTIONS} are allowed. \
             Ask for less at once."
        );
        return Err(request_error(Code::QueryTooComplex, message, None));
    }
    Ok(())
}

/// What a part of a document asks for. Sums do not overflow: they stay at the highest number.
#[derive(Clone, Copy, Default)]
struct Cost {
    depth: u32,
    /// Lists inside lists of introspection.
    lists: u32,
    /// Fields outside of lists.
    once: u64,
    /// Fields inside the lists of the page that this is part of.
    per_item: u64,
    aliases: u64,
    directives: u64,
    selections: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.lists = self.lists.max(other.lists);
        self.once = self.once.saturating_add(other.once);
        self.per_item = self.per_item.saturating_add(other.per_item);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.selections = self.selections.saturating_add(other.selections);
    }

    fn total(self) -> u64 {
        self.once.saturating_add(self.per_item.saturating_mul(USUAL_PAGE))
    }
}

/// A fragment that is being measured, or has been.
#[derive(Clone, Copy)]
enum Fragment {
    Entered,
    Known(Cost),
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    shape: &'a Shape,
    limits: &'a Limits,
    operation: Option<&'a OperationDefinition>,
    fragments: HashMap<&'a Name, Fragment>,
}

impl<'a> Measure<'a> {
    /// Gives the number of its selections.
    fn check(&mut self, operation: &'a OperationDefinition) -> Result<u64, ServerError> {
        let mut cost = self.selection_set(&operation.selection_set, &root(operation.ty))?;
        let on_variables = operation.variable_definitions.iter().map(|definition| definition.node.directives.len());
        cost.directives += (operation.directives.len() + on_variables.sum::<usize>()) as u64;
        let at = operation.selection_set.pos;
        if cost.selections > MAX_SELECTIONS {
            return Ok(cost.selections);
        }
        let roots = self.root_fields(&operation.selection_set.node);
        let plain = matches!(&*operation.selection_set.node.items, [Positioned { node: Selection::Field(_), .. }]);
        if operation.ty == OperationType::Subscription && !plain {
            let message = "A subscription must have exactly one field at its root, which is not in a fragment.";
            return Err(request_error(Code::GraphqlValidationFailed, message, Some(at)));
        }
        let limits = self.limits;
        for (is, at_most, what) in [
            (cost.aliases, limits.max_aliases, "aliases"),
            (roots, limits.max_root_fields, "fields at its root"),
            (cost.directives, limits.max_directives, "directives"),
            (cost.total(), limits.max_complexity, "fields to fill, where a list counts for all its items"),
        ] {
            if is > at_most {
                let message = format!("The operation has {is} {what}; {at_most} are allowed. Ask for less at once.");
                return Err(request_error(Code::QueryTooComplex, message, Some(at)));
            }
        }
        if cost.depth > limits.max_depth {
            let message = format!("The operation is {} fields deep; {} are allowed.", cost.depth, limits.max_depth);
            return Err(request_error(Code::QueryTooDeep, message, Some(at)));
        }
        Ok(cost.selections)
    }

    fn selection_set(&mut self, set: &'a Positioned<SelectionSet>, on: &Name) -> Result<Cost, ServerError> {
        let mut cost = Cost::default();
        for selection in &set.node.items {
            cost.add(match &selection.node {
                Selection::Field(field) => self.field(&field.node, on, field.pos)?,
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref().map_or(on, |condition| &condition.node.on.node);
                    let mut cost = self.selection_set(&inline.node.selection_set, on)?;
                    cost.add(visited(&inline.node.directives));
                    cost
                }
                Selection::FragmentSpread(spread) => {
                    let mut cost = self.fragment(&spread.node.fragment_name.node, spread.pos)?;
                    cost.add(visited(&spread.node.directives));
                    cost
                }
            });
        }
        Ok(cost)
    }

    fn field(&mut self, field: &'a Field, on: &Name, at: Pos) -> Result<Cost, ServerError> {
        let name = &field.name.node;
        let shape = self.shape.field(on, name);
        let ty = shape.map_or_else(|| Name::new(""), |shape| shape.named_type().clone());
        let inner = self.selection_set(&field.selection_set, &ty)?;
        let mut cost = Cost { depth: inner.depth + 1, once: 0, per_item: 0, ..inner };
        cost.add(visited(&field.directives));
        cost.aliases = cost.aliases.saturating_add(u64::from(field.alias.is_some()));
        match name.as_str() {
            "__typename" => {}
            "__schema" | "__type" => return introspection(cost, inner, at),
            "fields" | "inputFields" | "interfaces" | "possibleTypes" if shape.is_none() => {
                cost.lists += 1;
                cost.once = inner.total().saturating_add(1);
            }
            _ => self.count(&mut cost, inner, field, shape, on),
        }
        Ok(cost)
    }

    /// Adds what the field itself fills: once, or once for each item of the list that it is.
    fn count(&self, cost: &mut Cost, inner: Cost, field: &Field, shape: Option<&FieldShape>, on: &Name) {
        match shape {
            Some(shape) if shape.is_paged() => {
                let items = self.page_size(field).unwrap_or(USUAL_PAGE);
                cost.once = inner.once.saturating_add(inner.per_item.saturating_mul(items)).saturating_add(1);
            }
            Some(shape) if shape.is_list() && (on.ends_with("Connection") || on.ends_with("Page")) => {
                cost.once = 1;
                cost.per_item = inner.total().saturating_add(1);
            }
            Some(shape) if shape.is_list() => {
                let items = self.list_size(field).unwrap_or(USUAL_LIST);
                cost.once = inner.total().saturating_mul(items).saturating_add(1);
            }
            _ => cost.once = inner.total().saturating_add(1),
        }
    }

    fn fragment(&mut self, name: &'a Name, at: Pos) -> Result<Cost, ServerError> {
        let Some(Positioned { node: fragment, .. }) = self.document.fragments.get(name) else {
            // Validation will say so.
            return Ok(Cost::default());
        };
        match self.fragments.get(name) {
            Some(Fragment::Known(cost)) => Ok(*cost),
            Some(Fragment::Entered) => {
                let message = format!("The fragment {name} spreads itself.");
                Err(request_error(Code::GraphqlValidationFailed, message, Some(at)))
            }
            None => {
                self.fragments.insert(name, Fragment::Entered);
                let cost = self.fragment_definition(fragment)?;
                self.fragments.insert(name, Fragment::Known(cost));
                Ok(cost)
            }
        }
    }

    fn fragment_definition(&mut self, fragment: &'a FragmentDefinition) -> Result<Cost, ServerError> {
        let mut cost = self.selection_set(&fragment.selection_set, &fragment.type_condition.node.on.node)?;
        cost.add(visited(&fragment.directives));
        Ok(cost)
    }

    /// Fields at the root, also those in fragments; what is too much already is not counted to its end.
    fn root_fields(&self, set: &SelectionSet) -> u64 {
        let mut fields = 0;
        let mut sets = vec![set];
        while let Some(set) = sets.pop() {
            for selection in &set.items {
                match &selection.node {
                    Selection::Field(_) => fields += 1,
                    Selection::InlineFragment(inline) => sets.push(&inline.node.selection_set.node),
                    Selection::FragmentSpread(spread) => {
                        let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                        sets.extend(fragment.map(|fragment| &fragment.node.selection_set.node));
                    }
                }
            }
            if fields > self.limits.max_root_fields || sets.len() as u64 > MAX_SELECTIONS {
                return self.limits.max_root_fields + 1;
            }
        }
        fields
    }

    fn page_size(&self, field: &Field) -> Option<u64> {
        ["first", "last"].into_iter().find_map(|name| {
            let Value::Number(size) = self.argument(field, name)? else { return None };
            // More than a page can have is refused when it is asked for.
            size.as_u64().map(|size| size.min(MAX_SIZE.into()))
        })
    }

    fn list_size(&self, field: &Field) -> Option<u64> {
        let Value::List(ids) = self.argument(field, "ids")? else { return None };
        Some(ids.len() as u64)
    }

    /// An argument's value, with the values of its variables or their defaults.
    fn argument(&self, field: &Field, name: &str) -> Option<Value> {
        let argument = field.get_argument(name)?.node.clone();
        argument.into_const_with(|variable| self.variable(&variable).ok_or(())).ok()
    }

    fn variable(&self, name: &Name) -> Option<Value> {
        let mut definitions = self.operation?.variable_definitions.iter();
        let default = || definitions.find(|definition| definition.node.name.node == *name)?.node.default_value();
        self.variables.get(name).or_else(default).cloned()
    }
}

/// A selection that is visited, with its directives.
fn visited(directives: &[Positioned<Directive>]) -> Cost {
    Cost { selections: 1, directives: directives.len() as u64, ..Cost::default() }
}

/// Introspection has depths of its own.
fn introspection(mut cost: Cost, inner: Cost, at: Pos) -> Result<Cost, ServerError> {
    if cost.depth > MAX_INTROSPECTION_DEPTH || cost.lists > MAX_INTROSPECTION_LISTS {
        let message = "This introspection goes round in circles: its lists are nested too deeply.";
        return Err(request_error(Code::QueryTooDeep, message, Some(at)));
    }
    cost.depth = 1;
    cost.once = inner.total().saturating_mul(INTROSPECTION_WEIGHT);
    Ok(cost)
}
