//! Why texts got no vectors.

use std::time::Duration;

/// Why texts got no vectors. The reason is for the log of the operator: no text, key or query is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// It can go well later.
    #[error("{reason}")]
    Temporary {
        /// Why.
        reason: String,
        /// The time to wait that was asked for, an hour at most.
        retry_after: Option<Duration>,
    },
    /// These texts cannot be embedded, at least not together: try half of them. A text that is refused alone is to be left out.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It cannot go well until the operator changes something, here or at the endpoint.
    #[error("{reason}")]
    Misconfigured {
        /// Why.
        reason: String,
    },
}

impl EmbedError {
    pub(super) fn temporary(reason: impl Into<String>) -> Self {
        Self::Temporary { reason: reason.into(), retry_after: None }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    pub(super) fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Misconfigured { reason: reason.into() }
    }
}
