//! Validation of documents (<https://spec.graphql.org/September2025/#sec-Validation>), by apollo-compiler but for four
//! rules that it does not keep; `tests/api/canaries.rs` says when it does.

use std::collections::{BTreeSet, HashSet};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Definition, Document, VariableDefinition},
    diagnostic::{Diagnostic, ToCliReport},
    executable::Operation,
    parser::Parser,
    validation::{DiagnosticData, DiagnosticList, Valid, WithErrors},
};
use apollo_parser::{
    SyntaxKind,
    cst::{self, CstNode},
};

use super::{Code, Error, LineIndex, MAX_ERRORS, Schema};

/// What the compiler found.
type Found<'d> = Diagnostic<'d, DiagnosticData>;

/// The document with this text, if it fits the schema.
pub(super) fn validated(
    text: &str,
    lines: &LineIndex,
    schema: &Schema,
) -> Result<(Valid<ExecutableDocument>, DocumentStats), Vec<Error>> {
    let ast = Parser::new().parse_ast(text, "document").map_err(|invalid| {
        let error = |found: Found<'_>| {
            let why = found.error.to_string();
            Error::not_graphql(why.trim_start_matches("syntax error: ")).at(lines.location(found.error.location()))
        };
        invalid.errors.iter().map(error).take(1).collect::<Vec<_>>()
    })?;
    let mut stats = DocumentStats::of(text, lines).map_err(|error| vec![error])?;
    let refusal = |found: DiagnosticList| errors(&found, text, lines);
    let parsed = checked(&ast, schema).map_err(refusal)?;
    if let Some(stricter) = without_null_defaults(&ast) {
        checked(&stricter, schema).map_err(refusal)?;
    }
    if let Some(error) = stats.duplicate.take() {
        return Err(vec![error]);
    }
    Ok((parsed, stats))
}

fn checked(ast: &Document, schema: &Schema) -> Result<Valid<ExecutableDocument>, DiagnosticList> {
    ast.to_executable_validate(&schema.definitions).or_else(|WithErrors { partial, errors }| {
        let is_valid = is_only_one_root_field(&partial, &errors);
        if is_valid { Ok(Valid::assume_valid(partial)) } else { Err(errors) }
    })
}

/// The document without defaults that are null, if it has any: apollo-compiler takes such a default for a value, with which the variable
/// may stand where nothing may be null (<https://spec.graphql.org/October2021/#sec-All-Variable-Usages-are-Allowed>).
fn without_null_defaults(document: &Document) -> Option<Document> {
    let (mut stricter, mut found) = (document.clone(), false);
    for definition in &mut stricter.definitions {
        let Definition::OperationDefinition(operation) = definition else { continue };
        let is_null = |its: &Node<VariableDefinition>| its.default_value.as_ref().is_some_and(|value| value.is_null());
        if operation.variables.iter().any(is_null) {
            found = true;
            let variables = &mut operation.make_mut().variables;
            variables.iter_mut().filter(|its| is_null(its)).for_each(|its| its.make_mut().default_value = None);
        }
    }
    found.then_some(stricter)
}

/// apollo-compiler counts the fields at the root of a subscription, and not the response keys
/// (<https://spec.graphql.org/October2021/#sec-Single-root-field>).
fn is_only_one_root_field(document: &ExecutableDocument, found: &DiagnosticList) -> bool {
    let is_about_the_root = |its: Found<'_>| its.error.unstable_error_name() == Some("SubscriptionUsesMultipleFields");
    let has_one_key = |operation: &Node<Operation>| {
        let keys: HashSet<_> = operation.root_fields(document).map(|field| field.response_key()).collect();
        keys.len() == 1
    };
    found.iter().all(is_about_the_root)
        && document.operations.iter().filter(|its| its.is_subscription()).all(has_one_key)
}

/// What the syntax alone says of a document.
#[derive(Default)]
pub(super) struct DocumentStats {
    /// Selections, values and variables.
    pub(super) nodes: u64,
    /// Variables that decide about directives.
    pub(super) conditions: BTreeSet<Name>,
    /// The first field that an input object has twice, which apollo-compiler does not look for
    /// (<https://spec.graphql.org/October2021/#sec-Input-Object-Field-Uniqueness>).
    duplicate: Option<Error>,
}

impl DocumentStats {
    fn of(text: &str, lines: &LineIndex) -> Result<Self, Error> {
        let (mut stats, mut names) = (Self::default(), HashSet::new());
        for node in apollo_parser::Parser::new(text).parse().document().syntax().descendants() {
            let kind = node.kind();
            // Where an argument, or a field of an input object, should be, apollo-parser takes a name without a value for nothing.
            if matches!(kind, SyntaxKind::ARGUMENT | SyntaxKind::OBJECT_FIELD)
                && !node.children_with_tokens().any(|child| child.kind() == SyntaxKind::COLON)
            {
                let why = format!("`{}` has no value", node.text().to_string().trim());
                return Err(Error::not_graphql(why).at(lines.at(node.text_range().start().into())));
            }
            stats.nodes += u64::from(cst::Selection::can_cast(kind) || cst::Value::can_cast(kind));
            if kind == SyntaxKind::VARIABLE
                && node.ancestors().nth(3).is_some_and(|around| around.kind() == SyntaxKind::DIRECTIVE)
            {
                let name = cst::Variable::cast(node).and_then(|variable| variable.name());
                stats.conditions.extend(name.and_then(|name| Name::new(&name.text()).ok()));
            } else if let Some(object) = node.parent()
                && let Some(field) = cst::ObjectField::cast(node)
                && let Some((name, value)) = field.name().zip(field.value())
                && !names.insert((object, name.text().to_string()))
            {
                let message = format!("There can be only one field `{}` in an input object.", name.text());
                let location = lines.at(value.syntax().text_range().start().into());
                let error = Error::new(Code::GraphqlValidationFailed, message).at(location);
                stats.duplicate.get_or_insert(error);
            }
        }
        Ok(stats)
    }
}

/// What is wrong with a document that does not fit the schema.
fn errors(found: &DiagnosticList, text: &str, lines: &LineIndex) -> Vec<Error> {
    let kind = |its: &Found<'_>| its.error.unstable_error_name().unwrap_or_default();
    let error = |found: Found<'_>| {
        let at = found.error.location();
        let is_variable = at.and_then(|at| text.get(at.offset()..)).is_some_and(|value| value.starts_with('$'));
        // A literal that does not fit its type is bad input, as it would be if a variable had the value.
        let code = match kind(&found) {
            "UnsupportedValueType" | "IntCoercionError" | "UndefinedEnumValue" if !is_variable => Code::BadUserInput,
            _ => Code::GraphqlValidationFailed,
        };
        Error::new(code, sentence(&found.error.to_string())).at(lines.location(at))
    };
    // A field that is not there leaves nothing selected around it: that would be said, too, and first.
    let unknown = found.iter().any(|its| kind(&its) == "UndefinedField");
    let follows = |its: &Found<'_>| unknown && kind(its) == "MissingSubselection";
    found.iter().filter(|its| !follows(its)).map(error).take(MAX_ERRORS).collect()
}

/// The compiler's words, as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).chain(['.']).collect()
}
