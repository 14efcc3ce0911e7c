// The subscriptions of the live panel. They belong to the page and not to a tab of GraphiQL, which ends a subscription when
// its tab is left; and they come back after a lost connection.
import { getOperationAST, parse } from "graphql";
import { type Client, createClient } from "graphql-ws";
import { backoff } from "../backoff";
import { connectionParams } from "../session";

export interface Operation {
  query: string;
  variables?: Record<string, unknown>;
  operationName?: string;
  /** Those of the tab. On a socket they are part of the payload of `connection_init`. */
  headers?: Record<string, unknown>;
}

export interface Answer {
  number: number;
  at: Date;
  data?: Record<string, unknown> | null;
  errors?: unknown;
}

export interface Stream {
  id: number;
  title: string;
  status: "connecting" | "live" | "reconnecting" | "ended";
  /** Newest first; the oldest are let go. */
  answers: Answer[];
}

/** So many answers of a stream are shown, at most. */
const KEPT = 200;

let streams: Stream[] = [];
let lastId = 0;
const clients = new Map<number, Client>();
const listeners = new Set<() => void>();

export const allStreams = () => streams;

export function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function set(next: Stream[]) {
  streams = next;
  listeners.forEach((listener) => listener());
}

function change(id: number, changed: (stream: Stream) => Partial<Stream>) {
  set(streams.map((stream) => (stream.id === id ? { ...stream, ...changed(stream) } : stream)));
}

/** Runs a subscription until it is stopped. Where it has a variable `after`, it goes on from the last event's cursor. */
export function start({ query, variables = {}, operationName, headers }: Operation, socket: string) {
  const id = ++lastId;
  let cursor: unknown;
  const resumes = declares(query, operationName, "after");
  const given = Object.entries(variables).filter(([, value]) => value !== null && value !== "");
  const title = [operationName ?? "subscription", ...given.map(([name, value]) => `${name}: ${JSON.stringify(value)}`)].join(" ");
  const client = createClient({
    url: socket,
    connectionParams: () => ({ authorization: connectionParams.authorization, ...lowerCased(headers) }),
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: (retries) => new Promise((done) => setTimeout(done, backoff(retries))),
    on: {
      connected: () => change(id, () => ({ status: "live" })),
      closed: () => change(id, ({ status }) => ({ status: status === "ended" ? status : "reconnecting" })),
    },
  });
  clients.set(id, client);
  set([{ id, title, status: "connecting", answers: [] }, ...streams]);

  const add = (answer: Omit<Answer, "number" | "at">) =>
    change(id, ({ answers }) => {
      const number = (answers[0]?.number ?? 0) + 1;
      return { answers: [{ number, at: new Date(), ...answer }, ...answers].slice(0, KEPT) };
    });
  const payload = {
    query,
    operationName,
    // Read anew at each connection.
    get variables() {
      return resumes && cursor !== undefined ? { ...variables, after: cursor } : variables;
    },
  };
  client.subscribe<Record<string, unknown>>(payload, {
    next({ data, errors }) {
      cursor = eventOf(data)?.cursor ?? cursor;
      add({ data, errors });
    },
    error(why) {
      add({ errors: Array.isArray(why) ? why : sentenceOf(why) });
      stop(id);
    },
    complete: () => stop(id),
  });
}

/** Ends it; what came stays to be read. */
export function stop(id: number) {
  change(id, () => ({ status: "ended" }));
  void clients.get(id)?.dispose();
  clients.delete(id);
}

export function remove(id: number) {
  set(streams.filter((stream) => stream.id !== id));
}

/** Why a socket does not come back. */
const sentenceOf = (why: unknown) =>
  why instanceof CloseEvent ? `The socket was closed: ${why.code} ${why.reason}`.trim() : String(why);

/** What came in the one field that a subscription has. */
export function eventOf(data: Answer["data"]): Record<string, unknown> | undefined {
  const [event] = Object.values(data ?? {});
  return event !== null && typeof event === "object" ? (event as Record<string, unknown>) : undefined;
}

const lowerCased = (headers: Record<string, unknown> = {}) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function declares(query: string, operationName: string | undefined, name: string): boolean {
  try {
    const definitions = getOperationAST(parse(query), operationName)?.variableDefinitions ?? [];
    return definitions.some(({ variable }) => variable.name.value === name);
  } catch {
    // The server will say what is wrong with it.
    return false;
  }
}
