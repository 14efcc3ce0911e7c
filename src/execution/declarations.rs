//! Declares types to async-graphql, which publishes the schema. Its derive macros fill the same structures.

use std::{borrow::Cow, marker::PhantomData, pin::Pin};

use async_graphql::{
    ContainerType, Context, ContextSelectionSet, InputType, ObjectType, OutputType, Positioned, Response, ServerResult,
    SubscriptionType, Value,
    indexmap::IndexMap,
    parser::types::Field,
    registry::{CacheControl, Deprecation, MetaField, MetaInputValue, MetaType, MetaTypeId, Registry},
};
use futures_util::Stream;

/// A type that can be declared.
pub trait Declare: Send + Sync + 'static {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Describes its fields, and with them the types that they have.
    fn describe(registry: &mut Registry) -> MetaType;
}

/// Stands for a type where async-graphql wants to know it.
pub struct Declared<T>(PhantomData<T>);

impl<T> Default for Declared<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Declare> OutputType for Declared<T> {
    fn type_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_output_type::<Self, _>(MetaTypeId::Object, T::describe)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(Value::Null)
    }
}

impl<T: Declare> ContainerType for Declared<T> {
    async fn resolve_field(&self, _: &Context<'_>) -> ServerResult<Option<Value>> {
        Ok(None)
    }
}

impl<T: Declare> ObjectType for Declared<T> {}

impl<T: Declare> SubscriptionType for Declared<T> {
    fn type_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_subscription_type::<Self, _>(T::describe)
    }

    fn create_field_stream<'a>(
        &'a self,
        _: &'a Context<'_>,
    ) -> Option<Pin<Box<dyn Stream<Item = Response> + Send + 'a>>> {
        None
    }
}

/// An object type.
pub(super) fn object(name: &str, description: &str, fields: impl IntoIterator<Item = MetaField>) -> MetaType {
    MetaType::Object {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        fields: by_name(fields),
        cache_control: CacheControl::default(),
        extends: false,
        shareable: false,
        resolvable: true,
        keys: None,
        visible: None,
        inaccessible: false,
        interface_object: false,
        tags: Vec::new(),
        is_subscription: false,
        rust_typename: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

/// An interface of these object types.
pub fn interface(name: &str, description: &str, fields: impl IntoIterator<Item = MetaField>, of: &[&str]) -> MetaType {
    MetaType::Interface {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        fields: by_name(fields),
        possible_types: of.iter().map(|&name| name.to_owned()).collect(),
        extends: false,
        keys: None,
        visible: None,
        inaccessible: false,
        tags: Vec::new(),
        rust_typename: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

fn by_name(fields: impl IntoIterator<Item = MetaField>) -> IndexMap<String, MetaField> {
    fields.into_iter().map(|field| (field.name.clone(), field)).collect()
}

/// A field.
#[must_use]
pub fn field(name: &str, description: &str, ty: String, args: IndexMap<String, MetaInputValue>) -> MetaField {
    MetaField {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        args,
        ty,
        deprecation: Deprecation::NoDeprecated,
        cache_control: CacheControl::default(),
        external: false,
        requires: None,
        provides: None,
        visible: None,
        shareable: false,
        inaccessible: false,
        tags: Vec::new(),
        override_from: None,
        compute_complexity: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

/// Arguments: those of a field are the fields of an input object that is not a type of the schema itself.
pub(super) fn arguments<A: InputType>(registry: &mut Registry) -> IndexMap<String, MetaInputValue> {
    A::create_type_info(registry);
    match registry.types.remove(&*A::type_name()) {
        Some(MetaType::InputObject { input_fields, .. }) => input_fields,
        _ => IndexMap::new(),
    }
}
