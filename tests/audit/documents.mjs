// Random documents over a schema, valid and invalid, the same for a seed: with fragments, directives, variables, defaults.
import {
  GraphQLBoolean,
  GraphQLID,
  Kind,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  parse,
  print,
  visit,
} from "graphql";

/** Numbers from 0 to 1 (mulberry32). */
export function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What there is to ask for. */
const IDS = ["usr_1", "usr_2", "usr_3", "2", "msg_1", "msg_2", "msg_3", "cnv_1_2", "cnv_2_3", "usr_99", "nothing", ""];
const TEXTS = ["a", "Ada", "b", "", "none", "bWVzc2FnZToy", "Zm9v", "a \"quoted\" \\ text\n\u{1F44B}"];
const INSTANTS = ["2026-01-31T12:00:00.000Z", "2000-01-01T00:00:00+01:00", "2100-01-01T00:00:00Z"];
const NUMBERS = [0, 1, 2, 3, 5, 2, 3, 100, -1, 101, 2_147_483_647, -2_147_483_648];
/** Names that say what they do when they are not asked for. */
const ALIASES = ["a", "b", "c", "d", "e", "f", "g", "h", "x1", "x2", "x3", "x4", "id", "name", "nodes"];
/** Their order is not that of the specification, which has none. */
const UNORDERED = new Set(["types", "directives", "possibleTypes"]);

export class Generator {
  constructor(schema, seed) {
    this.schema = schema;
    this.random = dice(seed);
  }

  chance(of) {
    return this.random() < of;
  }

  below(number) {
    return Math.floor(this.random() * number);
  }

  any(list) {
    return list[this.below(list.length)];
  }

  /** A document that is valid more often than not, with values for its variables. */
  document(operation = "query") {
    this.variables = new Map();
    this.fragments = [];
    this.aliases = new Map();
    this.isInside = false;
    this.depth = 2 + this.below(4);
    const root = this.schema.getRootType(operation);
    const selection = operation === "subscription" ? this.single(root) : this.selection(root, 0);
    // Fragments that use variables come first, so that all are declared.
    const fragments = this.fragments.map(({ name, type, selection }) => `fragment ${name} on ${type} ${selection}`);
    const declared = [...this.variables].map(([name, { type, fallback }]) => `$${name}: ${type}${fallback}`);
    const directive = this.chance(0.02) ? " @skip(if: true)" : "";
    const head = `${operation} Run${declared.length ? `(${declared.join(", ")})` : ""}${directive} `;
    const twice = operation === "query" && this.chance(0.03) ? `{ ${this.twice()} ` : "{ ";
    const texts = [head + selection.replace("{ ", () => twice), ...fragments];
    if (this.chance(0.3)) texts.reverse();
    const values = {};
    for (const [name, { value }] of this.variables) if (value !== undefined) values[name] = value;
    const isNull = [...this.variables.values()].some(({ isLenient, value }) => isLenient && value === null);
    return { text: texts.join("\n"), variables: values, isNull, isInside: this.isInside };
  }

  /** A field with two lists under one key: they may have the same items as far as both go. */
  twice() {
    const ids = Array.from({ length: 1 + this.below(3) }, () => this.literal(GraphQLID, true));
    const others = ids.slice(0, this.below(ids.length + 1));
    return `twice: nodes(ids: [${ids.join(", ")}]) { id } twice: nodes(ids: [${others.join(", ")}]) { __typename }`;
  }

  single(type) {
    const field = this.field(type, 0);
    return this.chance(0.3) ? `{ ... on ${type} { ${field} } }` : `{ ${field} }`;
  }

  selection(type, depth) {
    const parts = [];
    const most = 1 + this.below(depth === 0 ? 4 : 5);
    for (let i = 0; i < most; i++) {
      const roll = this.random();
      if (roll < 0.08) parts.push(this.directed("__typename"));
      else if (roll < 0.2) parts.push(this.directed(`... ${this.condition(type)}`) + ` ${this.inner(type, depth)}`);
      else if (roll < 0.3) parts.push(this.directed(`...${this.fragment(type, depth)}`));
      else parts.push(this.field(type, depth));
    }
    // An object that has nothing but what may be left out.
    return `{ ${parts.join(" ")} }`;
  }

