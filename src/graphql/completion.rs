//! Completion of an answer as the specification has it. The library leaves two things undone: it answers fields in the
//! order in which they were done instead of that of the document, and it leaves out a field that failed instead of
//! making it null, or the nearest thing around it that may be null
//! (<https://spec.graphql.org/October2021/#sec-Handling-Field-Errors>).

use async_graphql::{
    Name, PathSegment, Positioned, Response, ServerError, Value,
    indexmap::IndexMap,
    parser::types::{
        BaseType, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet, Type,
    },
};

use super::shape::Shape;

/// The fields of an operation in their order, with all fragments spread and equal fields merged.
pub(super) struct Plan {
    fields: Vec<Planned>,
}

struct Planned {
    key: Name,
    /// `None` for fields of introspection.
    ty: Option<Type>,
    plan: Plan,
}

impl Plan {
    /// The plan of an operation that keeps the limits: its fragments do not go round in circles.
    pub(super) fn of(operation: &OperationDefinition, document: &ExecutableDocument, shape: &Shape) -> Self {
        let mut plan = Self { fields: Vec::new() };
        plan.add(&operation.selection_set.node, &root(operation.ty), document, shape);
        plan
    }

    fn add(&mut self, set: &SelectionSet, on: &Name, document: &ExecutableDocument, shape: &Shape) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(Positioned { node: field, .. }) => self.add_field(field, on, document, shape),
                Selection::InlineFragment(Positioned { node: inline, .. }) => {
                    let on = inline.type_condition.as_ref().map_or(on, |condition| &condition.node.on.node);
                    self.add(&inline.selection_set.node, on, document, shape);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                        let on = &fragment.node.type_condition.node.on.node;
                        self.add(&fragment.node.selection_set.node, on, document, shape);
                    }
                }
            }
        }
    }

    fn add_field(&mut self, field: &Field, on: &Name, document: &ExecutableDocument, shape: &Shape) {
        let of = shape.field(on, &field.name.node);
        let key = &field.response_key().node;
        let index = self.fields.iter().position(|planned| planned.key == *key).unwrap_or_else(|| {
            let ty = of.map(|of| of.ty.clone());
            self.fields.push(Planned { key: key.clone(), ty, plan: Self { fields: Vec::new() } });
            self.fields.len() - 1
        });
        let ty = of.map_or_else(|| Name::new(""), |of| of.named_type().clone());
        if let Some(planned) = self.fields.get_mut(index) {
            planned.plan.add(&field.selection_set.node, &ty, document, shape);
        }
    }

    /// Puts the fields of an answer in order, and nulls where fields failed.
    pub(super) fn complete(&self, response: &mut Response) {
        let Response { data, errors, .. } = response;
        if errors.iter().any(|error| error.path.is_empty()) {
            return;
        }
        if *data == Value::Null {
            *data = Value::Object(IndexMap::new());
        }
        if !self.value(None, data, errors, &Path::Root) {
            *data = Value::Null;
        }
    }

    /// False if a null must stand in this value's place.
    fn value(&self, ty: Option<&Type>, value: &mut Value, errors: &[ServerError], path: &Path<'_>) -> bool {
        match value {
            Value::Object(fields) => self.object(fields, errors, path),
            Value::List(items) => {
                let item_type = ty.and_then(|ty| match &ty.base {
                    BaseType::List(inner) => Some(&**inner),
                    BaseType::Named(_) => None,
                });
                items.iter_mut().enumerate().all(|(index, item)| {
                    let whole = self.value(item_type, item, errors, &Path::Item(path, index));
                    or_null(whole, item_type, item)
                })
            }
            // An object of which every field failed.
            Value::Null if errors.iter().any(|error| path.is_above(&error.path)) => {
                *value = Value::Object(IndexMap::new());
                self.value(ty, value, errors, path)
            }
            Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Boolean(_)
            | Value::Binary(_)
            | Value::Enum(_) => true,
        }
    }

    fn object(&self, values: &mut IndexMap<Name, Value>, errors: &[ServerError], path: &Path<'_>) -> bool {
        for field in &self.fields {
            let path = Path::Field(path, &field.key);
            let whole = match values.get_mut(&field.key) {
                Some(_) if field.plan.fields.is_empty() => continue,
                Some(value) => field.plan.value(field.ty.as_ref(), value, errors, &path),
                None if errors.iter().any(|error| path.is(&error.path)) => {
                    values.insert(field.key.clone(), Value::Null);
                    false
                }
                None => continue,
            };
            if let Some(value) = values.get_mut(&field.key)
                && !or_null(whole, field.ty.as_ref(), value)
            {
                return false;
            }
        }
        let place = |key: &Name| self.fields.iter().position(|field| field.key == *key);
        if !values.keys().is_sorted_by_key(place) {
            values.sort_by_cached_key(|key, _| place(key));
        }
        true
    }
}

/// Makes the value null if it is not whole and its type allows it; false if the type does not.
fn or_null(whole: bool, ty: Option<&Type>, value: &mut Value) -> bool {
    if whole {
        return true;
    }
    *value = Value::Null;
    ty.is_none_or(|ty| ty.nullable)
}

/// The root type of an operation.
pub(super) fn root(operation: OperationType) -> Name {
    Name::new(match operation {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    })
}

/// A place in an answer.
enum Path<'a> {
    Root,
    Field(&'a Self, &'a Name),
    Item(&'a Self, usize),
}

impl Path<'_> {
    fn is(&self, segments: &[PathSegment]) -> bool {
        match (self, segments.split_last()) {
            (Self::Root, None) => true,
            (Self::Field(parent, key), Some((PathSegment::Field(last), above))) => {
                last == key.as_str() && parent.is(above)
            }
            (Self::Item(parent, index), Some((PathSegment::Index(last), above))) => last == index && parent.is(above),
            _ => false,
        }
    }

    /// Whether the segments lead through this place to one further down.
    fn is_above(&self, segments: &[PathSegment]) -> bool {
        let depth = self.depth();
        segments.len() > depth && segments.get(..depth).is_some_and(|above| self.is(above))
    }

    fn depth(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Field(parent, _) | Self::Item(parent, _) => parent.depth() + 1,
        }
    }
}
