//! Answers: <https://spec.graphql.org/October2021/#sec-Response-Format>.

use super::{
    arguments::Arguments,
    errors::{Code, Error, MAX_ERRORS, Segment},
    roots::PlannedRoot,
    writer::{Null, Writer},
};

/// An answer, as JSON.
pub struct Answer {
    json: String,
    /// The data, if anything was run.
    data: Data,
    errors: Vec<Error>,
    event_id: Option<String>,
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

    /// The data, or `null`, and what failed on the way.
    pub(super) fn new(data: &[u8], mut errors: Vec<Error>) -> Self {
        errors.truncate(MAX_ERRORS);
        // It was written as UTF-8.
        let data = str::from_utf8(data).unwrap_or("null");
        let mut json = String::with_capacity(data.len() + 10);
        json.push_str("{\"data\":");
        json.push_str(data);
        if !errors.is_empty() {
            json.push_str(",\"errors\":");
            json.push_str(&written(&errors));
        }
        json.push('}');
        let data = if data == "null" { Data::Null } else { Data::Present };
        Self { json, data, errors, event_id: None }
    }

    /// The same answer, as an event that a client may name to go on after it.
    #[must_use]
    pub fn with_event_id(self, id: Option<String>) -> Self {
        Self { event_id: id, ..self }
    }

    /// As it is sent.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
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
    pub fn errors_json(&self) -> String {
        written(&self.errors)
    }

    /// By what a client names this event to go on after it.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
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
        self.errors.first().map(|error| error.code)
    }
}

fn written(errors: &[Error]) -> String {
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
        let json = format!("{{\"errors\":{}}}", written(&errors));
        Self { json, data: Data::Absent, errors, event_id: None }
    }
}

/// A part of an answer: what was written, and what failed.
pub type Part = (Vec<u8>, Vec<Error>);

/// Writes a part of an answer; `None` if something has to be loaded first.
pub fn write(arguments: &Arguments, write: impl FnOnce(&mut Writer<'_>) -> Result<(), Null>) -> Option<Part> {
    let mut writer = Writer::new(arguments);
    let written = write(&mut writer);
    writer.finish(written)
}

/// The answer to an operation whose root was written whole.
#[must_use]
pub fn whole((data, errors): Part) -> Answer {
    Answer::new(&data, errors)
}

/// An answer that is put together from its fields at the root, in their order.
pub struct Fieldwise {
    data: Vec<u8>,
    errors: Vec<Error>,
    failed: bool,
}

impl Default for Fieldwise {
    fn default() -> Self {
        Self { data: vec![b'{'], errors: Vec::new(), failed: false }
    }
}

impl Fieldwise {
    /// Adds a field. One that is null makes the whole answer null, as no field at these roots may be.
    pub fn add<B>(&mut self, field: &PlannedRoot<B>, part: Result<Part, Error>) {
        let (data, errors) = part.unwrap_or_else(|error| (b"null".to_vec(), vec![error.at(field.location)]));
        self.failed |= data == b"null";
        self.errors.extend(errors.into_iter().map(|mut error| {
            error.path.push(Segment::Key(field.key.clone()));
            error
        }));
        if self.data.len() > 1 {
            self.data.push(b',');
        }
        self.data.extend_from_slice(field.written_key.as_bytes());
        self.data.extend_from_slice(&data);
    }

    /// The answer.
    #[must_use]
    pub fn finish(mut self) -> Answer {
        self.data.push(b'}');
        Answer::new(if self.failed { b"null" } else { &self.data }, self.errors)
    }
}
