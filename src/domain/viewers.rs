//! Viewers: on whose behalf something is done.

use crate::app::App;

/// On whose behalf something is done. Its fields are private: holding one is the proof that the credential was checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Viewer {
    _everyone: (),
}

impl Viewer {
    /// Whoever can reach a server in open mode: they may act for everyone, and see everything.
    #[must_use]
    pub fn open(_app: &App) -> Self {
        Self { _everyone: () }
    }
}
