//! Values of variables and of arguments, coerced before anything is run
//! (<https://spec.graphql.org/October2021/#sec-Coercing-Variable-Values>,
//! <https://spec.graphql.org/October2021/#sec-Coercing-Field-Arguments>): a mutation is not done by half.

use std::{any::Any, collections::HashMap, sync::Arc};

use apollo_compiler::{
    Name, Node,
    ast::{Type, Value as Literal},
    executable::Operation,
    schema::ExtendedType,
};
use async_graphql::{InputType, Pos, Value, indexmap::IndexMap};
use serde_json::{Map, Number};

use super::{
    CollectedField, Error, LineIndex, Location, MAX_HELD_BYTES, Schema,
    limits::{ASK_FOR_LESS, too_large},
};

/// The values of an operation's variables: those that were sent, or their defaults. What has neither is not there.
#[derive(Default)]
pub(super) struct Variables(HashMap<Name, Variable>);

struct Variable {
    value: Value,
    /// Bytes that it holds, estimated.
    bytes: usize,
}

impl Variables {
    /// The values that were sent, as the operation declares them; or what is wrong with the first that does not fit.
    pub(super) fn coerce(
        operation: &Node<Operation>,
        sent: &Map<String, serde_json::Value>,
        lines: &LineIndex,
        schema: &Schema,
    ) -> Result<Self, Error> {
        let mut values = HashMap::with_capacity(operation.variables.len());
        for definition in &operation.variables {
            let name = &definition.name;
            let given = sent.get(name.as_str()).map(|sent| Value::from_json(sent.clone()).unwrap_or(Value::Null));
            let value = input(given, &definition.ty, definition.default_value.as_ref(), schema)
                .map_err(|error| error.of(&format!("variable `${name}"), lines.location(definition.location())))?;
            values.extend(value.map(|value| (name.clone(), Variable { bytes: held_bytes(&value), value })));
        }
        Ok(Self(values))
    }

    /// What the variable says about `@skip` or `@include`; `None` if it is null, or has no value.
    pub(super) fn condition(&self, name: &Name) -> Option<bool> {
        if let Value::Boolean(value) = self.0.get(name)?.value { Some(value) } else { None }
    }

    /// The values of the arguments of each field, by the fields' slots: `Value::Null` for a field without any. And the bytes that they
    /// hold: as fields may share variables and fragments, these are counted before anything is copied.
    pub(super) fn arguments(
        &self,
        fields: &[CollectedField],
        slots: usize,
        schema: &Schema,
    ) -> Result<(Vec<Value>, usize), Error> {
        let (mut values, mut bytes) = (vec![Value::Null; slots], slots * size_of::<Value>());
        let mut remaining: Vec<&CollectedField> = fields.iter().collect();
        while let Some(field) = remaining.pop() {
            if let Some(slot) = field.arguments.and_then(|slot| values.get_mut(slot)) {
                bytes += field.field.arguments.iter().map(|given| literal_bytes(&given.value, self)).sum::<usize>();
                if bytes > MAX_HELD_BYTES {
                    return Err(too_large("The arguments of the operation", ASK_FOR_LESS).at(field.location));
                }
                *slot = self.arguments_of(field, schema)?;
            }
            remaining.extend(field.selections.iter().flat_map(|(_, fields)| fields));
        }
        Ok((values, bytes))
    }

    fn arguments_of(&self, field: &CollectedField, schema: &Schema) -> Result<Value, Error> {
        let mut values = IndexMap::new();
        for definition in &field.field.definition.arguments {
            let name = &definition.name;
            let given = field.field.specified_argument_by_name(name).and_then(|given| literal(given, self));
            let coerced = input(given, &definition.ty, definition.default_value.as_ref(), schema)
                .map_err(|error| error.of(&format!("argument `{name}"), field.location))?;
            if let Some(value) = coerced {
                values.insert(async_graphql::Name::new(name), value);
            }
        }
        Ok(Value::Object(values))
    }
}

/// What a literal stands for; `None` for a variable that has no value.
fn literal(given: &Node<Literal>, variables: &Variables) -> Option<Value> {
    Some(match &**given {
        Literal::Null => Value::Null,
        Literal::Boolean(value) => Value::Boolean(*value),
        Literal::Enum(name) => Value::Enum(async_graphql::Name::new(name)),
        Literal::String(text) => Value::String(text.clone()),
        // Only an id may have more digits, and is a text.
        Literal::Int(digits) => {
            digits.as_str().parse::<i64>().map_or_else(|_| Value::String(digits.as_str().to_owned()), Value::from)
        }
        // One that is too large for a number is an error of the type.
        Literal::Float(number) => serde_json::from_str(number.as_str())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Number),
        Literal::Variable(name) => return Some(variables.0.get(name)?.value.clone()),
        Literal::List(items) => {
            Value::List(items.iter().map(|item| literal(item, variables).unwrap_or(Value::Null)).collect())
        }
        Literal::Object(fields) => {
            let field = |(name, given): &(Name, Node<Literal>)| {
                Some((async_graphql::Name::new(name), literal(given, variables)?))
            };
            Value::Object(fields.iter().filter_map(field).collect())
        }
    })
}

