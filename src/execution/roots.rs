//! Root fields of mutations, which are executed one after the other, and of subscriptions, which are sources of events.

use std::{future::ready, sync::Arc};

use async_graphql::{
    InputType,
    registry::{MetaType, Registry},
};
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    Arguments, Binder, CollectedField, Error, NullPropagated, Object, Output, Selection, Writer, declarations,
    fields::FieldDefinition,
};

/// Writes a value for which everything may have to be loaded first.
pub type WriteFn<C> = Arc<dyn Fn(&C, &mut Writer<'_>) -> Result<(), NullPropagated> + Send + Sync>;
/// Resolves a field at a root, with its arguments. That of a mutation does something, and gives what is to be written; that of
/// a subscription gives the source of its events.
pub type RootResolver<K, T> = Box<dyn Fn(Arc<K>, &Arguments) -> BoxFuture<'static, Result<T, Error>> + Send + Sync>;

/// The fields of a root type. `K` is the context of their resolvers, `T` what they resolve to.
pub struct RootFields<K, T>(Vec<FieldDefinition<RootResolver<K, T>>>);

impl<K, T> Default for RootFields<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Send + Sync + 'static, T: Send + 'static> RootFields<K, T> {
    /// Describes the root.
    pub fn describe(&self, name: &str, description: &str, registry: &mut Registry) -> MetaType {
        declarations::object(name, description, self.0.iter().map(|field| field.describe(registry)))
    }

    /// How a field is resolved; `None` for `__typename`.
    #[must_use]
    pub fn bind(&self, field: &CollectedField, binder: &mut Binder) -> Option<RootResolver<K, T>> {
        let definition = self.0.iter().find(|definition| field.field.name == *definition.name)?;
        Some((definition.bind)(field, binder))
    }

    /// A field with the fields of `A` as its arguments: `resolve` gets what is asked of its object, too.
    pub fn field<O, A, F>(
        &mut self,
        name: &'static str,
        description: &'static str,
        resolve: impl Fn(Arc<K>, A, Arc<Selection<O>>) -> F + Copy + Send + Sync + 'static,
    ) where
        O: Object,
        A: InputType + Clone + Send + Sync + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> RootResolver<K, T> {
            let selection = Arc::new(O::bind(field, binder));
            let slot = binder.add_arguments::<A>(field);
            Box::new(move |call, arguments| match arguments.get::<A>(slot) {
                Ok(arguments) => resolve(call, arguments.clone(), selection.clone()).boxed(),
                Err(error) => ready(Err(error)).boxed(),
            })
        };
        let (declare, arguments) = (O::declare, declarations::arguments::<A>);
        self.0.push(FieldDefinition { name, description, declare, arguments, plain: false, bind: Box::new(bind) });
    }
}

impl<O: Object> Selection<O> {
    /// Writes this object later.
    pub fn write_later(self: Arc<Self>, object: O) -> WriteFn<O::Context>
    where
        for<'a> O: Object<Row<'a> = &'a O> + Send + Sync,
    {
        Arc::new(move |context, writer| self.write(&object, context, writer))
    }
}
