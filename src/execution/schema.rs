//! The schema as documents are held against it.

use std::sync::OnceLock;

use apollo_compiler::{
    ExecutableDocument, Name, Schema as Definitions,
    collections::HashMap,
    introspection::partial_execute,
    response::JsonMap,
    schema::{ExtendedType, Implementers},
    validation::Valid,
};
use async_graphql::Value as ArgumentValue;
use serde_json::Value;

/// Asks for all that there is in introspection, but for `isOneOf`.
const EVERYTHING: &str = "
    {
        __schema {
            description queryType { name } mutationType { name } subscriptionType { name } types { name }
            directives { name description isRepeatable locations args(includeDeprecated: true) { ...Input } }
            all: types {
                kind name description specifiedByURL interfaces { name } possibleTypes { name }
                fields(includeDeprecated: true) {
                    name description type { ...Type } args(includeDeprecated: true) { ...Input }
                    isDeprecated deprecationReason
                }
                inputFields(includeDeprecated: true) { ...Input }
                enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
            }
        }
    }
    fragment Input on __InputValue { name description type { ...Type } defaultValue isDeprecated deprecationReason }
    fragment Type on __Type { ...Of ofType { ...Of ofType { ...Of ofType { ...Of ofType { ...Of ofType { ...Of
        ofType { ...Of ofType { ...Of ofType { ...Of } } } } } } } } }
    fragment Of on __Type { kind name }
";

/// How many fields a field with these arguments counts for besides those that it fills, because it reads more than it gives.
pub type AdditionalCost = fn(field: &str, arguments: &ArgumentValue) -> u64;

/// A schema.
pub struct Schema {
    pub(super) definitions: Valid<Definitions>,
    pub(super) additional_cost: AdditionalCost,
    implementers: HashMap<Name, Implementers>,
    /// Made once somebody asks: it takes 3 MiB.
    introspected: OnceLock<Introspected>,
}

/// What introspection says of a schema.
#[derive(Default)]
pub(super) struct Introspected {
    /// Of the schema. Of each type with a name it has only the name.
    pub(super) schema: Value,
    /// Of each type with a name.
    pub(super) types: HashMap<String, Value>,
}

impl Schema {
    /// Reads the schema definition language.
    ///
    /// # Errors
    /// What is wrong with it, for developers.
    pub fn parse(sdl: &str, additional_cost: AdditionalCost) -> Result<Self, String> {
        // The field that apollo-compiler's `__Type` lacks.
        let sdl = format!("{sdl}\nextend type __Type {{ isOneOf: Boolean }}");
        let definitions = Definitions::parse_and_validate(sdl, "schema.graphql");
        let definitions = definitions.map_err(|invalid| invalid.errors.to_string())?;
        let implementers = definitions.implementers_map();
        Ok(Self { definitions, additional_cost, implementers, introspected: OnceLock::new() })
    }

    /// What introspection says of it.
    pub(super) fn introspected(&self) -> &Introspected {
        // A valid schema can be asked for all of it.
        self.introspected.get_or_init(|| introspect(&self.definitions, &self.implementers).unwrap_or_default())
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

fn introspect(definitions: &Valid<Definitions>, implementers: &HashMap<Name, Implementers>) -> Option<Introspected> {
    let document = ExecutableDocument::parse_and_validate(definitions, EVERYTHING, "introspection.graphql").ok()?;
    let answer = document.operations.get(None).and_then(|operation| {
        partial_execute(definitions, implementers, &document, operation, &Valid::assume_valid(JsonMap::new()))
    });
    let mut data = serde_json::to_value(answer.ok()?.data).ok()?;
    let mut take = |path| data.pointer_mut(path).map(Value::take);
    let Some(Value::Array(all)) = take("/__schema/all") else { return None };
    let schema = take("/__schema")?;
    let types = definitions.types.iter().zip(all).map(|((name, definition), mut described)| {
        let is_one_of = definition.as_input_object().map(|of| of.directives.has("oneOf"));
        if let Value::Object(described) = &mut described {
            described.insert("isOneOf".to_owned(), is_one_of.into());
        }
        (name.to_string(), described)
    });
    Some(Introspected { schema, types: types.collect() })
}
