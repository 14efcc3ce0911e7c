//! The schema as documents are held against it.

use apollo_compiler::{
    Name, Schema as Definitions,
    collections::HashMap,
    schema::{ExtendedType, Implementers},
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
        // The field that apollo-compiler's `__Type` lacks.
        let sdl = format!("{sdl}\nextend type __Type {{ isOneOf: Boolean }}");
        let definitions = Definitions::parse_and_validate(sdl, "schema.graphql");
        let definitions = definitions.map_err(|invalid| invalid.errors.to_string())?;
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
