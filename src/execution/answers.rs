//! Answers: <https://spec.graphql.org/October2021/#sec-Response-Format>.

use std::fmt::Display;

use super::{Arguments, Chunks, Code, CollectedField, Error, MAX_ERRORS, NullPropagated, Writer, fields::written_key};

/// An answer, as JSON.
pub struct Answer {
    json: Chunks,
    /// The data, if anything was run.
    data: Data,
    errors: Vec<Error>,
    event_id: Option<Box<dyn Display + Send + Sync>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Nothing was run: a request error.
    Absent,
    Null,
    Present,
}

impl Answer {
    /// An answer to a request that was not run.
    #[must_use]
    pub fn refusal(code: Code, message: impl Into<String>) -> Self {
        Error::new(code, message).into()
    }

    /// An answer to a request of which nothing can be answered, though it was run.
    #[must_use]
    pub fn failure(error: Error) -> Self {
        Self::new(("null".to_owned().into(), vec![error]))
    }

    /// The data, or `null`, and what failed on the way.
    #[must_use]
    pub fn new((written, errors): Part) -> Self {
        let data = if written.is("null") { Data::Null } else { Data::Present };
        let mut json = Chunks::with_room_for(&written);
        json.push_str(DATA);
        json.append(written);
        Self::completed(json, data, errors)
    }

    /// An answer that begins with its data.
    fn completed(mut json: Chunks, data: Data, mut errors: Vec<Error>) -> Self {
        errors.truncate(MAX_ERRORS);
        if !errors.is_empty() {
            json.push_str(",\"errors\":");
            json.push_str(&errors_json(&errors));
        }
        json.push_str("}");
        Self { json, data, errors, event_id: None }
    }

    /// Makes the answer an event that a client may name to go on after it.
    #[must_use]
    pub fn with_event_id(self, id: Option<impl Display + Send + Sync + 'static>) -> Self {
        let event_id = id.map(|id| Box::new(id) as Box<dyn Display + Send + Sync>);
        Self { event_id, ..self }
    }

    /// As it is sent.
    #[must_use]
    pub fn into_json(self) -> Chunks {
        self.json
    }

    /// Bytes of its JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// Whether nothing of the request was run: a request error.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.data == Data::Absent
    }

    /// Whether nothing came of the request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data != Data::Present
    }

    /// The errors alone, as a socket sends them.
    #[must_use]
    pub fn into_errors_json(self) -> Chunks {
        errors_json(&self.errors).into()
    }

    /// The first error alone.
    #[must_use]
    pub fn into_first_error_json(self) -> Chunks {
        self.errors.first().and_then(|error| serde_json::to_string(error).ok()).unwrap_or_default().into()
    }

    /// By what a client names this event to go on after it.
    #[must_use]
    pub fn event_id(&self) -> Option<&(dyn Display + Send + Sync)> {
        self.event_id.as_deref()
    }

    /// Seconds after which the request may be tried again; `None` where an error does not say so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        Some(self.errors.first()?.retry_after_ms()?.div_ceil(1_000))
    }

    /// The code of the first error.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.errors.first().map(Error::code)
    }
}

fn errors_json(errors: &[Error]) -> String {
    // Errors have nothing in them that JSON cannot say.
    serde_json::to_string(errors).unwrap_or_default()
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        vec![error].into()
    }
}

impl From<Vec<Error>> for Answer {
    fn from(mut errors: Vec<Error>) -> Self {
        errors.truncate(MAX_ERRORS);
        let json = format!("{{\"errors\":{}}}", errors_json(&errors)).into();
        Self { json, data: Data::Absent, errors, event_id: None }
    }
}

/// What an answer with data begins with.
const DATA: &str = "{\"data\":";

/// A part of an answer: what was written, and what failed.
pub type Part = (Chunks, Vec<Error>);

/// Writes a part of an answer, of at most `max_bytes`; `None` if something has to be loaded first.
pub fn write_part(
    arguments: &Arguments,
    max_bytes: usize,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), NullPropagated>,
) -> Option<Part> {
    let mut writer = Writer::new(arguments, max_bytes);
    let written = write(&mut writer);
    writer.finish(written)
}

/// An answer that is put together from its root fields, in their order.
pub struct RootFieldsAnswer {
    json: Chunks,
    errors: Vec<Error>,
    max_bytes: usize,
    is_null: bool,
}

impl RootFieldsAnswer {
    /// An answer whose data have at most so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let mut json = Chunks::new();
        json.push_str(DATA);
        json.push_str("{");
        Self { json, errors: Vec::new(), max_bytes, is_null: false }
    }

    /// Bytes that the next field may have.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.max_bytes.saturating_sub(self.json.len() - DATA.len())
    }

    /// Whether a field was null, and with it the whole answer.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.is_null
    }

    /// Adds a field. One that is null makes the whole answer null, as no field at these roots may be.
    pub fn add(&mut self, field: &CollectedField, part: Result<Part, Error>) {
        let (data, errors) = part.unwrap_or_else(|error| ("null".to_owned().into(), vec![error.at(field.location)]));
        self.is_null |= data.is("null");
        self.errors.extend(errors.into_iter().map(|error| error.within(&field.key)));
        // It begins with a brace.
        if self.json.len() > DATA.len() + 1 {
            self.json.push_str(",");
        }
        self.json.push_str(&written_key(&field.key));
        self.json.append(data);
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> Answer {
        let Self { mut json, errors, is_null, .. } = self;
        if is_null {
            json.truncate(DATA.len());
        }
        json.push_str(if is_null { "null" } else { "}" });
        Answer::completed(json, if is_null { Data::Null } else { Data::Present }, errors)
    }
}
