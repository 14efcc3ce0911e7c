//! Answers as JSON, written as the plan goes along. What is not loaded yet stops the writing: then only what is missing is
//! collected, to be loaded together, and the answer is written anew.

use std::{fmt::Display, io::Write as _};

use serde::Serialize;

use super::{
    arguments::Arguments,
    errors::{Error, Location, Segment},
};

/// Why a field has no value.
#[derive(Debug, Clone)]
pub enum Stop {
    /// It has to be loaded first.
    Later,
    /// It failed.
    Failed(Box<Error>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// A null where none may be: the nearest thing around it that may be null is
/// (<https://spec.graphql.org/October2021/#sec-Handling-Field-Errors>). The error was noted.
#[derive(Debug, Clone, Copy)]
pub struct Null;

/// An answer that is being written.
pub struct Writer<'r> {
    out: Vec<u8>,
    pub(super) errors: Vec<Error>,
    incomplete: bool,
    pub(super) arguments: &'r Arguments,
}

impl<'r> Writer<'r> {
    /// Nothing yet.
    pub(super) fn new(arguments: &'r Arguments) -> Self {
        Self { out: Vec::with_capacity(1_024), errors: Vec::new(), incomplete: false, arguments }
    }

    /// What was written and what failed; `None` if something has to be loaded first.
    pub(super) fn finish(mut self, written: Result<(), Null>) -> Option<(Vec<u8>, Vec<Error>)> {
        if self.incomplete {
            return None;
        }
        if let Err(Null) = written {
            self.null_from(0);
        }
        Some((self.out, self.errors))
    }

    /// Whether something has to be loaded first: what is written is only looked through for what else has to be.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    pub(super) fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
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
    pub(super) fn stop(&mut self, stop: Stop, nullable: bool, location: Option<Location>) -> Result<(), Null> {
        match stop {
            Stop::Later => self.incomplete = true,
            Stop::Failed(error) => {
                self.errors.push(error.at(location));
                if !nullable {
                    return Err(Null);
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
        let _ = serde_json::to_writer(&mut self.out, value);
    }

    /// Writes a text that has nothing in it that JSON would escape.
    pub fn display(&mut self, text: &impl Display) {
        let _ = write!(self.out, "\"{text}\"");
    }
}
