//! Binding of selected fields to their resolvers, once for each plan.

use async_graphql::InputType;

use super::{
    arguments::{Parser, parser, unparsed},
    collected::CollectedField,
};

/// Collects the parsers of the fields' arguments while a plan is bound.
pub struct Binder {
    parsers: Vec<Parser>,
}

impl Binder {
    pub(super) fn new(places: usize) -> Self {
        Self { parsers: vec![(unparsed, None); places] }
    }

    pub(super) fn parsers(self) -> Vec<Parser> {
        self.parsers
    }

    /// The place of a field's arguments, which are of this type.
    pub(super) fn parse<A: InputType + Send + Sync + 'static>(&mut self, field: &CollectedField) -> Option<usize> {
        let place = field.arguments?;
        *self.parsers.get_mut(place)? = (parser::<A>, field.location);
        Some(place)
    }
}
