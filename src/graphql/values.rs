//! Values of variables and arguments, judged before anything is run. The library looks at some of them only when their
//! field is due: a mutation would be done by half.

use std::collections::HashSet;

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    parser::types::{BaseType, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet, Type},
};

use super::{
    completion::root,
    errors::{Code, request_error},
    shape::Shape,
};

/// Judges the values of the operation that will be run. Its fragments do not go round in circles. Gives the users whose
/// `feedCursor` it asks for.
pub(super) fn check_values(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
    shape: &Shape,
) -> Result<Vec<Value>, ServerError> {
    for Positioned { node: definition, pos } in &operation.variable_definitions {
        let (name, ty) = (&definition.name.node, &definition.var_type.node);
        let value = variables.get(name).or(definition.default_value()).unwrap_or(&Value::Null);
        misfit(value, ty, shape).map_or(Ok(()), |misfit| Err(misfit.of(&format!("variable `${name}"), *pos)))?;
    }
    let (entered, cursors_of) = (HashSet::new(), Vec::new());
    let mut values = Values { document, operation, variables, shape, entered, cursors_of };
    values.selection_set(&operation.selection_set.node, &root(operation.ty))?;
    Ok(values.cursors_of)
}

struct Values<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    shape: &'a Shape,
    entered: HashSet<&'a Name>,
    cursors_of: Vec<Value>,
}

impl<'a> Values<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet, on: &Name) -> Result<(), ServerError> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(Positioned { node: field, .. }) => self.field(field, on)?,
                Selection::InlineFragment(Positioned { node: inline, .. }) => {
                    let on = inline.type_condition.as_ref().map_or(on, |condition| &condition.node.on.node);
                    self.selection_set(&inline.selection_set.node, on)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.document.fragments.get(name)
                        && self.entered.insert(name)
                    {
                        let on = &fragment.node.type_condition.node.on.node;
                        self.selection_set(&fragment.node.selection_set.node, on)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'a Field, on: &Name) -> Result<(), ServerError> {
        let Some(of) = self.shape.field(on, &field.name.node) else { return Ok(()) };
        for (name, Positioned { node: value, pos }) in &field.arguments {
            let Some(ty) = of.arguments.get(&name.node) else { continue };
            // A variable that may be left out, and was, is as if the argument was not there.
            let left_out = value.to_string().strip_prefix('$').is_some_and(|variable| self.is_left_out(variable));
            let value = value.clone().into_const_with(|variable| Ok::<_, ()>(self.variable(&variable)));
            let Ok(value) = value else { continue };
            let may_be_null = ty.nullable && (left_out || !of.never_null.contains(&name.node));
            if value == Value::Null && may_be_null {
                continue;
            }
            if value == Value::Null && ty.nullable {
                let misfit = Misfit { path: String::new(), expected: "left out, or not null".to_owned() };
                return Err(misfit.of(&format!("argument `{}", name.node), *pos));
            }
            if let Some(misfit) = misfit(&value, ty, self.shape) {
                return Err(misfit.of(&format!("argument `{}", name.node), *pos));
            }
            if field.name.node == "feedCursor" {
                self.cursors_of.push(value);
            }
        }
        self.selection_set(&field.selection_set.node, of.named_type())
    }

    fn variable(&self, name: &Name) -> Value {
        self.variables.get(name).or_else(|| self.default(name)).cloned().unwrap_or(Value::Null)
    }

    fn is_left_out(&self, variable: &str) -> bool {
        self.variables.get(variable).is_none() && self.default(&Name::new(variable)).is_none()
    }

    fn default(&self, variable: &Name) -> Option<&Value> {
        let mut definitions = self.operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == *variable)?;
        // Not `default_value()`, which is null where none is given.
        definition.node.default_value.as_ref().map(|value| &value.node)
    }
}

/// A value that does not fit its type: where in it, and what should be there.
struct Misfit {
    path: String,
    expected: String,
}

impl Misfit {
    fn of(self, what: &str, at: Pos) -> ServerError {
        let message = format!("The {what}{}` must be {}.", self.path, self.expected);
        request_error(Code::BadUserInput, message, Some(at))
    }

    fn within(mut self, part: &str) -> Self {
        self.path.insert_str(0, part);
        self
    }
}

/// <https://spec.graphql.org/October2021/#sec-Coercing-Variable-Values>
fn misfit(value: &Value, ty: &Type, shape: &Shape) -> Option<Misfit> {
    if *value == Value::Null {
        let expected = || format!("of the type {ty}, and not null");
        return (!ty.nullable).then(|| Misfit { path: String::new(), expected: expected() });
    }
    match &ty.base {
        BaseType::List(inner) => {
            let Value::List(items) = value else {
                // One item stands for a list of one.
                return misfit(value, inner, shape);
            };
            items
                .iter()
                .enumerate()
                .find_map(|(index, item)| misfit(item, inner, shape).map(|misfit| misfit.within(&format!("[{index}]"))))
        }
        BaseType::Named(name) => misfit_of_named(value, name, shape),
    }
}

fn misfit_of_named(value: &Value, name: &Name, shape: &Shape) -> Option<Misfit> {
    let misfit = |expected: &str| Some(Misfit { path: String::new(), expected: expected.to_owned() });
    let integer = |value: &Value| if let Value::Number(number) = value { number.as_i64() } else { None };
    match name.as_str() {
        "Int" if integer(value).is_none_or(|number| i32::try_from(number).is_err()) => {
            misfit("a whole number from -2147483648 to 2147483647")
        }
        "ID" if !matches!(value, Value::String(_)) && integer(value).is_none() => {
            misfit("an id: a string, or a number")
        }
        "String" if !matches!(value, Value::String(_)) => misfit("a string"),
        "Boolean" if !matches!(value, Value::Boolean(_)) => misfit("true or false"),
        _ => {
            let fields = shape.input(name)?;
            let Value::Object(values) = value else { return misfit(&format!("an object of the type {name}")) };
            if values.keys().any(|key| !fields.contains_key(key)) {
                return misfit(&format!("of the type {name}, and have no other fields than that"));
            }
            fields.iter().find_map(|(field, ty)| {
                let value = values.get(field).unwrap_or(&Value::Null);
                self::misfit(value, ty, shape).map(|misfit| misfit.within(&format!(".{field}")))
            })
        }
    }
}
