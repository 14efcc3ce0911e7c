//! The schema as documents are held against it.

use apollo_compiler::{
    Name, Schema as Definitions,
    ast::{DirectiveList, FieldDefinition, Type},
    collections::HashMap,
    schema::{Component, ExtendedType, Implementers},
    validation::Valid,
};

/// A schema.
pub struct Schema {
    pub(super) definitions: Valid<Definitions>,
    implementers: HashMap<Name, Implementers>,
}

impl Schema {
    /// Reads the schema definition language.
    ///
    /// # Errors
    /// What is wrong with it, for developers.
    pub fn parse(sdl: &str) -> Result<Self, String> {
        let mut definitions =
            Definitions::parse(sdl, "schema.graphql").map_err(|invalid| invalid.errors.to_string())?;
        if let Some(ExtendedType::Object(object)) = definitions.types.get_mut("__Type") {
            let field = is_one_of();
            object.make_mut().fields.insert(field.name.clone(), Component::new(field));
        }
        let definitions = definitions.validate().map_err(|invalid| invalid.errors.to_string())?;
        let implementers = definitions.implementers_map();
        Ok(Self { definitions, implementers })
    }

    /// The types that an object can be of where this type is expected.
    pub(super) fn possible_types(&self, of: &Name) -> Vec<Name> {
        match self.definitions.types.get(of) {
            Some(ExtendedType::Object(_)) => vec![of.clone()],
            Some(ExtendedType::Interface(_)) => {
                self.implementers.get(of).map(|found| found.objects.iter().cloned().collect()).unwrap_or_default()
            }
            Some(ExtendedType::Union(union)) => union.members.iter().map(|member| member.name.clone()).collect(),
            Some(ExtendedType::Scalar(_) | ExtendedType::Enum(_) | ExtendedType::InputObject(_)) | None => Vec::new(),
        }
    }

    /// Whether an object of this type is one of that type, too.
    pub(super) fn is_of(&self, object: &Name, ty: &Name) -> bool {
        object == ty || self.possible_types(ty).contains(object)
    }
}

/// The name of the type of a field, or of the items if it is a list.
pub(super) fn named(ty: &Type) -> &Name {
    ty.inner_named_type()
}

/// The field that apollo-compiler's `__Type` lacks.
fn is_one_of() -> FieldDefinition {
    FieldDefinition {
        description: None,
        name: Name::new_static_unchecked("isOneOf"),
        arguments: Vec::new(),
        ty: Type::Named(Name::new_static_unchecked("Boolean")),
        directives: DirectiveList::default(),
    }
}
