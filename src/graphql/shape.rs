//! The schema's shape: which types its fields and inputs have, as the judges of documents and values need it.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned,
    parser::{
        parse_schema,
        types::{BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition},
    },
};

/// Types and their fields.
pub(super) struct Shape {
    types: HashMap<Name, HashMap<Name, FieldShape>>,
    inputs: HashMap<Name, HashMap<Name, Type>>,
    interfaces: HashSet<Name>,
}

/// A field.
pub(super) struct FieldShape {
    pub(super) ty: Type,
    pub(super) arguments: HashMap<Name, Type>,
    /// Those that may be left out, because they have a default, but may not be null.
    pub(super) never_null: HashSet<Name>,
}

impl Shape {
    /// Reads the schema's SDL, which has no introspection types.
    pub(super) fn of(sdl: &str) -> Self {
        let mut shape = Self { types: HashMap::new(), inputs: HashMap::new(), interfaces: HashSet::new() };
        for definition in parse_schema(sdl).map(|document| document.definitions).unwrap_or_default() {
            let TypeSystemDefinition::Type(Positioned { node: of, .. }) = definition else { continue };
            let name = of.name.node;
            match of.kind {
                TypeKind::Object(object) => {
                    shape.types.insert(name, object.fields.into_iter().map(field).collect());
                }
                TypeKind::Interface(interface) => {
                    shape.interfaces.insert(name.clone());
                    shape.types.insert(name, interface.fields.into_iter().map(field).collect());
                }
                TypeKind::InputObject(object) => {
                    shape.inputs.insert(name, object.fields.into_iter().map(input).collect());
                }
                TypeKind::Scalar | TypeKind::Union(_) | TypeKind::Enum(_) => {}
            }
        }
        shape
    }

    /// The field of this name; `None` if the type has none, or is one of introspection.
    pub(super) fn field(&self, on: &Name, name: &Name) -> Option<&FieldShape> {
        self.types.get(on)?.get(name)
    }

    /// The fields of an input object; `None` if it is none.
    pub(super) fn input(&self, name: &Name) -> Option<&HashMap<Name, Type>> {
        self.inputs.get(name)
    }

    /// Whether it is an object or an interface.
    pub(super) fn is_composite(&self, name: &Name) -> bool {
        self.types.contains_key(name)
    }

    /// Whether one object can be of both types.
    pub(super) fn may_overlap(&self, one: &Name, other: &Name) -> bool {
        one == other || self.interfaces.contains(one) || self.interfaces.contains(other)
    }
}

fn field(Positioned { node: field, .. }: Positioned<FieldDefinition>) -> (Name, FieldShape) {
    let never_null = |argument: &&Positioned<InputValueDefinition>| {
        argument.node.default_value.is_some() && !argument.node.ty.node.nullable
    };
    let never_null =
        field.arguments.iter().filter(never_null).map(|argument| argument.node.name.node.clone()).collect();
    let arguments = field.arguments.into_iter().map(input).collect();
    (field.name.node, FieldShape { ty: field.ty.node, arguments, never_null })
}

/// What has a default may be left out.
fn input(Positioned { node: input, .. }: Positioned<InputValueDefinition>) -> (Name, Type) {
    let mut ty = input.ty.node;
    ty.nullable |= input.default_value.is_some();
    (input.name.node, ty)
}

impl FieldShape {
    pub(super) fn is_list(&self) -> bool {
        matches!(self.ty.base, BaseType::List(_))
    }

    /// It has the argument `first`: how many items a list in it has.
    pub(super) fn is_paged(&self) -> bool {
        self.arguments.contains_key("first")
    }

    /// The type of the field, or of the items if it is a list.
    pub(super) fn named_type(&self) -> &Name {
        let mut base = &self.ty.base;
        loop {
            match base {
                BaseType::Named(name) => return name,
                BaseType::List(inner) => base = &inner.base,
            }
        }
    }
}
