// The server beside graphql-js: random documents get the same verdict from both, and valid queries the same data, with keys
// in the same order and nulls in the same places. For graphql-js the value of each field is what the server answers to a
// query for that field alone; so what is compared is how fields are put together.
import { readFileSync } from "node:fs";
import {
  GraphQLError,
  astFromValue,
  buildSchema,
  execute,
  getNamedType,
  isCompositeType,
  parse,
  print,
  validate,
} from "graphql";
import { getVariableValues } from "graphql/execution/values.js";
import { Generator } from "./documents.mjs";

const [url, count, seed] = [process.argv[2], Number(process.env.DOCUMENTS ?? 1_000), Number(process.env.SEED ?? 1)];
const schema = buildSchema(readFileSync(new URL("../../schema.graphql", import.meta.url), "utf8"));

// What the schema says of it in words.
const instant = schema.getType("DateTime");
instant.parseValue = (value) => {
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value)) return value;
  throw new GraphQLError("This is no instant.");
};
instant.parseLiteral = (literal) => instant.parseValue(literal.value);

async function post(body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  if (process.env.AUTHORIZATION) headers.Authorization = process.env.AUTHORIZATION;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  return { text, json: JSON.parse(text) };
}

// Queries for one field each: ten in a request, each only once.
const known = new Map();
let waiting = [];

function ask(query) {
  if (!known.has(query)) {
    known.set(query, new Promise((resolve, reject) => waiting.push({ query, resolve, reject })));
    if (waiting.length === 1) setImmediate(send);
  }
  return known.get(query);
}

async function send() {
  const all = waiting;
  waiting = [];
  for (let i = 0; i < all.length; i += 10) {
    const part = all.slice(i, i + 10);
    const { json } = await post(part.map(({ query }) => ({ query })));
    part.forEach(({ resolve }, index) => resolve(json[index]));
  }
}

/** Where a value is: the fields that lead to it, each with the type of its object, and the places in lists. */
class Place {
  constructor(steps, trail, typename) {
    Object.assign(this, { steps, trail, __typename: typename });
  }

  async field(parent, definition, args) {
    const written = definition.args
      .filter(({ name }) => name in args)
      .map(({ name, type }) => `${name}: ${print(astFromValue(args[name], type))}`);
    const field = definition.name + (written.length ? `(${written.join(", ")})` : "");
    const steps = [...this.steps, { field, on: parent.name }];
    const isComposite = isCompositeType(getNamedType(definition.type));
    const answer = await ask(nested(steps, isComposite));
    const trail = [...this.trail, "f"];
    const failed = answer.errors?.find(({ path }) => !path || path.join() === trail.join());
    if (failed) throw new GraphQLError(failed.message);
    const value = trail.reduce((value, key) => value?.[key], answer.data) ?? null;
    const placed = (value, trail) => {
      if (value === null || !isComposite) return value;
      if (Array.isArray(value)) return value.map((item, index) => placed(item, [...trail, index]));
      return new Place(steps, trail, value.__typename);
    };
    return placed(value, trail);
  }
}

function nested(steps, isComposite) {
  return steps.reduceRight((inner, { field, on }, index) => {
    const asked = `f: ${field}${inner}`;
    return index ? ` { ... on ${on} { ${asked} } }` : `{ ${asked} }`;
  }, isComposite ? " { __typename }" : "");
}

/** The first thing that is wrong with a document. */
function invalid(document) {
  try {
    return validate(schema, document, undefined, { maxErrors: 1 })[0];
  } catch (error) {
    // A rule that runs directives before others have looked at them.
    return error;
  }
}

/** What graphql-js says: "parse", "validate", "variables", or the result. */
async function expected({ text, variables }, operationName) {
  let document;
  try {
    document = parse(text);
  } catch {
    return "parse";
  }
  const error = invalid(document);
  if (error) return `validate: ${error.message}`;
  const operations = document.definitions.filter((its) => its.kind === "OperationDefinition");
  const operation = operations.find((its) => its.name?.value === operationName);
  if (!operation) return "operation";
  const coerced = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  if (coerced.errors) return `variables: ${coerced.errors[0].message}`;
  return execute({
    schema,
    document,
    operationName,
    variableValues: variables,
    rootValue: new Place([], [], "Query"),
    fieldResolver: (place, args, _, info) => place.field(info.parentType, info.parentType.getFields()[info.fieldName], args),
    typeResolver: (place) => place.__typename,
  });
}

