//! Writes answers as JSON while the plan is executed. Where a field is not loaded yet, the rest of the plan is executed only
//! to collect what else has to be loaded; all of that is loaded together, and the answer is written anew.

use std::{fmt::Display, io::Write as _};

use serde::Serialize;

use super::{Arguments, Chunks, Code, Error, Location, MAX_ERRORS, Segment};

/// Why a field has no value.
#[derive(Debug, Clone)]
pub enum Unresolved {
    /// It has to be loaded first.
    NotLoaded,
    /// It failed.
    Failed(Box<Error>),
}

impl From<Error> for Unresolved {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// A null where none may be: the nearest thing around it that may be null is
/// (<https://spec.graphql.org/October2021/#sec-Handling-Field-Errors>). The error was noted.
#[derive(Debug, Clone, Copy)]
pub struct NullPropagated;

/// An answer that is being written.
pub struct Writer<'r> {
    out: Chunks,
    pub(super) errors: Vec<Error>,
    /// Whether something has to be loaded first: what is written is only looked through for what else has to be.
    pub(super) incomplete: bool,
    /// Bytes that it may have.
    max_bytes: usize,
    is_too_large: bool,
    pub(super) arguments: &'r Arguments,
}

impl<'r> Writer<'r> {
    /// Nothing yet.
    pub(super) fn new(arguments: &'r Arguments, max_bytes: usize) -> Self {
        Self { out: Chunks::new(), errors: Vec::new(), incomplete: false, max_bytes, is_too_large: false, arguments }
    }

    /// What was written and what failed; `None` if something has to be loaded first.
    pub(super) fn finish(mut self, written: Result<(), NullPropagated>) -> Option<(Chunks, Vec<Error>)> {
        if self.incomplete {
            return None;
        }
        if self.end_field().is_err() {
            let why = "The answer would be too large. Ask for less at once, such as for smaller pages.";
            return Some(("null".to_owned().into(), vec![Error::new(Code::QueryTooComplex, why)]));
        }
        if let Err(NullPropagated) = written {
            self.null_from(0);
        }
        Some((self.out, self.errors))
    }

    /// Ends a field, or an item of a list. Nothing more is written once the answer is too large.
    fn end_field(&mut self) -> Result<(), NullPropagated> {
        self.out.end_field();
        self.is_too_large |= self.out.len() > self.max_bytes;
        if self.is_too_large { Err(NullPropagated) } else { Ok(()) }
    }

    /// Begins a field or an item: the one at this index in what is around it.
    pub(super) fn begin_item(&mut self, index: usize) -> Result<(), NullPropagated> {
        self.end_field()?;
        if index > 0 {
            self.push(",");
        }
        Ok(())
    }

    pub(super) fn push(&mut self, text: &str) {
        self.out.last().extend_from_slice(text.as_bytes());
    }

    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    /// Puts null in the place of what was written since.
    pub(super) fn null_from(&mut self, start: usize) {
        self.out.truncate(start);
        self.push("null");
    }

    /// Notes why a field has no value.
    pub(super) fn unresolved(
        &mut self,
        why: Unresolved,
        nullable: bool,
        location: Option<Location>,
    ) -> Result<(), NullPropagated> {
        match why {
            Unresolved::NotLoaded => self.incomplete = true,
            Unresolved::Failed(error) => {
                if self.errors.len() < MAX_ERRORS {
                    self.errors.push(error.at(location));
                }
                if !nullable {
                    return Err(NullPropagated);
                }
                self.push("null");
            }
        }
        Ok(())
    }

    /// The errors since then were inside of this.
    pub(super) fn extend_paths(&mut self, since: usize, segment: impl Fn() -> Segment) {
        for error in self.errors.iter_mut().skip(since) {
            error.path.push(segment());
        }
    }

    /// Writes a value.
    pub fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        // Neither writing to memory nor a value of the schema's types fails.
        let _ = serde_json::to_writer(self.out.last(), value);
    }

    /// Writes a text that has nothing in it that JSON would escape.
    pub fn display(&mut self, text: &impl Display) {
        let out = self.out.last();
        out.push(b'"');
        let _ = write!(out, "{text}");
        out.push(b'"');
    }
}
