//! Collected fields: what an object is asked for, each response key once
//! (<https://spec.graphql.org/October2021/#sec-Field-Collection>).

use apollo_compiler::{Name, Node, executable::Field};

use super::Location;

/// All that stands for one response key of an object.
#[derive(Clone)]
pub struct CollectedField {
    /// The response key.
    pub key: Name,
    /// The first field with that key: the others are the same, but for what they select.
    pub field: Node<Field>,
    /// Its slot among the arguments of the plan, if the schema gives it any.
    pub arguments: Option<usize>,
    /// What is selected, for each type that an object here can have.
    pub selections: Vec<(Name, Vec<CollectedField>)>,
    /// Where it is in the document.
    pub location: Option<Location>,
}

impl CollectedField {
    /// What is selected of an object of this type.
    #[must_use]
    pub fn selection_of(&self, ty: &str) -> &[Self] {
        let found = self.selections.iter().find(|(its, _)| its == ty);
        found.map_or(&[], |(_, fields)| fields)
    }
}