/** Whether something other than the schema is described, which graphql-js 16 allows. */
function hasDescriptions(text) {
  const { definitions } = parse(text);
  return definitions.some((its) => its.description ?? its.variableDefinitions?.some(({ description }) => description));
}

const tally = { answered: 0, refused: 0, different: 0 };

/** How the server differs; null if it does not. */
async function compare(document, operationName) {
  const wanted = await expected(document, operationName);
  const { text, json } = await post({ query: document.text, variables: document.variables, operationName });
  const code = json.errors?.[0]?.extensions?.code;
  const refused = !("data" in json);
  if (typeof wanted === "string") {
    tally.refused++;
    // A default that is not used is not looked at.
    const defaults = [...document.text.matchAll(/\$(\w+): DateTime!? = /g)];
    const isUnused = defaults.some(([, name]) => name in document.variables);
    if (!refused && isUnused && wanted.endsWith("This is no instant.")) return null;
    // apollo-compiler does not look where in a list or an input object a variable stands.
    if (!refused && document.isInside && wanted.includes("expecting type")) return null;
    if (!refused) return `graphql-js: ${wanted}; the server: ${text.slice(0, 300)}`;
    if ((wanted === "parse") !== (code === "GRAPHQL_PARSE_FAILED")) return `graphql-js: ${wanted}; the server: ${text.slice(0, 300)}`;
    return null;
  }
  tally.answered++;
  const data = JSON.stringify(wanted.data);
  const errors = wanted.errors?.map(({ message }) => message).join("; ") ?? "";
  // https://spec.graphql.org/September2025/#sec-Single-Root-Field forbids it, graphql-js 16 does not.
  // Null for what may not be null is refused before anything is run; by graphql-js only where a field has it.
  if (refused && document.isNull && code === "BAD_USER_INPUT") return null;
  if (refused && /can not specify @skip or @include on root fields/.test(text)) return null;
  // apollo-parser does not know descriptions of operations, fragments and variables.
  if (refused && code === "GRAPHQL_PARSE_FAILED" && hasDescriptions(document.text)) return null;
  if (refused) return `graphql-js: ${data.slice(0, 200)} ${errors.slice(0, 200)}; the server: ${text.slice(0, 300)}`;
  if (JSON.stringify(json.data) !== data) return `graphql-js: ${data}\n  the server: ${JSON.stringify(json.data)}\n  ${errors}`;
  // Of several errors that make the same thing null, one is enough, and it may be another one.
  const isNull = ({ path }) => path.reduce((value, key) => value?.[key] ?? null, json.data) === null;
  if (!json.errors !== !wanted.errors || !(json.errors ?? []).every(isNull)) {
    return `errors: ${errors}; the server: ${JSON.stringify(json.errors)}`;
  }
  return null;
}

for (let number = 0; number < count; number++) {
  const generator = new Generator(schema, seed * 1_000_003 + number);
  const operation = number % 10 === 8 ? "mutation" : number % 10 === 9 ? "subscription" : "query";
  const document = generator.document(operation);
  if (number % 2) document.text = generator.spoiled(document.text);
  // What would change something, or not end, is only judged.
  if (operation !== "query") document.text += "\nquery Other { __typename }";
  const difference = await compare(document, operation === "query" ? "Run" : "Other");
  if (difference) {
    tally.different++;
    console.log(`DIFFERENT ${number}\n  ${document.text.replaceAll("\n", "\n  ")}\n  ${JSON.stringify(document.variables)}\n  ${difference}`);
  }
}
console.log(`${tally.answered} answered, ${tally.refused} refused, ${tally.different} different`);
