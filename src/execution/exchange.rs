//! Requests and answers as async-graphql has them, for what is built on that library.

use async_graphql::{Response, ServerError, to_value};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Code, Request, parse_json};

impl TryFrom<async_graphql::Request> for Request {
    type Error = Answer;

    fn try_from(sent: async_graphql::Request) -> Result<Self, Answer> {
        // As JSON they are the same.
        let request = serde_json::to_vec(&sent).and_then(|json| parse_json(&json));
        request.map_err(|error| Answer::refusal(Code::BadRequest, format!("This is not a GraphQL request: {error}.")))
    }
}

/// An answer in its parts.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    errors: Vec<ServerError>,
}

impl From<Answer> for Response {
    /// The data stays the JSON that it is: as values it would take many times the memory.
    fn from(answer: Answer) -> Self {
        let json = answer.into_json().into_bytes();
        let response = serde_json::from_slice::<Parts<'_>>(&json).ok().and_then(|Parts { data, errors }| {
            let mut response = Self::new(to_value(data).ok()?);
            response.errors = errors;
            Some(response)
        });
        response.unwrap_or_else(|| Self::from_errors(vec![ServerError::new("The answer is no JSON.", None)]))
    }
}
