//! What an operation may ask for. Tokens and brackets are counted before a document is parsed, all else over the plan of the
//! operation.

use apollo_compiler::{ast::Type, executable::OperationType};
use apollo_parser::{Lexer, TokenKind};
use async_graphql::Value;

use super::{AdditionalCost, Code, CollectedField, Error, LineIndex};
use crate::config::Limits;

/// Items that a list counts for when nothing says how many it has.
const USUAL_LIST: u64 = 2;
/// Items that a page counts for without `first` or `last`.
const USUAL_PAGE: u64 = 50;
/// Items of a page at most: more is refused when it is asked for.
pub const MAX_PAGE: u16 = 100;
/// Characters of an alias at most: each item of a list repeats it.
pub(super) const MAX_ALIAS: usize = 128;
/// Bytes that the fields of an operation, and its arguments, hold at most, estimated; a subscription, all operations of a batch, and all
/// of a connection with their documents, too.
pub const MAX_HELD_BYTES: usize = 1024 * 1024;
/// Fields inside fields in introspection. The usual query of clients is about 15 deep.
const MAX_INTROSPECTION_DEPTH: u32 = 20;
/// Lists inside lists in introspection, as `fields { type { fields … } }` has no end.
const MAX_INTROSPECTION_LISTS: u32 = 2;
/// What a field of introspection counts for: it is there for many types.
const INTROSPECTION_WEIGHT: u64 = 10;

/// Counts tokens, directives and brackets of a text that need not be GraphQL. Gives the bytes of all tokens, without
/// whitespace, commas and comments.
pub(super) fn check_text(text: &str, limits: &Limits) -> Result<usize, Error> {
    let not_graphql = |why: &str, at: usize| Error::not_graphql(why).at(LineIndex::of(text).at(at));
    let (mut tokens, mut bytes, mut depth, mut directives) = (0_usize, 0_usize, 0_u32, 0_u64);
    for token in Lexer::new(text) {
        let token = token.map_err(|error| not_graphql(error.message(), error.index()))?;
        let kind = token.kind();
        if matches!(kind, TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma | TokenKind::Eof) {
            continue;
        }
        if kind == TokenKind::StringValue && token.data().get(1..).is_some_and(|rest| rest.starts_with(['\n', '\r'])) {
            return Err(not_graphql("a string does not end in its line", token.index()));
        }
        if matches!(kind, TokenKind::LCurly | TokenKind::LBracket | TokenKind::LParen) {
            depth += 1;
        } else if matches!(kind, TokenKind::RCurly | TokenKind::RBracket | TokenKind::RParen) {
            depth = depth.saturating_sub(1);
        }
        directives += u64::from(kind == TokenKind::At);
        tokens += 1;
        bytes += token.data().len();
        if tokens > limits.max_tokens {
            let message = format!("The document has more than {} tokens. Ask for less at once.", limits.max_tokens);
            return Err(Error::new(Code::QueryTooComplex, message));
        }
        if directives > limits.max_directives {
            let message = format!("The document has more than {} directives.", limits.max_directives);
            return Err(Error::new(Code::QueryTooComplex, message));
        }
        if depth > limits.max_recursion {
            let message = format!("The document has brackets nested more than {} deep.", limits.max_recursion);
            return Err(Error::new(Code::QueryTooDeep, message));
        }
    }
    Ok(bytes)
}

/// What to do about an operation that is too large.
pub const ASK_FOR_LESS: &str = "Ask for less at once.";

/// What would hold more than [`MAX_HELD_BYTES`], and what to do.
#[must_use]
pub fn too_large(what: &str, advice: &str) -> Error {
    Error::new(Code::QueryTooComplex, format!("{what} would hold more than {MAX_HELD_BYTES} bytes of memory. {advice}"))
}

/// What a part of a plan asks for. Sums do not overflow: they stay at the highest number.
#[derive(Clone, Copy, Default)]
struct Cost {
    depth: u32,
    /// Lists inside lists of introspection.
    lists: u32,
    /// Fields outside of lists.
    once: u64,
    /// Fields inside the lists of the page that this is part of.
    per_item: u64,
    aliases: u64,
}

impl Cost {
    /// Both together: `count` says of fields and aliases how many there are.
    fn join(self, other: Self, count: fn(u64, u64) -> u64) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            lists: self.lists.max(other.lists),
            once: count(self.once, other.once),
            per_item: count(self.per_item, other.per_item),
            aliases: count(self.aliases, other.aliases),
        }
    }

    fn total(self) -> u64 {
        self.once.saturating_add(self.per_item.saturating_mul(USUAL_PAGE))
    }
}

