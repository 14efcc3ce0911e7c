//! Connections, cursors and their arguments, as the Relay cursor connections specification has them.

use std::{fmt, hash::Hash, io::Write as _, marker::PhantomData};

use async_graphql::InputObject;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::Context;
use crate::{
    execution::{Batch, Error, Fields, MAX_PAGE, Object, Text, Unresolved},
    model::{
        ids::key_from,
        pages::{End, Page, PageRequest},
        searches::Place,
    },
};

/// Items of a page when its size is not given.
const DEFAULT_SIZE: u16 = 50;
/// Bytes of a cursor before it is encoded, at most.
const MAX_TEXT: usize = 96;

/// An item of a list.
pub(super) trait Listed: 'static {
    /// The name of the type of its pages.
    const CONNECTION: &'static str;
    /// The name of the type of its edges.
    const EDGE: &'static str;
    /// Distinguishes the cursors of one type from those of another.
    const KIND: &'static str;
    /// Where a page is taken from without any argument.
    const USUAL_END: End = End::First;
    /// The type of the nodes.
    type Node: Object<Context = Context>;
    /// What its lists are ordered by.
    fn key(&self) -> i64;
    /// The item as a node.
    fn node(&self) -> <Self::Node as Object>::Row<'_>;
}

/// Which part of a list is wanted.
#[derive(Clone, InputObject)]
pub(super) struct PageArguments {
    /// At most so many from the start of the list, 0 to 100; not with `last`.
    first: Option<i32>,
    /// Only items after this cursor.
    after: Option<String>,
    /// At most so many from the end of the list, 0 to 100; not with `first`.
    last: Option<i32>,
    /// Only items before this cursor.
    before: Option<String>,
}

impl PageArguments {
    /// The page of a list, once it is loaded.
    pub(super) fn page<'a, L: Eq + Hash + Clone, T: Listed>(
        &self,
        pages: &'a Batch<(L, PageRequest), Page<T>>,
        list: L,
    ) -> Result<&'a Page<T>, Unresolved> {
        let page = pages.get((list, self.request::<T>()?))?;
        Ok(page.unwrap_or(const { &Page::empty() }))
    }

    /// The part of a list that is meant.
    fn request<T: Listed>(&self) -> Result<PageRequest, Error> {
        let (end, size) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(Error::bad_input("Give `first` or `last`, not both.")),
            (Some(size), None) => (End::First, Some(size)),
            (None, Some(size)) => (End::Last, Some(size)),
            (None, None) => match (&self.after, &self.before) {
                (Some(_), None) => (End::First, None),
                (None, Some(_)) => (End::Last, None),
                _ => (T::USUAL_END, None),
            },
        };
        let limit = size.map_or(Ok(DEFAULT_SIZE), |size| page_size("`first` and `last`", size, 0))?;
        let key = |cursor: &Option<String>| cursor.as_deref().map(parse_cursor::<T>).transpose();
        Ok(PageRequest { after: key(&self.after)?, before: key(&self.before)?, limit, end })
    }
}

/// The size of a page, as `arguments` give it.
pub(super) fn page_size(arguments: &str, size: i32, min: u16) -> Result<u16, Error> {
    let size = u16::try_from(size).ok().filter(|size| (min..=MAX_PAGE).contains(size));
    size.ok_or_else(|| Error::bad_input(format!("{arguments} must be from {min} to {MAX_PAGE}.")))
}

fn parse_cursor<T: Listed>(cursor: &str) -> Result<i64, Error> {
    let key = decode(cursor).and_then(|text| key_from(text.strip_prefix(T::KIND)?.strip_prefix(':')?));
    let why =
        "This is no cursor of this list. Pass one exactly as it came from `cursor`, `startCursor` or `endCursor`.";
    key.ok_or_else(|| Error::bad_input(why))
}

/// The text of a [`Position`] by its cursor; `None` if it is none.
pub(super) fn decode(cursor: &str) -> Option<String> {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

/// A place in a list.
#[derive(Clone, Copy)]
pub(super) enum Position {
    /// Of an item with this key, in a list of this kind.
    Key(&'static str, i64),
    /// In what a search found.
    Place(Place),
}

impl Position {
    fn of<T: Listed>(item: &T) -> Self {
        Self::Key(T::KIND, item.key())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each item of a page has one: nothing is allocated.
        let (mut text, mut encoded) = ([0; MAX_TEXT], [0; MAX_TEXT.div_ceil(3) * 4]);
        let mut rest = text.as_mut_slice();
        match self {
            Self::Key(kind, key) => write!(rest, "{kind}:{key}"),
            Self::Place(place) => write!(rest, "{place}"),
        }
        .map_err(|_too_long| fmt::Error)?;
        let left = rest.len();
        let text = text.get(..MAX_TEXT - left).unwrap_or_default();
        let length = BASE64_URL_SAFE_NO_PAD.encode_slice(text, &mut encoded).map_err(|_too_long| fmt::Error)?;
        f.write_str(encoded.get(..length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default())
    }
}

impl<T: Listed> Object for Page<T> {
    const NAME: &'static str = T::CONNECTION;
    const DESCRIPTION: &'static str = "A page of a list.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Vec<T::Node>>("nodes", "The items of the page, in the order of the list.", |page, _| {
            page.items.iter().map(T::node).collect()
        });
        fields.plain::<Vec<Edge<T>>>("edges", "The same items, each with its cursor.", |page, _| {
            page.items.iter().collect()
        });
        fields.plain::<PageInfo>("pageInfo", "What lies before and after the page.", |page, _| PageInfo {
            has_next: page.has_next,
            has_previous: page.has_previous,
            start: page.items.first().map(Position::of),
            end: page.items.last().map(Position::of),
        });
    }
}

struct Edge<T>(PhantomData<T>);

impl<T: Listed> Object for Edge<T> {
    const NAME: &'static str = T::EDGE;
    const DESCRIPTION: &'static str = "An item of a list, and where it stands.";
    type Context = Context;
    type Row<'a> = &'a T;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<T::Node>("node", "The item.", |item, _| item.node());
        fields.plain::<Text<Position>>(
            "cursor",
            "The position of the item, for `after` and `before`. Opaque.",
            |item, _| Position::of(item),
        );
    }
}

#[derive(Clone, Copy)]
pub(super) struct PageInfo {
    pub(super) has_next: bool,
    pub(super) has_previous: bool,
    pub(super) start: Option<Position>,
    pub(super) end: Option<Position>,
}

impl Object for PageInfo {
    const NAME: &'static str = "PageInfo";
    const DESCRIPTION: &'static str = "What lies before and after a page.";
    type Context = Context;
    type Row<'a> = Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<bool>("hasNextPage", "Whether the list has items after this page.", |it, _| it.has_next);
        fields
            .plain::<bool>("hasPreviousPage", "Whether the list has items before this page.", |it, _| it.has_previous);
        fields.plain::<Option<Text<Position>>>(
            "startCursor",
            "The cursor of the first item; null if the page is empty.",
            |it, _| it.start,
        );
        fields.plain::<Option<Text<Position>>>(
            "endCursor",
            "The cursor of the last item; null if the page is empty.",
            |it, _| it.end,
        );
    }
}
