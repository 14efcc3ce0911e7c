//! The roots of mutations and subscriptions: fields that do something, one after the other, or that go on.

use std::{future::ready, sync::Arc};

use async_graphql::{
    InputType, OutputType,
    registry::{MetaField, MetaType, Registry},
};
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    arguments::Arguments,
    binder::Binder,
    collected::CollectedField,
    declarations::{self, Declare, Declared},
    errors::{Error, Location},
    fields::{Fields, Object, Selection, written_key},
    writer::{Null, Writer},
};

/// Writes a value for which everything may have to be loaded first.
pub type Write<C> = Arc<dyn Fn(&C, &mut Writer<'_>) -> Result<(), Null> + Send + Sync>;
/// Resolves a field at a root, with its arguments.
pub(super) type RootResolver<K, T> =
    Box<dyn Fn(Arc<K>, &Arguments) -> BoxFuture<'static, Result<T, Error>> + Send + Sync>;
/// Resolves a field of a mutation: does it, and returns what is to be written.
pub type MutationResolver<K, C> = RootResolver<K, Write<C>>;
/// Resolves a field of a subscription: returns the source of its events.
pub type SubscriptionResolver<K, C> = RootResolver<K, Box<dyn Source<C>>>;

/// A root whose fields do something.
pub trait Root: Send + Sync + Sized + 'static {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Its description in the schema.
    const DESCRIPTION: &'static str;
    /// What every field has at hand while it is resolved.
    type Call: Send + Sync + 'static;
    /// What every field has at hand while its answer is written.
    type Context: 'static;
    /// What a field is once it is planned: a [`MutationResolver`], or a [`SubscriptionResolver`].
    type Resolver: 'static;
    /// Its fields.
    fn fields(fields: &mut RootFields<Self>);
}

/// The fields of a root.
pub struct RootFields<R: Root>(Vec<Line<R::Resolver>>);

/// A field at a root.
struct Line<A> {
    name: &'static str,
    declare: Box<dyn Fn(&mut Registry) -> MetaField + Send + Sync>,
    bind: Bind<A>,
}

/// Plans a field at a root.
type Bind<A> = Box<dyn Fn(&CollectedField, &mut Binder) -> A + Send + Sync>;

/// What is asked of a field at a root.
pub struct PlannedRoot<A> {
    /// The response key.
    pub key: String,
    /// The response key as it is written.
    pub written_key: Box<str>,
    /// Where it is in the document.
    pub location: Option<Location>,
    /// How it is resolved; `None` for `__typename`.
    pub resolve: Option<A>,
}

impl<R: Root> RootFields<R> {
    fn all() -> Vec<Line<R::Resolver>> {
        let mut fields = Self(Vec::new());
        R::fields(&mut fields);
        fields.0
    }

    /// Plans these fields.
    #[must_use]
    pub fn bind(fields: &[CollectedField], binder: &mut Binder) -> Vec<PlannedRoot<R::Resolver>> {
        let lines = Self::all();
        let planned = fields.iter().map(|field| PlannedRoot {
            key: field.key.to_string(),
            written_key: written_key(&field.key),
            location: field.location,
            resolve: lines.iter().find(|line| field.field.name == *line.name).map(|line| (line.bind)(field, binder)),
        });
        planned.collect()
    }

    /// A field with the fields of `A` as its arguments: `resolve` gets what is asked of its object, too.
    fn add<O, A, T, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        resolve: impl Fn(Arc<R::Call>, A, Arc<Selection<O>>) -> F + Copy + Send + Sync + 'static,
    ) where
        R: Root<Resolver = RootResolver<<R as Root>::Call, T>>,
        O: Object,
        A: InputType + Clone + Send + Sync + 'static,
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let declare = move |registry: &mut Registry| {
            let ty = <Declared<Fields<O>> as OutputType>::create_type_info(registry);
            declarations::field(name, description, ty, declarations::arguments::<A>(registry))
        };
        let bind = move |field: &CollectedField, binder: &mut Binder| -> R::Resolver {
            let selection = Arc::new(Selection::<O>::bind(field.selection_of(O::NAME), binder));
            let place = binder.parse::<A>(field);
            Box::new(move |call, arguments| match arguments.get::<A>(place) {
                Ok(arguments) => resolve(call, arguments.clone(), selection.clone()).boxed(),
                Err(error) => ready(Err(error)).boxed(),
            })
        };
        self.0.push(Line { name, declare: Box::new(declare), bind: Box::new(bind) });
    }
}

