//! The schema: as it is printed, as it was promised, and every item described.

use std::collections::BTreeMap;

use async_graphql::{
    Positioned,
    parser::{
        parse_schema,
        types::{InputValueDefinition, InterfaceType, ObjectType, TypeDefinition, TypeKind, TypeSystemDefinition},
    },
};

/// What clients were promised: the server may have less of it until it is built, and more; what it has is as it is here.
const CONTRACT: &str = include_str!("contract.graphql");
const SCHEMA: &str = include_str!("../../schema.graphql");

#[test]
fn the_schema_in_the_repository_is_the_servers() {
    assert_eq!(SCHEMA, duologue::graphql::sdl(), "run: cargo run -- schema > schema.graphql");
}

/// Every item of a schema (`Type`, `Type.field`, `Type.field(argument)`) with its type and whether it is described.
fn items(sdl: &str) -> BTreeMap<String, (String, bool)> {
    let mut items = BTreeMap::new();
    for definition in parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(Positioned { node: ty, .. }) = definition else { continue };
        let name = ty.name.node.to_string();
        items.insert(name.clone(), (kind(&ty), ty.description.is_some()));
        match ty.kind {
            TypeKind::InputObject(object) => {
                let field = |field: &Positioned<InputValueDefinition>| {
                    (format!("{name}.{}", field.node.name.node), input(&field.node))
                };
                items.extend(object.fields.iter().map(field));
            }
            TypeKind::Enum(of) => {
                for Positioned { node: value, .. } in of.values {
                    items.insert(format!("{name}.{}", value.value.node), ("value".into(), value.description.is_some()));
                }
            }
            TypeKind::Object(ObjectType { fields, .. }) | TypeKind::Interface(InterfaceType { fields, .. }) => {
                for Positioned { node: field, .. } in fields {
                    let path = format!("{name}.{}", field.name.node);
                    let arguments = field.arguments.iter();
                    items.extend(
                        arguments
                            .map(|argument| (format!("{path}({})", argument.node.name.node), input(&argument.node))),
                    );
                    items.insert(path, (field.ty.node.to_string(), field.description.is_some()));
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    items
}

fn input(value: &InputValueDefinition) -> (String, bool) {
    let default = value.default_value.as_ref().map(|value| format!(" = {}", value.node)).unwrap_or_default();
    (format!("{}{default}", value.ty.node), value.description.is_some())
}

fn kind(ty: &TypeDefinition) -> String {
    match &ty.kind {
        TypeKind::Object(object) => {
            let interfaces: Vec<_> = object.implements.iter().map(|interface| interface.node.to_string()).collect();
            format!("object {}", interfaces.join(" & "))
        }
        TypeKind::Scalar => "scalar".into(),
        TypeKind::Interface(_) => "interface".into(),
        TypeKind::Union(_) => "union".into(),
        TypeKind::Enum(_) => "enum".into(),
        TypeKind::InputObject(_) => "input".into(),
    }
}

#[test]
fn what_is_served_is_as_it_was_promised() {
    let (served, promised) = (items(SCHEMA), items(CONTRACT));
    for (path, (ty, _)) in &served {
        if let Some((promised, _)) = promised.get(path) {
            assert_eq!(ty, promised, "{path}");
        }
    }
}

#[test]
fn all_of_the_contract_is_there() {
    let served = items(SCHEMA);
    let parent = |path: &str| path.rfind(['(', '.']).and_then(|end| path.get(..end)).map(str::to_owned);
    let missing: Vec<String> = items(CONTRACT)
        .into_keys()
        .filter(|path| !served.contains_key(path) && parent(path).is_none_or(|parent| served.contains_key(&parent)))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn everything_is_described() {
    let undescribed: Vec<_> =
        items(SCHEMA).into_iter().filter(|(_, (_, described))| !described).map(|(path, _)| path).collect();
    assert_eq!(undescribed, [""; 0]);
}
