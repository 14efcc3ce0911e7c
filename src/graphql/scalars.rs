//! Scalars of the schema's own.

use std::borrow::Cow;

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value, registry::Registry};

use crate::model::timestamps::Timestamp;

/// A `Boolean!` with a default that also holds where a variable was given for it that was left out. The library would take
/// such a variable for null (<https://spec.graphql.org/October2021/#sec-Coercing-Field-Arguments>).
pub(super) struct Flag<const DEFAULT: bool>(pub(super) bool);

impl<const DEFAULT: bool> Default for Flag<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: bool> InputType for Flag<DEFAULT> {
    type RawValueType = bool;

    fn type_name() -> Cow<'static, str> {
        <bool as InputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <bool as InputType>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        match value {
            None | Some(Value::Null) => Ok(Self(DEFAULT)),
            Some(value) => <bool as InputType>::parse(Some(value)).map(Self).map_err(InputValueError::propagate),
        }
    }

    fn to_value(&self) -> Value {
        Value::Boolean(self.0)
    }

    fn as_raw_value(&self) -> Option<&bool> {
        Some(&self.0)
    }
}

/// `DateTime`
pub(super) struct DateTime(pub(super) Timestamp);

/// An instant in UTC, RFC 3339 with milliseconds, for example 2026-01-31T12:00:00.000Z.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        Ok(Self(text.parse().map_err(InputValueError::custom)?))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}
