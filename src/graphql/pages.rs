//! Connections, cursors and their arguments, as the Relay cursor connections specification has them.

use std::borrow::Cow;

use async_graphql::{Object, OutputType, Result, SimpleObject};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::ser::SerializeMap;

use super::{
    Conversation, Message, User,
    completion::Planned,
    errors::bad_input,
    written::{Asked, Items, Plain, is_plain},
};
use crate::{
    domain::Viewer,
    model::{
        ids::key_from,
        pages::{End, Page, Span},
    },
};

/// Items of a page when its size is not given.
const DEFAULT_SIZE: u16 = 50;
/// Items of a page at most.
pub(super) const MAX_SIZE: u16 = 100;

/// What a list can have as its items.
pub(super) trait Listed {
    /// Tells the cursors of one type from those of another.
    const KIND: &'static str;
    /// What its lists are ordered by.
    fn key(&self) -> i64;
}

/// The page arguments of a list field.
pub(super) struct Wanted {
    pub(super) first: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i32>,
    pub(super) before: Option<String>,
}

impl Wanted {
    /// The part of the list that is meant. Without any argument it is at the `usual` end.
    pub(super) fn span<N: Listed>(&self, usual: End) -> Result<Span> {
        let (end, size) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(bad_input("Give `first` or `last`, not both.")),
            (Some(size), None) => (End::First, Some(size)),
            (None, Some(size)) => (End::Last, Some(size)),
            (None, None) => match (&self.after, &self.before) {
                (Some(_), None) => (End::First, None),
                (None, Some(_)) => (End::Last, None),
                _ => (usual, None),
            },
        };
        let limit = match size.map(u16::try_from) {
            None => DEFAULT_SIZE,
            Some(Ok(size)) if size <= MAX_SIZE => size,
            Some(_) => return Err(bad_input(format!("`first` and `last` must be from 0 to {MAX_SIZE}."))),
        };
        Ok(Span { after: key::<N>(self.after.as_deref())?, before: key::<N>(self.before.as_deref())?, limit, end })
    }
}

fn cursor<N: Listed>(item: &N) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}:{}", N::KIND, item.key()))
}

fn key<N: Listed>(cursor: Option<&str>) -> Result<Option<i64>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| key_from(text.strip_prefix(N::KIND)?.strip_prefix(':')?));
    let why =
        "This is no cursor of this list. Pass one exactly as it came from `cursor`, `startCursor` or `endCursor`.";
    key.map(Some).ok_or_else(|| bad_input(why))
}

/// A page of a list.
pub(super) struct Connection<N> {
    page: Page<N>,
}

impl<N> From<Page<N>> for Connection<N> {
    fn from(page: Page<N>) -> Self {
        Self { page }
    }
}

/// A page of a list.
#[Object(
    concrete(name = "UserConnection", params(User)),
    concrete(name = "MessageConnection", params(Message)),
    concrete(name = "ConversationConnection", params(Conversation))
)]
impl<N: Plain + Listed + Clone> Connection<N>
where
    Edge<N>: OutputType,
{
    /// The items of the page, in the order of the list.
    async fn nodes(&self) -> Items<'_, N> {
        Items(Cow::Borrowed(&self.page.items))
    }

    /// The same items, each with its cursor.
    async fn edges(&self) -> Items<'_, Edge<N>> {
        Items(self.page.items.iter().map(|node| Edge { cursor: cursor(node), node: node.clone() }).collect())
    }

    /// What lies before and after the page.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.page.has_next,
            has_previous_page: self.page.has_previous,
            start_cursor: self.page.items.first().map(cursor),
            end_cursor: self.page.items.last().map(cursor),
        }
    }
}

/// An item of a list, and where it stands.
#[derive(Clone, SimpleObject)]
#[graphql(
    concrete(name = "UserEdge", params(User)),
    concrete(name = "MessageEdge", params(Message)),
    concrete(name = "ConversationEdge", params(Conversation))
)]
pub(super) struct Edge<N: OutputType> {
    /// The item.
    node: N,
    /// Where it stands in the list, for `after` and `before`. Opaque.
    cursor: String,
}

impl<N: Plain> Plain for Edge<N>
where
    Self: OutputType,
{
    fn has(&self, field: &Planned) -> bool {
        field.name() == "cursor" || is_plain(&self.node, &field.plan)
    }

    fn write<M: SerializeMap>(&self, field: &Planned, viewer: &Viewer, map: &mut M) -> Result<(), M::Error> {
        match field.name() {
            "cursor" => map.serialize_entry(&field.key, &self.cursor),
            _ => map.serialize_entry(&field.key, &Asked { of: &self.node, plan: &field.plan, viewer }),
        }
    }
}

/// What lies before and after a page.
#[derive(SimpleObject)]
pub(super) struct PageInfo {
    /// Whether the list has items after this page.
    has_next_page: bool,
    /// Whether the list has items before this page.
    has_previous_page: bool,
    /// The cursor of the first item; null if the page is empty.
    start_cursor: Option<String>,
    /// The cursor of the last item; null if the page is empty.
    end_cursor: Option<String>,
}
