//! Introspection: the schema answers about itself
//! (<https://spec.graphql.org/September2025/#sec-Schema-Introspection>).

use apollo_compiler::{
    Node,
    ast::{DirectiveList, FieldDefinition, InputValueDefinition, Type},
    schema::{DirectiveDefinition, EnumValueDefinition, ExtendedType},
};
use async_graphql::{InputObject, OutputType};

use super::{
    binder::{Binder, Meta},
    collected::CollectedField,
    fields::{Fields, Object, Selection, write_or_stop},
    outputs::{Text, leaf},
    schema::Schema,
    writer::Stop,
};

/// Answers `__schema` and `__type`.
pub(super) fn bind(field: &CollectedField, binder: &mut Binder) -> Option<Meta> {
    match field.field.name.as_str() {
        "__schema" => {
            let selection = Selection::<SchemaObject>::bind(field.selection_of(SchemaObject::NAME), binder);
            Some(Box::new(move |writer| selection.write((), &writer.arguments.schema, writer)))
        }
        "__type" => {
            let selection = Selection::<TypeObject>::bind(field.selection_of(TypeObject::NAME), binder);
            let (place, location) = (binder.parse::<TypeArguments>(field), field.location);
            Some(Box::new(move |writer| {
                let (schema, arguments) = (&*writer.arguments.schema, writer.arguments);
                let wanted = arguments.get::<TypeArguments>(place).map_err(Stop::from);
                let found = wanted.map(|wanted| TypeRow::named(schema, &wanted.name));
                write_or_stop::<Option<TypeObject>, Schema>(found, &selection, schema, writer, location)
            }))
        }
        _ => None,
    }
}

/// A text that is made for the answer.
struct Made;
leaf!(Made, [], String, <String as OutputType>::create_type_info, |text, writer| writer.json(&text));

/// A schema.
struct SchemaObject;

impl Object for SchemaObject {
    const NAME: &'static str = "__Schema";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = ();

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Option<String>>("description", "", |(), schema| {
            schema.definitions.schema_definition.description.as_deref()
        });
        fields.plain::<Vec<TypeObject>>("types", "", |(), schema| {
            schema.definitions.types.values().map(TypeRow::Named).collect()
        });
        fields.plain::<Option<TypeObject>>("queryType", "", |(), schema| {
            TypeRow::named(schema, schema.definitions.schema_definition.query.as_ref()?)
        });
        fields.plain::<Option<TypeObject>>("mutationType", "", |(), schema| {
            TypeRow::named(schema, schema.definitions.schema_definition.mutation.as_ref()?)
        });
        fields.plain::<Option<TypeObject>>("subscriptionType", "", |(), schema| {
            TypeRow::named(schema, schema.definitions.schema_definition.subscription.as_ref()?)
        });
        fields.plain::<Vec<DirectiveObject>>("directives", "", |(), schema| {
            schema.definitions.directive_definitions.values().map(|directive| &**directive).collect()
        });
    }
}

