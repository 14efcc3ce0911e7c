//! Completion of an answer as the specification has it. The library leaves two things undone: it answers fields in the
//! order in which they were done instead of that of the document, and it leaves out a field that failed instead of
//! making it null, or the nearest thing around it that may be null
//! (<https://spec.graphql.org/October2021/#sec-Handling-Field-Errors>).
//!
//! The order is that of the first fragment that names a field: where fragments on different types name the same fields in
//! different orders, it is the first one's for both.

use async_graphql::{
    Name, PathSegment, Positioned, QueryPathNode, QueryPathSegment, Response, ServerError, Value,
    indexmap::IndexMap,
    parser::types::{
        BaseType, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet, Type,
    },
};

use super::{
    errors::{Code, request_error},
    shape::Shape,
};

/// The fields of an operation in their order, with all fragments spread and equal fields merged.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) fields: Vec<Planned>,
    /// Whether a directive may decide about some of them.
    pub(super) conditional: bool,
}

/// What stands for one key in an object.
pub(super) struct Planned {
    pub(super) key: Name,
    /// `None` for fields of introspection.
    ty: Option<Type>,
    /// Each field that stands for this key, and the type it is on.
    fields: Vec<(Name, Field)>,
    /// Whether the document has it more than once, be it the same field.
    repeated: bool,
    pub(super) plan: Plan,
}

impl Plan {
    /// The plan of an operation that keeps the limits: its fragments do not go round in circles.
    pub(super) fn of(
        operation: &OperationDefinition,
        document: &ExecutableDocument,
        shape: &Shape,
    ) -> Result<Self, ServerError> {
        let mut plan = Self::default();
        plan.add(&operation.selection_set.node, &root(operation.ty), document, shape)?;
        Ok(plan)
    }

    fn add(
        &mut self,
        set: &SelectionSet,
        on: &Name,
        document: &ExecutableDocument,
        shape: &Shape,
    ) -> Result<(), ServerError> {
        for selection in &set.items {
            self.conditional |= !selection.node.directives().is_empty();
            match &selection.node {
                Selection::Field(field) => self.add_field(field, on, document, shape)?,
                Selection::InlineFragment(Positioned { node: inline, .. }) => {
                    let on = inline.type_condition.as_ref().map_or(on, |condition| &condition.node.on.node);
                    self.add(&inline.selection_set.node, on, document, shape)?;
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                        let on = &fragment.node.type_condition.node.on.node;
                        self.add(&fragment.node.selection_set.node, on, document, shape)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add_field(
        &mut self,
        field: &Positioned<Field>,
        on: &Name,
        document: &ExecutableDocument,
        shape: &Shape,
    ) -> Result<(), ServerError> {
        let of = shape.field(on, &field.node.name.node);
        let key = &field.node.response_key().node;
        let index = self.fields.iter().position(|planned| planned.key == *key).unwrap_or_else(|| {
            let ty = of.map(|of| of.ty.clone());
            let (fields, plan) = Default::default();
            self.fields.push(Planned { key: key.clone(), ty, fields, repeated: false, plan });
            self.fields.len() - 1
        });
        let Some(planned) = self.fields.get_mut(index) else { return Ok(()) };
        planned.repeated |= !planned.fields.is_empty();
        planned.merge(field, on, of.map(|of| &of.ty), shape)?;
        let ty = of.map_or_else(|| Name::new(""), |of| of.named_type().clone());
        planned.plan.add(&field.node.selection_set.node, &ty, document, shape)
    }

    /// The plan of the objects at a place in the answer, if it says what the library resolves there: it resolves fields
    /// that are repeated one by one, and not those that a directive leaves out.
    pub(super) fn at(&self, place: Option<&QueryPathNode<'_>>) -> Option<&Self> {
        let Some(place) = place else { return Some(self) };
        let around = self.at(place.parent)?;
        match place.segment {
            QueryPathSegment::Index(_) => Some(around),
            QueryPathSegment::Name(key) => {
                let field = around.fields.iter().find(|field| field.key == key && !field.repeated)?;
                Some(&field.plan)
            }
        }
    }

    /// The path of the first field at the root.
    pub(super) fn root_path(&self) -> Vec<PathSegment> {
        self.fields.iter().take(1).map(|field| PathSegment::Field(field.key.to_string())).collect()
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

impl Planned {
    /// The name of the field in the schema.
    pub(super) fn name(&self) -> &str {
        self.fields.first().map_or("", |(_, field)| &field.name.node)
    }

    /// Whether it is asked of this type by its name.
    pub(super) fn is_on(&self, ty: &str) -> bool {
        self.fields.iter().all(|(on, _)| on == ty)
    }

    /// One more field for the same key: it must be the same one, unless they can never meet in one object
    /// (<https://spec.graphql.org/October2021/#sec-Field-Selection-Merging>). The library only compares neighbours.
    fn merge(
        &mut self,
        field: &Positioned<Field>,
        on: &Name,
        ty: Option<&Type>,
        shape: &Shape,
    ) -> Result<(), ServerError> {
        let same = |(other_on, other): &(Name, Field)| {
            let equal = other.name.node == field.node.name.node && equal_arguments(other, &field.node);
            equal || !shape.may_overlap(other_on, on)
        };
        if !self.fields.iter().all(same) || !alike(self.ty.as_ref(), ty, shape) {
            let message =
                format!("Two different fields would have the key {} in the answer: give one an alias.", self.key);
            return Err(request_error(Code::GraphqlValidationFailed, message, Some(field.pos)));
        }
        let seen =
            self.fields.iter().any(|(other_on, other)| other_on == on && other.name.node == field.node.name.node);
        if !seen {
            self.fields.push((on.clone(), Field { selection_set: Positioned::default(), ..field.node.clone() }));
        }
        Ok(())
    }
}

fn equal_arguments(one: &Field, other: &Field) -> bool {
    one.arguments.len() == other.arguments.len()
        && one
            .arguments
            .iter()
            .all(|(name, value)| other.get_argument(&name.node).is_some_and(|other| other.node == value.node))
}

/// Whether answers of both types look alike: the same lists and nulls, and the same leaf, or both objects.
fn alike(one: Option<&Type>, other: Option<&Type>, shape: &Shape) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    one.nullable == other.nullable
        && match (&one.base, &other.base) {
            (BaseType::List(one), BaseType::List(other)) => alike(Some(one), Some(other), shape),
            (BaseType::Named(one), BaseType::Named(other)) => {
                one == other || (shape.is_composite(one) && shape.is_composite(other))
            }
            _ => false,
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
