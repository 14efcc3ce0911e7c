//! The roots of mutations and subscriptions: fields that do something, one after the other, or that go on.

use std::{future::Future, sync::Arc};

use async_graphql::{
    InputType, OutputType,
    registry::{MetaField, MetaType, Registry},
};
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    Arguments, CollectedField, Error, Object, Writer,
    declarations::{self, Declare, Declared},
    errors::Location,
    fields::{Binder, Fields, Selection, written_key},
    writer::Null,
};

/// Writes a value for which everything may have to be loaded first.
pub type Write<C> = Arc<dyn Fn(&C, &mut Writer<'_>) -> Result<(), Null> + Send + Sync>;
/// Does what a field of a mutation says; gives what is to be written.
type Verb<K, C> = Box<dyn Fn(Arc<K>, &Arguments) -> BoxFuture<'static, Result<Write<C>, Error>> + Send + Sync>;
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

/// Where values come from that become the events of a subscription.
pub trait Values: Send + 'static {
    /// A value.
    type Value: Send + Sync + 'static;

    /// As [`Source::next`].
    fn next(&mut self, taken: usize) -> impl Future<Output = Option<Result<Vec<Self::Value>, Error>>> + Send;

    /// As [`Source::is_current`].
    fn is_current(&self) -> bool {
        true
    }

    /// By what a client names an event to go on after it.
    fn event_id(_: &Self::Value) -> Option<String> {
        None
    }
}

struct Written<V, O: Object> {
    values: V,
    selection: Arc<Selection<O>>,
}

impl<V: Values, O> Source<O::Context> for Written<V, O>
where
    for<'a> O: Object<Row<'a> = &'a V::Value>,
{
    fn next(&mut self, taken: usize) -> BoxFuture<'_, Option<Result<Vec<Event<O::Context>>, Error>>> {
        async move {
            let event = |value: V::Value| {
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

/// Begins what a field of a subscription says.
type Begin<K, C> =
    Box<dyn Fn(Arc<K>, &Arguments) -> BoxFuture<'static, Result<Box<dyn Source<C>>, Error>> + Send + Sync>;

/// A field at a root.
struct Line<B> {
    declare: Box<dyn Fn(&mut Registry) -> MetaField>,
    name: &'static str,
    bind: Box<dyn Fn(&CollectedField, &mut Binder) -> B>,
}

/// What is asked of a field at a root.
pub struct PlannedRoot<B> {
    /// The response key.
    pub key: String,
    /// The response key as it is written.
    pub written_key: Box<str>,
    /// Where it is in the document.
    pub location: Option<Location>,
    /// What is done; `None` for `__typename`.
    pub bound: Option<B>,
}

/// The root of mutations.
pub trait MutationRoot: Send + Sync + Sized + 'static {
    /// Its description in the schema.
    const DESCRIPTION: &'static str;
    /// What every field has at hand while it does something.
    type Call: Send + Sync + 'static;
    /// What every field has at hand while its answer is written.
    type Context: 'static;
    /// Its fields.
    fn fields(fields: &mut Mutations<Self::Call, Self::Context>);
}

/// The fields of the root of mutations.
pub struct Mutations<K, C>(Vec<Line<Verb<K, C>>>);

/// What is asked of a mutation.
pub type PlannedMutation<K, C> = Vec<PlannedRoot<Verb<K, C>>>;

impl<K: Send + Sync + 'static, C: 'static> Mutations<K, C> {
    /// A field that does something, with the fields of `A` as its arguments.
    pub fn verb<O, A, P, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        verb: impl Fn(Arc<K>, A) -> F + Copy + Send + Sync + 'static,
    ) where
        for<'a> O: Object<Context = C, Row<'a> = &'a P>,
        A: InputType + Clone + Send + Sync + 'static,
        P: Send + Sync + 'static,
        F: Future<Output = Result<P, Error>> + Send + 'static,
    {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> Verb<K, C> {
            let selection = Arc::new(Selection::<O>::bind(field.selection_of(O::NAME), binder));
            let place = binder.parse::<A>(field);
            Box::new(move |call, arguments| {
                let Some(arguments) = arguments.get::<A>(place).cloned() else { return no_arguments() };
                let (doing, selection) = (verb(call, arguments), selection.clone());
                async move {
                    let done = doing.await?;
                    let write: Write<C> = Arc::new(move |context, writer| selection.write(&done, context, writer));
                    Ok(write)
                }
                .boxed()
            })
        };
        self.0.push(Line { declare: declare::<O, A>(name, description), name, bind: Box::new(bind) });
    }

    /// Plans these fields.
    pub fn bind<R: MutationRoot<Call = K, Context = C>>(
        fields: &[CollectedField],
        binder: &mut Binder,
    ) -> PlannedMutation<K, C> {
        let mut all = Self(Vec::new());
        R::fields(&mut all);
        bind(&all.0, fields, binder)
    }
}

/// The root of subscriptions.
pub trait SubscriptionRoot: Send + Sync + Sized + 'static {
    /// Its description in the schema.
    const DESCRIPTION: &'static str;
    /// What every field has at hand when it begins.
    type Call: Send + Sync + 'static;
    /// What every field has at hand while an event is written.
    type Context: 'static;
    /// Its fields.
    fn fields(fields: &mut Subscriptions<Self::Call, Self::Context>);
}

