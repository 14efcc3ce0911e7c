//! Queries and passages: some models need a different prefix for each, and find little without it.

/// What a text is to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What somebody looks for.
    Query,
    /// What is found.
    Passage,
}

/// What is written before texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) query: String,
    pub(super) passage: String,
}

impl Prefixes {
    /// The text as the model is given it.
    pub(super) fn applied(&self, kind: Kind, text: &str) -> String {
        let prefix = match kind {
            Kind::Query => &self.query,
            Kind::Passage => &self.passage,
        };
        format!("{prefix}{text}")
    }
}
