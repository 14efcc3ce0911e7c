//! Lists that are written as JSON at once. For each item the library makes a future for each field and a map for the
//! values; for a page of messages, that is most of what a request costs. Where all that is asked of the items is at hand,
//! they are written from the [`Plan`] instead, just as the resolvers would answer. Where it is not, the resolvers do.

use std::{
    borrow::Cow,
    fmt::Display,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    ContextSelectionSet, OutputType, Positioned, ServerResult, Value, parser::types::Field, registry::Registry,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    calls::Call,
    completion::{Plan, Planned},
};
use crate::domain::Viewer;

/// What can be written without waiting for anything.
pub(super) trait Plain: OutputType {
    /// Whether the field is at hand, with all that is asked of it. It is the same for all items of a list.
    fn has(&self, field: &Planned) -> bool;

    /// Writes the key and the value of a field that is at hand.
    fn write<M: SerializeMap>(&self, field: &Planned, viewer: &Viewer, map: &mut M) -> Result<(), M::Error>;
}

/// Whether all that is asked of an object is at hand.
pub(super) fn is_plain<T: Plain>(item: &T, plan: &Plan) -> bool {
    let at_hand = |field: &Planned| field.is_on(&T::type_name()) && (field.name() == "__typename" || item.has(field));
    !plan.conditional && plan.fields.iter().all(at_hand)
}

/// An object with all that is asked of it.
pub(super) struct Asked<'a, T> {
    pub(super) of: &'a T,
    pub(super) plan: &'a Plan,
    pub(super) viewer: &'a Viewer,
}

impl<T: Plain> Serialize for Asked<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.plan.fields.len()))?;
        for field in &self.plan.fields {
            if field.name() == "__typename" {
                map.serialize_entry(&field.key, &T::type_name())?;
            } else {
                self.of.write(field, self.viewer, &mut map)?;
            }
        }
        map.end()
    }
}

/// Anything, as a string.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A list of objects, to be written at once if that can be done.
pub(super) struct Items<'a, T: Clone>(pub(super) Cow<'a, [T]>);

impl<T: Plain + Clone> OutputType for Items<'_, T> {
    fn type_name() -> Cow<'static, str> {
        <Vec<T> as OutputType>::type_name()
    }

    fn qualified_type_name() -> String {
        <Vec<T> as OutputType>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Vec<T> as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        let call: &Call = ctx.data_unchecked();
        let at_hand = |plan: &&Plan| self.0.first().is_some_and(|item| is_plain(item, plan));
        let plan = call.written.plan.at(ctx.path_node.as_ref()).filter(at_hand);
        let json = plan.and_then(|plan| to_raw_value(&List { items: &self.0, plan, call }).ok());
        match json {
            Some(json) => Ok(call.written.keep(json)),
            None => (&*self.0).resolve(ctx, field).await,
        }
    }
}

struct List<'a, T> {
    items: &'a [T],
    plan: &'a Plan,
    call: &'a Call,
}

impl<T: Plain> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let viewer = self.call.viewer();
        serializer.collect_seq(self.items.iter().map(|user| Asked { of: user, plan: self.plan, viewer: &viewer }))
    }
}

/// What of an answer was written already. Clones share it.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) plan: Arc<Plan>,
    lists: Arc<Mutex<Vec<Box<RawValue>>>>,
}

impl Written {
    /// Nothing of an answer to this plan.
    pub(super) fn nothing(plan: &Arc<Plan>) -> Self {
        Self { plan: plan.clone(), lists: Arc::default() }
    }

    /// Keeps a list; gives what stands in its place until the answer is written. Nothing else in an answer is binary.
    fn keep(&self, json: Box<RawValue>) -> Value {
        let mut lists = self.lists();
        lists.push(json);
        Value::Binary((lists.len() - 1).to_be_bytes().to_vec().into())
    }

    /// All lists that were kept.
    pub(super) fn take(&self) -> Vec<Box<RawValue>> {
        mem::take(&mut self.lists())
    }

    fn lists(&self) -> MutexGuard<'_, Vec<Box<RawValue>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data of an answer, with the lists that were written already.
pub(super) struct Data<'a>(pub(super) &'a Value, pub(super) &'a [Box<RawValue>]);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, lists) = *self;
        match value {
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(key, value)| (key, Data(value, lists))))
            }
            Value::List(items) => serializer.collect_seq(items.iter().map(|item| Data(item, lists))),
            Value::Binary(place) => {
                let place = place.as_ref().try_into().map(usize::from_be_bytes);
                place.ok().and_then(|place| lists.get(place)).serialize(serializer)
            }
            Value::Null | Value::Number(_) | Value::String(_) | Value::Boolean(_) | Value::Enum(_) => {
                value.serialize(serializer)
            }
        }
    }
}