/// The fields of the root of subscriptions.
pub struct Subscriptions<K, C>(Vec<Line<Begin<K, C>>>);

/// What is asked of a subscription.
pub type PlannedSubscription<K, C> = Vec<PlannedRoot<Begin<K, C>>>;

impl<K: Send + Sync + 'static, C: 'static> Subscriptions<K, C> {
    /// A field that goes on, with the fields of `A` as its arguments.
    pub fn stream<O, A, V, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        begin: impl Fn(Arc<K>, A) -> F + Copy + Send + Sync + 'static,
    ) where
        for<'a> O: Object<Context = C, Row<'a> = &'a V::Value>,
        A: InputType + Clone + Send + Sync + 'static,
        V: Values,
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> Begin<K, C> {
            let selection = Arc::new(Selection::<O>::bind(field.selection_of(O::NAME), binder));
            let place = binder.parse::<A>(field);
            Box::new(move |call, arguments| {
                let Some(arguments) = arguments.get::<A>(place).cloned() else { return no_arguments() };
                let (beginning, selection) = (begin(call, arguments), selection.clone());
                async move {
                    let source: Box<dyn Source<C>> = Box::new(Written { values: beginning.await?, selection });
                    Ok(source)
                }
                .boxed()
            })
        };
        self.0.push(Line { declare: declare::<O, A>(name, description), name, bind: Box::new(bind) });
    }

    /// Plans these fields.
    pub fn bind<R: SubscriptionRoot<Call = K, Context = C>>(
        fields: &[CollectedField],
        binder: &mut Binder,
    ) -> PlannedSubscription<K, C> {
        let mut all = Self(Vec::new());
        R::fields(&mut all);
        bind(&all.0, fields, binder)
    }
}

fn declare<O: Object, A: InputType>(
    name: &'static str,
    description: &'static str,
) -> Box<dyn Fn(&mut Registry) -> MetaField> {
    Box::new(move |registry| {
        let ty = <Declared<Fields<O>> as OutputType>::create_type_info(registry);
        declarations::field(name, description, ty, declarations::arguments::<A>(registry))
    })
}

fn bind<B>(lines: &[Line<B>], fields: &[CollectedField], binder: &mut Binder) -> Vec<PlannedRoot<B>> {
    let planned = fields.iter().map(|field| {
        let line = lines.iter().find(|line| field.field.name == *line.name);
        PlannedRoot {
            key: field.key.to_string(),
            written_key: written_key(&field.key),
            location: field.location,
            bound: line.map(|line| (line.bind)(field, binder)),
        }
    });
    planned.collect()
}

fn no_arguments<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    async { Err(Error::bad_input("The arguments of this field are missing.")) }.boxed()
}

fn root<B>(name: &str, description: &str, lines: &[Line<B>], registry: &mut Registry) -> MetaType {
    let fields: Vec<_> = lines.iter().map(|line| (line.declare)(registry)).collect();
    declarations::object(name, description, fields)
}

/// Declares the root of mutations.
pub struct Mutation<R>(std::marker::PhantomData<R>);

impl<R: MutationRoot> Declare for Mutation<R> {
    const NAME: &'static str = "Mutation";

    fn describe(registry: &mut Registry) -> MetaType {
        let mut fields = Mutations(Vec::new());
        R::fields(&mut fields);
        root(Self::NAME, R::DESCRIPTION, &fields.0, registry)
    }
}

/// Declares the root of subscriptions.
pub struct Subscription<R>(std::marker::PhantomData<R>);

impl<R: SubscriptionRoot> Declare for Subscription<R> {
    const NAME: &'static str = "Subscription";

    fn describe(registry: &mut Registry) -> MetaType {
        let mut fields = Subscriptions(Vec::new());
        R::fields(&mut fields);
        root(Self::NAME, R::DESCRIPTION, &fields.0, registry)
    }
}
