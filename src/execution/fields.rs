//! Fields of object types: one call declares a field in the schema and defines its resolver.

use async_graphql::{
    InputType, OutputType,
    indexmap::IndexMap,
    registry::{MetaField, MetaInputValue, MetaType, Registry},
};

use super::{
    Binder, CollectedField, Declare, Declared, Location, NullPropagated, Output, Segment, Unresolved, Writer,
    declarations, introspection,
};

/// A type of objects.
pub trait Object: Sized + 'static {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Its description in the schema.
    const DESCRIPTION: &'static str;
    /// What fields have at hand besides their object: above all, what was loaded.
    type Context: 'static;
    /// What stands for an object while it is answered.
    type Row<'a>: Copy;
    /// Its fields.
    fn fields(fields: &mut Fields<Self>);
}

/// Answers a field of an object.
type Resolver<O> = Box<
    dyn for<'a> Fn(<O as Object>::Row<'a>, &'a <O as Object>::Context, &mut Writer<'_>) -> Result<(), NullPropagated>
        + Send
        + Sync,
>;

/// Binds a selected field to its resolver.
type Bind<R> = Box<dyn Fn(&CollectedField, &mut Binder) -> R + Send + Sync>;

/// The fields of a type.
pub struct Fields<O: Object>(Vec<FieldDefinition<Resolver<O>>>);

/// A field of a type: how it is declared in the schema, and how it is bound to its resolver.
pub(super) struct FieldDefinition<R> {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) declare: fn(&mut Registry) -> String,
    pub(super) arguments: fn(&mut Registry) -> IndexMap<String, MetaInputValue>,
    /// Whether it is a leaf that needs nothing to be loaded.
    pub(super) plain: bool,
    pub(super) bind: Bind<R>,
}

impl<R> FieldDefinition<R> {
    pub(super) fn describe(&self, registry: &mut Registry) -> MetaField {
        let (ty, arguments) = ((self.declare)(registry), (self.arguments)(registry));
        declarations::field(self.name, self.description, ty, arguments)
    }
}

impl<O: Object> Fields<O> {
    fn all() -> Vec<FieldDefinition<Resolver<O>>> {
        let mut fields = Self(Vec::new());
        O::fields(&mut fields);
        fields.0
    }

    /// A field that needs nothing to be loaded, and cannot fail.
    pub fn plain<T: Output<O::Context>>(
        &mut self,
        name: &'static str,
        description: &'static str,
        get: impl for<'a> Fn(O::Row<'a>, &'a O::Context) -> T::Of<'a> + Copy + Send + Sync + 'static,
    ) {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> Resolver<O> {
            let selection = T::bind(field, binder);
            Box::new(move |row, context, writer| T::write(get(row, context), &selection, context, writer))
        };
        self.add::<T>(name, description, T::LEAF, |_| IndexMap::new(), Box::new(bind));
    }

    /// A field that has to be loaded, or may fail.
    pub fn field<T: Output<O::Context>>(
        &mut self,
        name: &'static str,
        description: &'static str,
        get: impl for<'a> Fn(O::Row<'a>, &'a O::Context) -> Result<T::Of<'a>, Unresolved> + Copy + Send + Sync + 'static,
    ) {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> Resolver<O> {
            let (selection, location) = (T::bind(field, binder), field.location);
            Box::new(move |row, context, writer| {
                write_resolved::<T, _>(get(row, context), &selection, context, writer, location)
            })
        };
        self.add::<T>(name, description, false, |_| IndexMap::new(), Box::new(bind));
    }

    /// A field with arguments: the fields of the input object `A`.
    pub fn with<T: Output<O::Context>, A: InputType + Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        description: &'static str,
        get: impl for<'a> Fn(O::Row<'a>, &'a O::Context, &A) -> Result<T::Of<'a>, Unresolved> + Copy + Send + Sync + 'static,
    ) {
        let bind = move |field: &CollectedField, binder: &mut Binder| -> Resolver<O> {
            let (selection, location, slot) =
                (T::bind(field, binder), field.location, binder.add_arguments::<A>(field));
            Box::new(move |row, context, writer| {
                let arguments = writer.arguments.get::<A>(slot).map_err(Unresolved::from);
                let got = arguments.and_then(|arguments| get(row, context, arguments));
                write_resolved::<T, _>(got, &selection, context, writer, location)
            })
        };
        self.add::<T>(name, description, false, declarations::arguments::<A>, Box::new(bind));
    }

    fn add<T: Output<O::Context>>(
        &mut self,
        name: &'static str,
        description: &'static str,
        plain: bool,
        arguments: fn(&mut Registry) -> IndexMap<String, MetaInputValue>,
        bind: Bind<Resolver<O>>,
    ) {
        self.0.push(FieldDefinition { name, description, declare: T::declare, arguments, plain, bind });
    }
}

