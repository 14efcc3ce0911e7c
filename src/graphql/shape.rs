//! The schema's shape: which type each field has, as the limits and the completion of answers need it.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned,
    parser::{
        parse_schema,
        types::{BaseType, Type, TypeKind, TypeSystemDefinition},
    },
};

/// Types and their fields.
pub(super) struct Shape {
    types: HashMap<Name, HashMap<Name, FieldShape>>,
}

/// A field.
pub(super) struct FieldShape {
    pub(super) ty: Type,
    /// It has the argument `first`: how many items a list in it has.
    pub(super) paged: bool,
}

impl Shape {
    /// Reads the schema's SDL, which has no introspection types.
    pub(super) fn of(sdl: &str) -> Self {
        let definitions = parse_schema(sdl).map(|document| document.definitions).unwrap_or_default();
        let types = definitions.into_iter().filter_map(|definition| {
            let TypeSystemDefinition::Type(Positioned { node: of, .. }) = definition else { return None };
            let fields = match of.kind {
                TypeKind::Object(object) => object.fields,
                TypeKind::Interface(interface) => interface.fields,
                TypeKind::Scalar | TypeKind::Union(_) | TypeKind::Enum(_) | TypeKind::InputObject(_) => return None,
            };
            let fields = fields.into_iter().map(|Positioned { node: field, .. }| {
                let paged = field.arguments.iter().any(|argument| argument.node.name.node == "first");
                (field.name.node, FieldShape { ty: field.ty.node, paged })
            });
            Some((of.name.node, fields.collect()))
        });
        Self { types: types.collect() }
    }

    /// The field of this name; `None` if the type has none, or is one of introspection.
    pub(super) fn field(&self, on: &Name, name: &Name) -> Option<&FieldShape> {
        self.types.get(on)?.get(name)
    }
}

impl FieldShape {
    pub(super) fn is_list(&self) -> bool {
        matches!(self.ty.base, BaseType::List(_))
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