  condition(type) {
    this.conditioned = this.chance(0.2) ? type : this.overlapping(type);
    return this.chance(0.25) && this.conditioned === type ? "" : `on ${this.conditioned}`;
  }

  inner(_, depth) {
    return this.selection(this.conditioned, depth);
  }

  /** A type that an object of this one may have, mostly. */
  overlapping(type) {
    if (this.chance(0.003)) return this.any(Object.values(this.schema.getTypeMap()).filter(isObjectType));
    const types = isAbstractType(type) ? [type, ...this.schema.getPossibleTypes(type)] : [type, ...type.getInterfaces()];
    return this.any(types);
  }

  fragment(type, depth) {
    const known = this.fragments.filter((its) => its.type === type && its.selection);
    if (known.length && this.chance(0.5)) return this.any(known).name;
    const fragment = { name: `F${this.fragments.length}`, type: this.overlapping(type) };
    this.fragments.push(fragment);
    fragment.selection = this.selection(fragment.type, depth);
    return fragment.name;
  }

  directed(text) {
    if (!this.chance(0.12)) return text;
    const condition = this.chance(0.5) ? this.variable(GraphQLBoolean, true) : String(this.chance(0.5));
    return `${text} @${this.any(["skip", "include"])}(if: ${condition})`;
  }

  field(type, depth) {
    if (!type.getFields) return "__typename";
    const isRoot = type === this.schema.getQueryType();
    if (isRoot && this.chance(0.05)) return this.introspection();
    let fields = Object.values(type.getFields()).filter((field) => !UNORDERED.has(field.name) || !type.name.startsWith("__"));
    if (depth >= this.depth) fields = fields.filter((field) => !isCompositeType(getNamedType(field.type)));
    if (!fields.length) return "__typename";
    const field = this.any(fields);
    const named = getNamedType(field.type);
    const args = this.arguments(field);
    const text = this.directed(`${this.alias(field, args)}${field.name}${args}`);
    return isCompositeType(named) ? `${text} ${this.selection(named, depth + 1)}` : text;
  }

  /** Mostly one that fields with other arguments do not have. */
  alias(field, args) {
    if (this.chance(0.03)) return `${this.any(ALIASES)}: `;
    if (!args || this.chance(0.03)) return "";
    const known = `${field.name}${args}: ${field.type}`;
    if (!this.aliases.has(known)) this.aliases.set(known, `k${this.aliases.size}`);
    return `${this.aliases.get(known)}: `;
  }

  introspection() {
    const type = this.schema.getType("__Type");
    const names = ["User", "Node", "MessageStatus", "SendMessageInput", "Nothing", "DateTime", "Query"];
    const name = this.chance(0.2) ? this.variable(this.schema.getType("String"), true) : `"${this.any(names)}"`;
    return this.chance(0.2)
      ? `__schema { queryType { name kind } mutationType { name } }`
      : `__type(name: ${name}) ${this.selection(type, this.depth - 1)}`;
  }

  arguments(field) {
    const given = field.args
      .filter((arg) => (isNonNullType(arg.type) && arg.defaultValue === undefined ? !this.chance(0.003) : this.chance(0.25)))
      .map((arg) => `${arg.name}: ${this.value(arg.type)}`);
    if (this.chance(0.3)) given.reverse();
    return given.length ? `(${given.join(", ")})` : "";
  }

  /** A literal, or a variable, for an input of this type; sometimes of another one. */
  value(type, isInside = false) {
    if (this.chance(0.3)) return this.variable(type, isNonNullType(type), isInside);
    return this.literal(this.chance(0.003) ? this.schema.getType(this.any(["Int", "String", "Boolean", "ID"])) : type);
  }