impl<R, K: Send + Sync + 'static, C: 'static> RootFields<R>
where
    R: Root<Call = K, Context = C, Resolver = MutationResolver<K, C>>,
{
    /// A field that does something, with the fields of `A` as its arguments.
    pub fn mutation<O, A, P, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        resolve: impl Fn(Arc<K>, A) -> F + Copy + Send + Sync + 'static,
    ) where
        for<'a> O: Object<Context = C, Row<'a> = &'a P>,
        A: InputType + Clone + Send + Sync + 'static,
        P: Send + Sync + 'static,
        F: Future<Output = Result<P, Error>> + Send + 'static,
    {
        self.add::<O, A, Write<C>, _>(name, description, move |call, arguments, selection| {
            let resolving = resolve(call, arguments);
            async move {
                let done = resolving.await?;
                let write: Write<C> = Arc::new(move |context, writer| selection.write(&done, context, writer));
                Ok(write)
            }
        });
    }
}

impl<R, K: Send + Sync + 'static, C: 'static> RootFields<R>
where
    R: Root<Call = K, Context = C, Resolver = SubscriptionResolver<K, C>>,
{
    /// A field that goes on, with the fields of `A` as its arguments.
    pub fn subscription<O, A, V, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        resolve: impl Fn(Arc<K>, A) -> F + Copy + Send + Sync + 'static,
    ) where
        for<'a> O: Object<Context = C, Row<'a> = &'a V::Item>,
        A: InputType + Clone + Send + Sync + 'static,
        V: EventSource,
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        self.add::<O, A, Box<dyn Source<C>>, _>(name, description, move |call, arguments, selection| {
            let resolving = resolve(call, arguments);
            async move {
                let source: Box<dyn Source<C>> = Box::new(Written { values: resolving.await?, selection });
                Ok(source)
            }
        });
    }
}

impl<R: Root> Declare for RootFields<R> {
    const NAME: &'static str = R::NAME;

    fn describe(registry: &mut Registry) -> MetaType {
        let fields: Vec<_> = Self::all().iter().map(|line| (line.declare)(registry)).collect();
        declarations::object(R::NAME, R::DESCRIPTION, fields)
    }
}

/// An event of a subscription.
pub struct Event<C> {
    /// Writes it.
    pub write: Write<C>,
    /// By what a client names it to go on after it.
    pub id: Option<String>,
}

/// Where the events of a subscription come from.
pub trait Source<C>: Send {
    /// The next events that are at hand, to be loaded together, once `taken` of the last ones were sent; `None` at the end.
    fn next(&mut self, taken: usize) -> BoxFuture<'_, Option<Result<Vec<Event<C>>, Error>>>;

    /// Whether the last events still show what is so now: if not, what was not sent yet comes again.
    fn is_current(&self) -> bool;
}

/// What a field of a subscription follows: its items become events.
pub trait EventSource: Send + 'static {
    /// What becomes an event.
    type Item: Send + Sync + 'static;

    /// As [`Source::next`].
    fn next(&mut self, taken: usize) -> impl Future<Output = Option<Result<Vec<Self::Item>, Error>>> + Send;

    /// As [`Source::is_current`].
    fn is_current(&self) -> bool {
        true
    }

    /// By what a client names an event to go on after it.
    #[must_use]
    fn event_id(_: &Self::Item) -> Option<String> {
        None
    }
}

struct Written<V, O: Object> {
    values: V,
    selection: Arc<Selection<O>>,
}

impl<V: EventSource, O> Source<O::Context> for Written<V, O>
where
    for<'a> O: Object<Row<'a> = &'a V::Item>,
{
    fn next(&mut self, taken: usize) -> BoxFuture<'_, Option<Result<Vec<Event<O::Context>>, Error>>> {
        async move {
            let event = |value: V::Item| {
                let (id, selection) = (V::event_id(&value), self.selection.clone());
                Event { write: Arc::new(move |context, writer| selection.write(&value, context, writer)), id }
            };
            let values = self.values.next(taken).await?;
            Some(values.map(|values| values.into_iter().map(event).collect()))
        }
        .boxed()
    }

    fn is_current(&self) -> bool {
        self.values.is_current()
    }
}