/// Bytes that the value of a literal will hold, estimated.
fn literal_bytes(given: &Literal, variables: &Variables) -> usize {
    let inner = match given {
        Literal::String(text) => text.len(),
        Literal::Int(digits) => digits.as_str().len(),
        Literal::Float(number) => number.as_str().len(),
        Literal::Enum(name) => name.len(),
        Literal::Variable(name) => variables.0.get(name).map_or(0, |variable| variable.bytes),
        Literal::List(items) => items.iter().map(|item| literal_bytes(item, variables)).sum(),
        Literal::Object(fields) => fields.iter().map(|(name, item)| name.len() + literal_bytes(item, variables)).sum(),
        Literal::Null | Literal::Boolean(_) => 0,
    };
    size_of::<Value>() + inner
}

/// The value of a variable, an argument or a field of an input object; `None` if it has none.
fn input(
    given: Option<Value>,
    ty: &Type,
    default: Option<&Node<Literal>>,
    schema: &Schema,
) -> Result<Option<Value>, CoercionError> {
    let value = match (given, default) {
        (Some(Value::Null), Some(_)) if ty.is_non_null() => return Err(CoercionError::new("left out, or not null")),
        (Some(given), _) => given,
        (None, Some(default)) => literal(default, &Variables::default()).unwrap_or(Value::Null),
        (None, None) if ty.is_non_null() => Value::Null,
        (None, None) => return Ok(None),
    };
    coerced(value, ty, schema).map(Some)
}

/// A value that does not fit its type: where in it, and what should be there.
struct CoercionError {
    path: String,
    expected: String,
}

impl CoercionError {
    fn new(expected: impl Into<String>) -> Self {
        Self { path: String::new(), expected: expected.into() }
    }

    fn of(self, what: &str, location: Option<Location>) -> Error {
        Error::bad_input(format!("The {what}{}` must be {}.", self.path, self.expected)).at(location)
    }

    fn within(mut self, part: &str) -> Self {
        self.path.insert_str(0, part);
        self
    }
}

fn coerced(value: Value, ty: &Type, schema: &Schema) -> Result<Value, CoercionError> {
    match (value, ty) {
        (Value::Null, Type::NonNullNamed(_) | Type::NonNullList(_)) => {
            Err(CoercionError::new(format!("of the type {ty}, and not null")))
        }
        (Value::Null, _) => Ok(Value::Null),
        (Value::List(items), Type::List(inner) | Type::NonNullList(inner)) => {
            let item = |(index, item)| {
                coerced(item, inner, schema).map_err(|error: CoercionError| error.within(&format!("[{index}]")))
            };
            Ok(Value::List(items.into_iter().enumerate().map(item).collect::<Result<_, _>>()?))
        }
        // One item stands for a list of one.
        (item, Type::List(inner) | Type::NonNullList(inner)) => {
            coerced(item, inner, schema).map(|item| Value::List(vec![item]))
        }
        (value, Type::Named(name) | Type::NonNullNamed(name)) => coerced_as(value, name, schema),
    }
}

fn coerced_as(value: Value, name: &Name, schema: &Schema) -> Result<Value, CoercionError> {
    match schema.definitions.types.get(name) {
        Some(ExtendedType::InputObject(definition)) => {
            let Value::Object(mut given) = value else {
                return Err(CoercionError::new(format!("an object of the type {name}")));
            };
            if given.keys().any(|key| !definition.fields.contains_key(key.as_str())) {
                return Err(CoercionError::new(format!("of the type {name}, and have no other fields than that")));
            }
            let mut fields = IndexMap::with_capacity(given.len());
            for (field, definition) in &definition.fields {
                let given = given.swap_remove(field.as_str());
                let coerced = input(given, &definition.ty, definition.default_value.as_ref(), schema)
                    .map_err(|error| error.within(&format!(".{field}")))?;
                if let Some(value) = coerced {
                    fields.insert(async_graphql::Name::new(field), value);
                }
            }
            Ok(Value::Object(fields))
        }
        Some(ExtendedType::Enum(definition)) => {
            let value =
                if let Value::String(name) = value { Value::Enum(async_graphql::Name::new(name)) } else { value };
            if let Value::Enum(name) = &value
                && definition.values.contains_key(name.as_str())
            {
                return Ok(value);
            }
            let names: Vec<_> = definition.values.keys().map(Name::as_str).collect();
            Err(CoercionError::new(format!("one of {}", names.join(" "))))
        }
        _ => scalar(value, name),
    }
}

