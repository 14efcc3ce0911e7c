//! Where the events of a subscription come from.

use futures_util::future::BoxFuture;

use super::Context;
use crate::{domain, execution::WriteFn, model::feed::Cursor};

/// An event of a subscription.
pub(super) struct SourceEvent {
    /// Writes it.
    pub(super) write: WriteFn<Context>,
    /// What a client passes to go on after it.
    pub(super) cursor: Option<Cursor>,
}

/// Events that are at hand, or why there are no more; `None` at the end.
pub(super) type SourceEvents = Option<domain::Result<Vec<SourceEvent>>>;

/// Where the events of a subscription come from.
pub(super) trait Source: Send {
    /// The next events that are at hand, to be loaded together, once `taken` of the last ones were sent.
    fn next(&mut self, taken: usize) -> BoxFuture<'_, SourceEvents>;

    /// Whether the last events still show what is so now: if not, what was not sent yet comes again.
    fn is_current(&self) -> bool {
        true
    }

    /// Whether what it gave last, or could not give, comes again, read anew.
    fn read_again(&mut self) -> bool {
        false
    }
}