  /** One that may be null fits where nothing may be, if it has a default; `isInside` a list or an input object. */
  variable(type, required, isInside = false) {
    const named = getNullableType(type);
    const isLenient = required && this.chance(0.15);
    this.isInside ||= isLenient && isInside;
    const exact = (required && !isLenient) || this.chance(0.5) ? `${named}!` : `${named}`;
    const written = this.chance(0.008) ? this.any(["Int", "String!", "[ID!]", "Boolean", "ID"]) : exact;
    for (const [name, its] of this.variables) if (its.type === written && (!isLenient || its.fallback) && this.chance(0.5)) return `$${name}`;
    const name = `v${this.variables.size}`;
    const nonNull = written.endsWith("!");
    const fallback = isLenient || this.chance(0.3) ? ` = ${this.constant(named)}` : "";
    let value = this.json(named);
    if ((!nonNull || fallback) && this.chance(0.3)) value = undefined;
    if (this.chance(nonNull ? 0.003 : 0.1)) value = null;
    this.variables.set(name, { type: written, fallback, value, isLenient });
    return `$${name}`;
  }

  constant(type) {
    const before = this.random;
    const plain = this.literal(type, true);
    this.random = before;
    return plain;
  }

  literal(type, isConstant = false) {
    if (isNonNullType(type)) return this.literal(type.ofType, isConstant);
    if (!isConstant && this.chance(0.04)) return "null";
    const inner = (of) => (isConstant ? this.literal(of, true) : this.value(of, true));
    if (isListType(type)) {
      if (this.chance(0.1)) return this.literal(type.ofType, isConstant);
      return `[${Array.from({ length: this.below(4) }, () => inner(type.ofType)).join(", ")}]`;
    }
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields()).filter((field) => isNonNullType(field.type) || this.chance(0.4));
      return `{${fields.map((field) => `${field.name}: ${inner(field.type)}`).join(", ")}}`;
    }
    if (isEnumType(type)) return this.any(type.getValues()).name;
    switch (type.name) {
      case "Int":
        return this.chance(0.01) ? this.any(["1.5", "-0", "2147483648", '"1"', "true"]) : String(this.any(NUMBERS));
      case "Boolean":
        return String(this.chance(0.5));
      case "ID":
        return this.chance(0.2) ? String(1 + this.below(3)) : JSON.stringify(this.any(IDS));
      // graphql-js does not know which texts are instants.
      case "DateTime":
        return JSON.stringify(this.any(INSTANTS));
      default: {
        const text = this.any(TEXTS);
        return this.chance(0.2) ? `"""${text.replaceAll('"""', '\\"""')} """` : JSON.stringify(text);
      }
    }
  }

  json(type) {
    if (this.chance(0.005)) return this.any([1, "x", true, [], {}, 1.5, 2, -0, 3_000_000_000, null]);
    if (isNonNullType(type)) return this.json(type.ofType);
    if (isListType(type)) {
      if (this.chance(0.1)) return this.json(type.ofType);
      return Array.from({ length: this.below(4) }, () => this.json(type.ofType));
    }
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields()).filter((field) => isNonNullType(field.type) || this.chance(0.4));
      return Object.fromEntries(fields.map((field) => [field.name, this.json(field.type)]));
    }
    if (isEnumType(type)) return this.any(type.getValues()).name;
    if (type.name === "Int") return this.any(NUMBERS);
    if (type.name === "Boolean") return this.chance(0.5);
    if (type.name === "ID") return this.chance(0.2) ? 1 + this.below(3) : this.any(IDS);
    return this.any(type.name === "DateTime" ? INSTANTS : TEXTS);
  }

  /** The same document with one thing changed, so that it most likely is not valid any more. */
  spoiled(text) {
    return this.chance(0.25) ? this.spoiledText(text) : this.spoiledTree(text);
  }

  spoiledText(text) {
    const at = this.below(text.length);
    const what = this.any(["", "", "{", "}", "(", ")", "$", "@", "!", '"', "...", "&", "null ", "# ", "\\u{1F600}", "[", ": ", "on "]);
    return text.slice(0, at) + what + text.slice(at + (what ? 0 : 1 + this.below(3)));
  }

  spoiledTree(text) {
    let document;
    try {
      document = parse(text);
    } catch {
      return this.spoiledText(text);
    }
    const kinds = [Kind.FIELD, Kind.ARGUMENT, Kind.VARIABLE, Kind.FRAGMENT_SPREAD, Kind.INLINE_FRAGMENT, Kind.DIRECTIVE];
    const others = [Kind.VARIABLE_DEFINITION, Kind.FRAGMENT_DEFINITION, Kind.OBJECT_FIELD, Kind.OPERATION_DEFINITION];
    const kind = this.any([...kinds, Kind.INT, Kind.STRING, ...others]);
    let count = 0;
    visit(document, { [kind]: () => void count++ });
    let at = this.below(Math.max(count, 1));
    return print(visit(document, { [kind]: (node) => (at-- === 0 ? this.changed(node) : undefined) }));
  }

  changed(node) {
    const name = (value) => ({ kind: Kind.NAME, value });
    const names = ["id", "nodes", "User", "Query", "first", "if", "v0", "v1", "F0", "F1", "content", "unknown", "__typename"];
    const renamed = { ...node, name: name(this.any(names)) };
    const twice = [node, node];
    const literal = () => this.any([
      { kind: Kind.INT, value: "7" },
      { kind: Kind.STRING, value: "seven" },
      { kind: Kind.BOOLEAN, value: true },
      { kind: Kind.NULL },
      { kind: Kind.ENUM, value: "SENT" },
      { kind: Kind.LIST, values: [] },
      { kind: Kind.OBJECT, fields: [] },
      { kind: Kind.VARIABLE, name: name(this.any(["v0", "v1", "v9"])) },
    ]);
    const field = { kind: Kind.FIELD, name: name(this.any(names)) };
    const directive = (of) => ({
      kind: Kind.DIRECTIVE,
      name: name(of),
      arguments: this.chance(0.8) ? [{ kind: Kind.ARGUMENT, name: name("if"), value: literal() }] : [],
    });
    const directed = { ...node, directives: [...(node.directives ?? []), directive(this.any(["skip", "include", "deprecated", "x"]))] };
    switch (node.kind) {
      case Kind.FIELD: {
        const other = { ...node, alias: name(this.any(ALIASES)) };
        const bare = { ...node, selectionSet: undefined };
        const filled = { ...node, selectionSet: { kind: Kind.SELECTION_SET, selections: [field] } };
        const argued = { ...node, arguments: [...(node.arguments ?? []), { kind: Kind.ARGUMENT, name: name("first"), value: literal() }] };
        return this.any([renamed, other, bare, filled, argued, directed, { ...directed, directives: twice.flatMap((its) => its.directives ?? []) }]);
      }
      case Kind.ARGUMENT:
        return this.any([renamed, { ...node, value: literal() }, { ...node, value: literal() }, null]);
      case Kind.VARIABLE:
        return renamed;
      case Kind.FRAGMENT_SPREAD:
        return this.any([renamed, directed]);
      case Kind.INLINE_FRAGMENT:
        return this.any([directed, { ...node, typeCondition: { kind: Kind.NAMED_TYPE, name: name(this.any(["User", "Int", "Node", "Nothing", "PageInfo"])) } }]);
      case Kind.DIRECTIVE:
        return this.any([renamed, { ...node, arguments: [] }, { ...node, arguments: node.arguments.map((its) => ({ ...its, value: literal() })) }]);
      case Kind.VARIABLE_DEFINITION: {
        const type = { kind: Kind.NAMED_TYPE, name: name(this.any(["Int", "String", "User", "Nothing", "ID", "Boolean", "SendMessageInput"])) };
        return this.any([null, { ...node, type }, { ...node, defaultValue: this.any([{ kind: Kind.INT, value: "1" }, { kind: Kind.NULL }, { kind: Kind.OBJECT, fields: [] }]) }, directed]);
      }
      case Kind.FRAGMENT_DEFINITION: {
        const spread = { kind: Kind.FRAGMENT_SPREAD, name: node.name };
        const selectionSet = { ...node.selectionSet, selections: [...node.selectionSet.selections, spread] };
        return this.any([renamed, null, { ...node, selectionSet }, directed]);
      }
      case Kind.OBJECT_FIELD:
        return this.any([renamed, { ...node, value: literal() }, null]);
      case Kind.OPERATION_DEFINITION:
        return this.any([directed, { ...node, operation: this.any(["query", "mutation", "subscription"]) }, { ...node, name: undefined }]);
      default:
        return literal();
    }
  }
}