/// Writes what a field has, or notes why it has nothing.
fn write_resolved<'a, T: Output<C>, C>(
    got: Result<T::Of<'a>, Unresolved>,
    selection: &T::Selection,
    context: &'a C,
    writer: &mut Writer<'_>,
    location: Option<Location>,
) -> Result<(), NullPropagated> {
    match got {
        Ok(value) => T::write(value, selection, context, writer),
        Err(why) => writer.unresolved(why, T::NULLABLE, location),
    }
}

impl<O: Object> Declare for Fields<O> {
    const NAME: &'static str = O::NAME;

    fn describe(registry: &mut Registry) -> MetaType {
        declarations::object(O::NAME, O::DESCRIPTION, Self::all().iter().map(|field| field.describe(registry)))
    }
}

/// The fields that are selected of an object, bound to their resolvers.
pub struct Selection<O: Object>(Vec<BoundField<O>>);

struct BoundField<O: Object> {
    /// The response key.
    key: Box<str>,
    /// The response key as it is written into the answer: in quotes, and with a colon.
    written_key: Box<str>,
    plain: bool,
    resolve: Resolver<O>,
}

impl<O: Object> Selection<O> {
    /// Binds the selected fields of an object to their resolvers.
    pub fn bind(fields: &[CollectedField], binder: &mut Binder) -> Self {
        let definitions = Fields::<O>::all();
        let planned = fields.iter().map(|field| {
            let definition = definitions.iter().find(|definition| field.field.name == *definition.name);
            let resolve: Resolver<O> = match definition {
                Some(definition) => (definition.bind)(field, binder),
                None if field.field.name == "__typename" => Box::new(|_, _, writer| {
                    writer.json(O::NAME);
                    Ok(())
                }),
                None => {
                    let field = field.clone();
                    Box::new(move |_, _, writer| introspection::write(&field, writer))
                }
            };
            let plain = definition.is_none_or(|definition| definition.plain);
            BoundField { key: field.key.as_str().into(), written_key: written_key(&field.key), plain, resolve }
        });
        Self(planned.collect())
    }

    /// Writes an object.
    ///
    /// # Errors
    /// [`NullPropagated`] if a field is null that may not be; the error was noted.
    pub fn write<'a>(
        &self,
        row: O::Row<'a>,
        context: &'a O::Context,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated> {
        writer.push("{");
        for (index, field) in self.0.iter().enumerate() {
            if writer.incomplete && field.plain {
                continue;
            }
            writer.begin_item(index)?;
            writer.push(&field.written_key);
            let errors = writer.errors.len();
            let written = (field.resolve)(row, context, writer);
            writer.extend_paths(errors, || Segment::Key(field.key.to_string()));
            written?;
        }
        writer.push("}");
        Ok(())
    }
}

/// A response key as it is written, with a colon. Names have nothing in them that JSON would escape.
pub(super) fn written_key(key: &str) -> Box<str> {
    format!("\"{key}\":").into()
}

impl<O: Object> Output<O::Context> for O {
    type Of<'a> = O::Row<'a>;
    type Selection = Selection<O>;

    fn declare(registry: &mut Registry) -> String {
        <Declared<Fields<O>> as OutputType>::create_type_info(registry)
    }

    fn bind(field: &CollectedField, binder: &mut Binder) -> Selection<O> {
        Selection::bind(field.selection_of(O::NAME), binder)
    }

    fn write<'a>(
        row: O::Row<'a>,
        selection: &Selection<O>,
        context: &'a O::Context,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated> {
        selection.write(row, context, writer)
    }
}