/// A type, as it stands somewhere in the schema.
#[derive(Clone, Copy)]
enum TypeRow<'a> {
    Named(&'a ExtendedType),
    NonNull(&'a Type),
    /// A list of these.
    List(&'a Type),
}

impl<'a> TypeRow<'a> {
    fn named(schema: &'a Schema, name: &str) -> Option<Self> {
        schema.definitions.types.get(name).map(Self::Named)
    }

    fn of(schema: &'a Schema, ty: &'a Type) -> Option<Self> {
        match ty {
            Type::Named(name) => Self::named(schema, name),
            Type::List(inner) => Some(Self::List(inner)),
            Type::NonNullNamed(_) | Type::NonNullList(_) => Some(Self::NonNull(ty)),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::NonNull(_) => "NON_NULL",
            Self::List(_) => "LIST",
            Self::Named(ExtendedType::Scalar(_)) => "SCALAR",
            Self::Named(ExtendedType::Object(_)) => "OBJECT",
            Self::Named(ExtendedType::Interface(_)) => "INTERFACE",
            Self::Named(ExtendedType::Union(_)) => "UNION",
            Self::Named(ExtendedType::Enum(_)) => "ENUM",
            Self::Named(ExtendedType::InputObject(_)) => "INPUT_OBJECT",
        }
    }

    fn definition(self) -> Option<&'a ExtendedType> {
        if let Self::Named(definition) = self { Some(definition) } else { None }
    }

    fn of_type(self, schema: &'a Schema) -> Option<Self> {
        match self {
            Self::Named(_) => None,
            Self::List(inner) => Self::of(schema, inner),
            Self::NonNull(Type::NonNullNamed(name) | Type::Named(name)) => Self::named(schema, name),
            Self::NonNull(Type::NonNullList(inner) | Type::List(inner)) => Some(Self::List(inner)),
        }
    }

    fn fields(self) -> Option<impl Iterator<Item = &'a Node<FieldDefinition>>> {
        let definition = self.definition()?;
        let of_object = definition.as_object().map(|object| &object.fields);
        let fields = of_object.or_else(|| Some(&definition.as_interface()?.fields))?;
        Some(fields.values().map(|field| &field.node))
    }

    fn interfaces(self, schema: &'a Schema) -> Option<Vec<Self>> {
        let definition = self.definition()?;
        let of_object = definition.as_object().map(|object| &object.implements_interfaces);
        let interfaces = of_object.or_else(|| Some(&definition.as_interface()?.implements_interfaces))?;
        Some(interfaces.iter().filter_map(|interface| Self::named(schema, &interface.name)).collect())
    }

    fn possible_types(self, schema: &'a Schema) -> Option<Vec<Self>> {
        let definition = self.definition().filter(|its| its.is_interface() || its.is_union())?;
        let types = schema.possible_types(definition.name());
        Some(types.iter().filter_map(|name| Self::named(schema, name)).collect())
    }
}

#[derive(Clone, InputObject)]
struct DeprecatedArguments {
    include_deprecated: Option<bool>,
}

impl DeprecatedArguments {
    /// What is listed: without the deprecated, unless they are asked for.
    fn list<'a, T: 'a>(
        &self,
        all: impl Iterator<Item = &'a T>,
        directives: impl Fn(&'a T) -> &'a DirectiveList,
    ) -> Vec<&'a T> {
        all.filter(|its| self.include_deprecated == Some(true) || !directives(its).has("deprecated")).collect()
    }
}

/// A type, by its name or around another one.
struct TypeObject;

#[derive(Clone, InputObject)]
struct TypeArguments {
    name: String,
}

impl Object for TypeObject {
    const NAME: &'static str = "__Type";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = TypeRow<'a>;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Text<&'static str>>("kind", "", |it, _| it.kind());
        fields.plain::<Option<String>>("name", "", |it, _| Some(it.definition()?.name().as_str()));
        fields.plain::<Option<String>>("description", "", |it, _| Some(it.definition()?.description()?.as_str()));
        fields.with::<Option<Vec<FieldObject>>, DeprecatedArguments>("fields", "", |it, _, wanted| {
            Ok(it.fields().map(|fields| wanted.list(fields, |field| &field.directives)))
        });
        fields.plain::<Option<Vec<TypeObject>>>("interfaces", "", |it, schema| it.interfaces(schema));
        fields.plain::<Option<Vec<TypeObject>>>("possibleTypes", "", |it, schema| it.possible_types(schema));
        fields.with::<Option<Vec<EnumValueObject>>, DeprecatedArguments>("enumValues", "", |it, _, wanted| {
            let values = it.definition().and_then(ExtendedType::as_enum).map(|of| of.values.values());
            Ok(values.map(|values| wanted.list(values.map(|value| &value.node), |value| &value.directives)))
        });
        fields.with::<Option<Vec<InputValueObject>>, DeprecatedArguments>("inputFields", "", |it, _, wanted| {
            let values = it.definition().and_then(ExtendedType::as_input_object).map(|of| of.fields.values());
            Ok(values.map(|values| wanted.list(values.map(|value| &value.node), |value| &value.directives)))
        });
        fields.plain::<Option<TypeObject>>("ofType", "", |it, schema| it.of_type(schema));
        fields.plain::<Option<String>>("specifiedByURL", "", |it, _| {
            let scalar = it.definition()?.as_scalar()?;
            scalar.directives.get("specifiedBy")?.specified_argument_by_name("url")?.as_str()
        });
        fields.plain::<Option<bool>>("isOneOf", "", |it, _| {
            it.definition()?.as_input_object().map(|of| of.directives.has("oneOf"))
        });
    }
}

