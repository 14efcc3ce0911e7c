//! Validation of documents (<https://spec.graphql.org/September2025/#sec-Validation>), by apollo-compiler but for three
//! rules that it does not keep; `tests/api/canaries.rs` says when it does.

use std::collections::{BTreeSet, HashSet};

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{DirectiveList, Value},
    diagnostic::{Diagnostic, ToCliReport},
    executable::{Operation, Selection, SelectionSet},
    parser::Parser,
    validation::{DiagnosticData, DiagnosticList, Valid, WithErrors},
};
use apollo_parser::{SyntaxKind, SyntaxNode, cst::CstNode};

use super::{
    errors::{Code, Error, Lines, MAX_ERRORS},
    schema::Schema,
};

/// What the compiler found.
type Found<'d> = Diagnostic<'d, DiagnosticData>;

/// The document with this text, if it fits the schema.
pub(super) fn validated(
    text: &str,
    lines: &Lines,
    schema: &Schema,
) -> Result<(Valid<ExecutableDocument>, Survey), Vec<Error>> {
    let ast = Parser::new().parse_ast(text, "document").map_err(|invalid| {
        let error = |found: Found<'_>| {
            let why = found.error.to_string();
            let message = format!("The document is not GraphQL: {}.", why.trim_start_matches("syntax error: "));
            Error::new(Code::GraphqlParseFailed, message).at(lines.location(found.error.location()))
        };
        invalid.errors.iter().map(error).take(1).collect::<Vec<_>>()
    })?;
    check_values(text).map_err(|error| vec![error])?;
    let parsed = match ast.to_executable_validate(&schema.definitions) {
        Ok(parsed) => parsed,
        Err(WithErrors { partial, errors }) if is_only_one_root_field(&partial, &errors) => {
            Valid::assume_valid(partial)
        }
        Err(invalid) => return Err(errors(&invalid.errors, text, lines)),
    };
    let survey = Survey::of(&parsed);
    if let Some((name, value)) = &survey.duplicate {
        let message = format!("There can be only one field `{name}` in an input object.");
        let error = Error::new(Code::GraphqlValidationFailed, message);
        return Err(vec![error.at(lines.location(value.location()))]);
    }
    Ok((parsed, survey))
}

/// apollo-parser takes a name without a value for nothing where an argument, or a field of an input object, should be.
fn check_values(text: &str) -> Result<(), Error> {
    let tree = apollo_parser::Parser::new(text).parse();
    let lacks_a_value = |node: &SyntaxNode| {
        matches!(node.kind(), SyntaxKind::ARGUMENT | SyntaxKind::OBJECT_FIELD)
            && !node.children_with_tokens().any(|child| child.kind() == SyntaxKind::COLON)
    };
    match tree.document().syntax().descendants().find(lacks_a_value) {
        Some(node) => {
            let message = format!("The document is not GraphQL: `{}` has no value.", node.text().to_string().trim());
            Err(Error::new(Code::GraphqlParseFailed, message))
        }
        None => Ok(()),
    }
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

/// What is known of a document once it was looked through.
#[derive(Default)]
pub(super) struct Survey {
    /// Selections and arguments.
    pub(super) nodes: u64,
    /// Variables that decide about directives.
    pub(super) conditions: BTreeSet<Name>,
    /// The first field that an input object has twice, which apollo-compiler does not look for
    /// (<https://spec.graphql.org/October2021/#sec-Input-Object-Field-Uniqueness>).
    duplicate: Option<(Name, Node<Value>)>,
}

impl Survey {
    fn of(document: &ExecutableDocument) -> Self {
        let mut survey = Self::default();
        for operation in document.operations.iter() {
            survey.directives(&operation.directives);
            for variable in &operation.variables {
                survey.directives(&variable.directives);
                variable.default_value.iter().for_each(|default| survey.value(default));
            }
            survey.selections(&operation.selection_set);
        }
        for fragment in document.fragments.values() {
            survey.directives(&fragment.directives);
            survey.selections(&fragment.selection_set);
        }
        survey
    }

    fn selections(&mut self, set: &SelectionSet) {
        for selection in &set.selections {
            self.nodes += 1;
            self.directives(selection.directives());
            match selection {
                Selection::Field(field) => {
                    field.arguments.iter().for_each(|argument| self.value(&argument.value));
                    self.selections(&field.selection_set);
                }
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn directives(&mut self, directives: &DirectiveList) {
        for argument in directives.iter().flat_map(|directive| &directive.arguments) {
            self.conditions.extend(argument.value.as_variable().cloned());
            self.value(&argument.value);
        }
    }

    fn value(&mut self, value: &Node<Value>) {
        self.nodes += 1;
        value.as_list().into_iter().flatten().for_each(|item| self.value(item));
        let mut names = HashSet::new();
        for (name, inner) in value.as_object().into_iter().flatten() {
            if !names.insert(name) {
                self.duplicate.get_or_insert_with(|| (name.clone(), inner.clone()));
            }
            self.value(inner);
        }
    }
}

/// What is wrong with a document that does not fit the schema.
fn errors(found: &DiagnosticList, text: &str, lines: &Lines) -> Vec<Error> {
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
