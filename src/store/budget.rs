//! A bound on the texts that are loaded for one answer, so that they are not held before it is known that it is too large.

use super::{Error, Result};

/// Bytes of texts that may still be loaded.
#[derive(Debug, Clone, Copy)]
pub struct TextBudget(usize);

impl TextBudget {
    /// So many bytes in all.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes a text into account.
    ///
    /// # Errors
    /// [`Error::TooMuchText`] if there is no room for it.
    pub fn spend(&mut self, text: &str) -> Result<()> {
        self.0 = self.0.checked_sub(text.len()).ok_or(Error::TooMuchText)?;
        Ok(())
    }
}
