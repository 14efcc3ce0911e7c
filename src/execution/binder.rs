//! Binding: from what is asked for to the fields of the schema, once for each plan.

use async_graphql::InputType;

use super::{
    arguments::{Parser, parser},
    collected::CollectedField,
    writer::{Null, Writer},
};

/// Answers a field of introspection.
pub(super) type Meta = Box<dyn Fn(&mut Writer<'_>) -> Result<(), Null> + Send + Sync>;

/// Collects what has to be known of the arguments of fields while a plan is bound.
pub struct Binder {
    parsers: Vec<Option<Parser>>,
    introspect: fn(&CollectedField, &mut Self) -> Option<Meta>,
}

impl Binder {
    pub(super) fn new(places: usize, introspect: fn(&CollectedField, &mut Self) -> Option<Meta>) -> Self {
        Self { parsers: vec![None; places], introspect }
    }

    pub(super) fn parsers(self) -> Vec<Option<Parser>> {
        self.parsers
    }

    /// The place of a field's arguments, which are of this type.
    pub(super) fn parse<A: InputType + Send + Sync + 'static>(&mut self, field: &CollectedField) -> Option<usize> {
        let place = field.arguments?;
        *self.parsers.get_mut(place)? = Some((parser::<A>, field.location));
        Some(place)
    }

    /// How `__schema` or `__type` is answered; `None` for any other field.
    pub(super) fn introspect(&mut self, field: &CollectedField) -> Option<Meta> {
        (self.introspect)(field, self)
    }
}
