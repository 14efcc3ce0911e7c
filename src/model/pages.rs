//! Pages: a part of an ordered list that is cut by keys, as the Relay cursor connections specification has it.
//!
//! Not here: what is listed, and the texts of cursors.

/// Which part of a list is wanted: of the items whose keys are strictly between `after` and `before`, at most `limit`,
/// counted from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// Only what comes after this key.
    pub after: Option<i64>,
    /// Only what comes before this key.
    pub before: Option<i64>,
    /// At most so many items.
    pub limit: u16,
    /// The end that is counted from. The page itself always goes from the lowest key to the highest.
    pub end: End,
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The lowest key.
    First,
    /// The highest key.
    Last,
}

impl PageRequest {
    /// The last `limit` items of the whole list.
    #[must_use]
    pub fn last(limit: u16) -> Self {
        Self { after: None, before: None, limit, end: End::Last }
    }

    /// The same part of the list, seen from its other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        let end = match self.end {
            End::First => End::Last,
            End::Last => End::First,
        };
        Self { after: self.before, before: self.after, limit: self.limit, end }
    }
}

/// The pages of several lists, each with the list and the page that were requested.
pub type Pages<L, T> = Vec<((L, PageRequest), Page<T>)>;

/// A page, from the lowest key to the highest, and whether there are items before and after it.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether the list has items after these.
    pub has_next: bool,
    /// Whether the list has items before these.
    pub has_previous: bool,
}

impl<T> Page<T> {
    /// A page of an empty list.
    #[must_use]
    pub const fn empty() -> Self {
        Self { items: Vec::new(), has_next: false, has_previous: false }
    }

    /// The same page, seen from the other end of the list.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.items.reverse();
        Self { items: self.items, has_next: self.has_previous, has_previous: self.has_next }
    }
}