/// The fields about deprecation, which everything has that can be deprecated.
fn deprecation<O, T: 'static>(fields: &mut Fields<O>, directives: fn(&T) -> &DirectiveList)
where
    for<'a> O: Object<Context = Schema, Row<'a> = &'a Node<T>>,
{
    fields.plain::<bool>("isDeprecated", "", move |it, _| directives(it).has("deprecated"));
    fields.plain::<Option<String>>("deprecationReason", "", move |it, schema| {
        directives(it).get("deprecated")?.argument_by_name("reason", &schema.definitions).ok()?.as_str()
    });
}

/// A field of an object or an interface.
struct FieldObject;

impl Object for FieldObject {
    const NAME: &'static str = "__Field";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = &'a Node<FieldDefinition>;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<String>("name", "", |it, _| &it.name);
        fields.plain::<Option<String>>("description", "", |it, _| it.description.as_deref());
        fields.with::<Vec<InputValueObject>, DeprecatedArguments>("args", "", |it, _, wanted| {
            Ok(wanted.list(it.arguments.iter(), |argument| &argument.directives))
        });
        fields.plain::<Option<TypeObject>>("type", "", |it, schema| TypeRow::of(schema, &it.ty));
        deprecation(fields, |it| &it.directives);
    }
}

/// An argument, or a field of an input object.
struct InputValueObject;

impl Object for InputValueObject {
    const NAME: &'static str = "__InputValue";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = &'a Node<InputValueDefinition>;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<String>("name", "", |it, _| &it.name);
        fields.plain::<Option<String>>("description", "", |it, _| it.description.as_deref());
        fields.plain::<Option<TypeObject>>("type", "", |it, schema| TypeRow::of(schema, &it.ty));
        fields.plain::<Option<Made>>("defaultValue", "", |it, _| {
            it.default_value.as_ref().map(|value| value.serialize().no_indent().to_string())
        });
        deprecation(fields, |it| &it.directives);
    }
}

/// A value of an enum.
struct EnumValueObject;

impl Object for EnumValueObject {
    const NAME: &'static str = "__EnumValue";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = &'a Node<EnumValueDefinition>;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<String>("name", "", |it, _| &it.value);
        fields.plain::<Option<String>>("description", "", |it, _| it.description.as_deref());
        deprecation(fields, |it| &it.directives);
    }
}

/// A directive.
struct DirectiveObject;

impl Object for DirectiveObject {
    const NAME: &'static str = "__Directive";
    const DESCRIPTION: &'static str = "";
    type Context = Schema;
    type Row<'a> = &'a DirectiveDefinition;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<String>("name", "", |it, _| &it.name);
        fields.plain::<Option<String>>("description", "", |it, _| it.description.as_deref());
        fields.plain::<bool>("isRepeatable", "", |it, _| it.repeatable);
        fields.plain::<Vec<Text<&'static str>>>("locations", "", |it, _| {
            it.locations.iter().map(|location| location.name()).collect()
        });
        fields.with::<Vec<InputValueObject>, DeprecatedArguments>("args", "", |it, _, wanted| {
            Ok(wanted.list(it.arguments.iter(), |argument| &argument.directives))
        });
    }
}
