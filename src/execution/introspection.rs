//! Introspection (<https://spec.graphql.org/September2025/#sec-Schema-Introspection>): what is asked for is picked from
//! the description of the schema that [`Schema`](super::schema::Schema) keeps.

use async_graphql::Value as Argument;
use serde_json::Value;

use super::{CollectedField, NullPropagated, Writer};

/// Answers `__schema` or `__type`.
pub(super) fn write(field: &CollectedField, writer: &mut Writer<'_>) -> Result<(), NullPropagated> {
    let introspected = writer.arguments.schema.introspected();
    let found = match (field.field.name.as_str(), argument(field, "name", writer)) {
        ("__schema", _) => Some(&introspected.schema),
        (_, Some(Argument::String(name))) => introspected.types.get(name),
        _ => None,
    };
    write_value(found.unwrap_or(&Value::Null), field, writer)
}

fn argument<'r>(field: &CollectedField, name: &str, writer: &Writer<'r>) -> Option<&'r Argument> {
    let Ok(Argument::Object(arguments)) = writer.arguments.get(Some(field.arguments?)) else { return None };
    arguments.get(name)
}

/// Writes what is asked of a value of this field.
fn write_value(value: &Value, field: &CollectedField, writer: &mut Writer<'_>) -> Result<(), NullPropagated> {
    match (value, field.selections.first()) {
        (Value::Array(items), _) => {
            // The arguments of a list are `includeDeprecated` alone.
            let with_deprecated = field.arguments.is_none()
                || argument(field, "includeDeprecated", writer) == Some(&Argument::Boolean(true));
            let is_listed = |item: &&Value| with_deprecated || item.get("isDeprecated") != Some(&Value::Bool(true));
            writer.push("[");
            for (index, item) in items.iter().filter(is_listed).enumerate() {
                writer.begin_item(index)?;
                write_value(item, field, writer)?;
            }
            writer.push("]");
        }
        (Value::Object(_), Some((ty, fields))) => {
            // A type that has a name stands for the whole type.
            let name = value.get("name").and_then(Value::as_str).filter(|_| ty == "__Type");
            let object = name.and_then(|name| writer.arguments.schema.introspected().types.get(name)).unwrap_or(value);
            writer.push("{");
            for (index, field) in fields.iter().enumerate() {
                writer.begin_item(index)?;
                writer.push("\"");
                writer.push(&field.key);
                writer.push("\":");
                match field.field.name.as_str() {
                    "__typename" => writer.json(ty.as_str()),
                    name => write_value(object.get(name).unwrap_or(&Value::Null), field, writer)?,
                }
            }
            writer.push("}");
        }
        (leaf, _) => writer.json(leaf),
    }
    Ok(())
}
