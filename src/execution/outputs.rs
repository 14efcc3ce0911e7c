//! Types of fields: leaves, types that may be null, and lists.

use std::{fmt::Display, marker::PhantomData};

use async_graphql::{ID, OutputType, registry::Registry, resolver_utils::EnumType};

use super::{Binder, CollectedField, NullPropagated, Segment, Writer};

/// A type of a field's values.
pub trait Output<C: 'static>: Sized + 'static {
    /// A value.
    type Of<'a>;
    /// What is selected of it.
    type Selection: Send + Sync + 'static;
    /// Whether a value may be null.
    const NULLABLE: bool = false;
    /// Whether it has no fields of its own.
    const LEAF: bool = false;
    /// Declares the type; gives its name, such as `[User!]!`.
    fn declare(registry: &mut Registry) -> String;
    /// Binds what is selected of it to resolvers.
    fn bind(field: &CollectedField, binder: &mut Binder) -> Self::Selection;
    /// Writes a value.
    ///
    /// # Errors
    /// [`NullPropagated`] if there is a null where none may be; the error was noted.
    fn write<'a>(
        value: Self::Of<'a>,
        selection: &Self::Selection,
        context: &'a C,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated>;
}

impl<C: 'static, T: Output<C>> Output<C> for Option<T> {
    type Of<'a> = Option<T::Of<'a>>;
    type Selection = T::Selection;
    const NULLABLE: bool = true;
    const LEAF: bool = T::LEAF;

    fn declare(registry: &mut Registry) -> String {
        T::declare(registry).trim_end_matches('!').to_owned()
    }

    fn bind(field: &CollectedField, binder: &mut Binder) -> T::Selection {
        T::bind(field, binder)
    }

    fn write<'a>(
        value: Option<T::Of<'a>>,
        selection: &T::Selection,
        context: &'a C,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated> {
        let start = writer.position();
        if value.is_none_or(|value| T::write(value, selection, context, writer).is_err()) {
            writer.null_from(start);
        }
        Ok(())
    }
}

impl<C: 'static, T: Output<C>> Output<C> for Vec<T> {
    type Of<'a> = Vec<T::Of<'a>>;
    type Selection = T::Selection;
    const LEAF: bool = T::LEAF;

    fn declare(registry: &mut Registry) -> String {
        format!("[{}]!", T::declare(registry))
    }

    fn bind(field: &CollectedField, binder: &mut Binder) -> T::Selection {
        T::bind(field, binder)
    }

    fn write<'a>(
        values: Vec<T::Of<'a>>,
        selection: &T::Selection,
        context: &'a C,
        writer: &mut Writer<'_>,
    ) -> Result<(), NullPropagated> {
        writer.push("[");
        for (index, value) in values.into_iter().enumerate() {
            writer.begin_item(index)?;
            let errors = writer.errors.len();
            let written = T::write(value, selection, context, writer);
            writer.extend_paths(errors, || Segment::Index(index));
            written?;
        }
        writer.push("]");
        Ok(())
    }
}

/// A leaf, a type without fields: what a value of it is, how it is declared, and how it is written.
macro_rules! leaf {
    ($type:ty, [$($generics:tt)*], $of:ty, $declared:ty, |$value:ident, $writer:ident| $write:expr) => {
        impl<C: 'static, $($generics)*> $crate::execution::Output<C> for $type {
            type Of<'a> = $of;
            type Selection = ();
            const LEAF: bool = true;

            fn declare(registry: &mut ::async_graphql::registry::Registry) -> String {
                <$declared as ::async_graphql::OutputType>::create_type_info(registry)
            }

            fn bind(_: &$crate::execution::CollectedField, _: &mut $crate::execution::Binder) {}

            fn write(
                $value: <Self as $crate::execution::Output<C>>::Of<'_>,
                (): &(),
                _: &C,
                $writer: &mut $crate::execution::Writer<'_>,
            ) -> Result<(), $crate::execution::NullPropagated> {
                $write;
                Ok(())
            }
        }
    };
}
pub(crate) use leaf;

leaf!(String, [], &'a str, String, |text, writer| writer.json(text));
leaf!(bool, [], bool, bool, |flag, writer| writer.json(&flag));
leaf!(f64, [], f64, f64, |number, writer| writer.json(&number));
leaf!(i32, [], i32, i32, |number, writer| writer.json(&number));

/// An id: of type `ID`, whatever it is inside.
pub struct Id<K>(PhantomData<K>);
leaf!(Id<K>, [K: Display + 'static], K, ID, |id, writer| writer
    .display(&id));

/// A text that is made when it is written.
pub struct Text<T>(PhantomData<T>);
leaf!(Text<T>, [T: Display + 'static], T, String, |text, writer| writer.display(&text));

/// A value of an enum.
pub struct Enum<E>(PhantomData<E>);
leaf!(Enum<E>, [E: EnumType + OutputType + 'static], E, E, |value, writer| {
    if let Some(item) = E::items().iter().find(|item| item.value == value) {
        writer.display(&item.name);
    }
});
