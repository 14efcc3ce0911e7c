//! Scalars of the schema's own.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};

use crate::{execution::leaf, model::timestamps::Timestamp};

/// An instant, as a text.
#[derive(Clone, Copy)]
pub(super) struct DateTime(pub(super) Timestamp);

/// An instant in UTC, RFC 3339 with milliseconds, for example 2026-01-31T12:00:00.000Z.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        // What is given here bounds times to the millisecond: those from it on, or before it.
        Ok(Self(Timestamp::not_before(text).map_err(InputValueError::custom)?))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

leaf!(DateTime, [], Timestamp, Self, |at, writer| writer.display(&at));