/// Counts what an operation asks for, with these arguments; gives how many fields it fills at most.
pub(super) fn check_costs(
    operation: OperationType,
    fields: &[CollectedField],
    arguments: &[Value],
    additional: AdditionalCost,
    limits: &Limits,
) -> Result<u64, Error> {
    let cost = Counter { arguments, additional }.selection(operation.name(), fields)?;
    let location = fields.first().and_then(|field| field.location);
    for (is, at_most, what) in [
        (cost.aliases, limits.max_aliases, "aliases"),
        (fields.len() as u64, limits.max_root_fields, "fields at its root"),
        (cost.total(), limits.max_complexity, "fields to fill, where a list counts for all its items"),
    ] {
        if is > at_most {
            let message = format!("The operation has {is} {what}; {at_most} are allowed. Ask for less at once.");
            return Err(Error::new(Code::QueryTooComplex, message).at(location));
        }
    }
    if cost.depth > limits.max_depth {
        return Err(too_deep(cost.depth, limits.max_depth).at(location));
    }
    Ok(cost.total())
}

/// An operation with more fields inside fields than are allowed.
pub(super) fn too_deep(is: u32, at_most: u32) -> Error {
    Error::new(Code::QueryTooDeep, format!("The operation is {is} fields deep; {at_most} are allowed."))
}

/// Counts what fields ask for, with these arguments.
struct Counter<'a> {
    arguments: &'a [Value],
    additional: AdditionalCost,
}

impl Counter<'_> {
    fn selection(&self, on: &str, fields: &[CollectedField]) -> Result<Cost, Error> {
        fields.iter().try_fold(Cost::default(), |cost, its| Ok(cost.join(self.field(on, its)?, u64::saturating_add)))
    }

    fn field(&self, on: &str, field: &CollectedField) -> Result<Cost, Error> {
        // An object is of one type: what counts is the most that any of them asks for.
        let inner = field.selections.iter().try_fold(Cost::default(), |cost, (ty, fields)| {
            Ok::<_, Error>(cost.join(self.selection(ty, fields)?, u64::max))
        })?;
        let aliases = inner.aliases + u64::from(field.field.alias.is_some());
        let cost = Cost { depth: inner.depth + 1, lists: inner.lists, once: 0, per_item: 0, aliases };
        Ok(match field.field.name.as_str() {
            "__typename" => cost,
            "__schema" | "__type" => {
                if cost.depth > MAX_INTROSPECTION_DEPTH || cost.lists > MAX_INTROSPECTION_LISTS {
                    let message = "This introspection goes round in circles: its lists are nested too deeply.";
                    return Err(Error::new(Code::QueryTooDeep, message).at(field.location));
                }
                Cost { depth: 1, once: inner.total().saturating_mul(INTROSPECTION_WEIGHT), ..cost }
            }
            name if on.starts_with("__") => {
                let goes_round = matches!(name, "fields" | "inputFields" | "interfaces" | "possibleTypes");
                Cost { lists: cost.lists + u32::from(goes_round), once: inner.total().saturating_add(1), ..cost }
            }
            _ => self.filled(cost, inner, field, on),
        })
    }

    /// Adds what the field itself fills: once, or once for each item of the list that it is.
    fn filled(&self, cost: Cost, inner: Cost, field: &CollectedField, on: &str) -> Cost {
        let definition = &field.field.definition;
        let is_list = matches!(definition.ty, Type::List(_) | Type::NonNullList(_));
        let first = definition.argument_by_name("first");
        let arguments = field.arguments.and_then(|slot| self.arguments.get(slot));
        let items = arguments.and_then(size);
        let once = if let Some(first) = first {
            // Its default is not filled in for `null`.
            let usual = first.default_value.as_ref().and_then(|default| u64::try_from(default.to_i32()?).ok());
            let items = items.or(usual).unwrap_or(USUAL_PAGE).clamp(1, MAX_PAGE.into());
            inner.once.saturating_add(inner.per_item.saturating_mul(items))
        } else if is_list && (on.ends_with("Connection") || on.ends_with("Page")) {
            return Cost { once: 1, per_item: inner.total().saturating_add(1), ..cost };
        } else if is_list {
            inner.total().saturating_mul(items.unwrap_or(USUAL_LIST))
        } else {
            inner.total()
        };
        let additional = (self.additional)(&field.field.name, arguments.unwrap_or(&Value::Null));
        Cost { once: once.saturating_add(1).saturating_add(additional), ..cost }
    }
}

/// How many items a list may have by its arguments: by `first` or `last`, or as many as there are `ids`.
fn size(arguments: &Value) -> Option<u64> {
    let Value::Object(arguments) = arguments else { return None };
    let number = |name: &str| {
        let Value::Number(number) = arguments.get(name)? else { return None };
        number.as_u64()
    };
    let ids = || {
        let Value::List(ids) = arguments.get("ids")? else { return None };
        Some(ids.len() as u64)
    };
    number("first").or_else(|| number("last")).or_else(ids)
}