fn scalar(value: Value, name: &Name) -> Result<Value, CoercionError> {
    let coerced = match (name.as_str(), value) {
        ("Int", Value::Number(number)) => whole(&number).filter(|whole| i32::try_from(*whole).is_ok()).map(Value::from),
        // However large it is, a number stands for its text.
        ("ID", Value::Number(number)) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            Some(Value::String(whole(&number).map_or_else(|| number.to_string(), |whole| whole.to_string())))
        }
        ("ID" | "String", text @ Value::String(_)) => Some(text),
        ("Boolean", flag @ Value::Boolean(_)) => Some(flag),
        ("Int" | "ID" | "String" | "Boolean", _) => None,
        (_, value) => Some(value),
    };
    coerced.ok_or_else(|| {
        CoercionError::new(match name.as_str() {
            "Int" => "a whole number from -2147483648 to 2147483647",
            "ID" => "an id: a string, or a number",
            "String" => "a string",
            _ => "true or false",
        })
    })
}

/// A number without a fraction is an integer, however it is written: `-0` and `2.0` are.
#[allow(clippy::cast_possible_truncation, reason = "it is within the integers that a double can tell apart")]
fn whole(number: &Number) -> Option<i64> {
    let is_whole = |float: &f64| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| number.as_f64().filter(is_whole).map(|float| float as i64))
}

/// Makes a Rust value of the arguments of a field, which is at this location of the document.
pub(super) type ArgumentDecoder = (fn(Value) -> Result<Decoded, Error>, Option<Location>);
type Decoded = Box<dyn Any + Send + Sync>;

/// Makes a value of this type.
fn decoded<A: InputType + 'static>(value: Value) -> Result<Decoded, Error> {
    let decoded = A::parse(Some(value)).map_err(|error| {
        let why = error.into_server_error(Pos::default()).message;
        // What follows names the types around it, of which clients know only some.
        Error::bad_input(why.split_once(" (occurred while").map_or(why.as_str(), |(why, _)| why))
    })?;
    Ok(Box::new(decoded))
}

/// Leaves the arguments as they are: introspection reads them so.
#[allow(clippy::unnecessary_wraps, reason = "it is a decoder")]
fn unchanged(value: Value) -> Result<Decoded, Error> {
    Ok(Box::new(value))
}

/// Collects the decoders of the fields' arguments while the fields of a plan are bound to their resolvers.
pub struct Binder {
    pub(super) decoders: Vec<ArgumentDecoder>,
}

impl Binder {
    pub(super) fn new(slots: usize) -> Self {
        Self { decoders: vec![(unchanged, None); slots] }
    }

    /// Adds the arguments of a field, which are of this type; gives their slot.
    pub(super) fn add_arguments<A: InputType + Send + Sync + 'static>(
        &mut self,
        field: &CollectedField,
    ) -> Option<usize> {
        let slot = field.arguments?;
        *self.decoders.get_mut(slot)? = (decoded::<A>, field.location);
        Some(slot)
    }
}

/// The arguments of all fields of a plan.
pub struct Arguments {
    /// How many fields an operation with these fills at most.
    pub cost: u64,
    /// Bytes that they hold, estimated.
    pub bytes: usize,
    decoded: Vec<Decoded>,
    pub(super) schema: Arc<Schema>,
}

impl Arguments {
    pub(super) fn decode(
        cost: u64,
        (values, bytes): (Vec<Value>, usize),
        decoders: &[ArgumentDecoder],
        schema: Arc<Schema>,
    ) -> Result<Self, Error> {
        let decode =
            |(value, (decode, location)): (Value, &ArgumentDecoder)| decode(value).map_err(|error| error.at(*location));
        let decoded = values.into_iter().zip(decoders).map(decode).collect::<Result<_, _>>()?;
        Ok(Self { cost, bytes, decoded, schema })
    }

    /// Those in this slot, which are of this type.
    pub(super) fn get<A: 'static>(&self, slot: Option<usize>) -> Result<&A, Error> {
        let found = slot.and_then(|slot| self.decoded.get(slot)?.downcast_ref());
        found.ok_or_else(|| Error::bad_input("The arguments of this field are missing."))
    }
}

/// Bytes that a value holds, estimated.
fn held_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Binary(bytes) => bytes.len(),
        Value::Enum(name) => name.len(),
        Value::List(items) => items.iter().map(held_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + held_bytes(value)).sum(),
        Value::Null | Value::Number(_) | Value::Boolean(_) => 0,
    };
    size_of::<Value>() + inner
}
