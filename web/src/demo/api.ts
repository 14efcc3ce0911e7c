// How the page speaks with the server: one request over HTTP, or a subscription over the WebSocket.
import { signal } from "@preact/signals";
import { createClient } from "graphql-ws/client";
import { authorizedFetch, connectionParams, renew, session } from "../session";
import { backoff } from "../backoff";
import { postGraphQL } from "../request";
import { RENEW_CONNECTION, type Payload } from "./operations";

/** An answer that does not come within this time does not come. */
const PATIENCE = 15_000;
const PING_EVERY = 10_000;
const PONG_WITHIN = 5_000;
const NO_LONGER_NEEDED = 1000;
const TOKEN_ENDED = 4403;

/** What may go well another time, with nothing changed. */
const TEMPORARY = [
  "UNREACHABLE",
  "UNAVAILABLE",
  "DATABASE_BUSY",
  "RATE_LIMITED",
  "TIMEOUT",
  "STORAGE_FULL",
  "UNAUTHENTICATED",
];
/** Of the HTTP statuses below 500 these say the same. */
const LATER = [408, 429];

/** Why something was not done: a code for the program, and a sentence for the reader. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }

  get isTemporary(): boolean {
    return TEMPORARY.includes(this.code);
  }
}

/** What went wrong on the way or at the server; anything else is a bug, and goes on as one. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  throw error;
}

interface GraphQLError {
  message: string;
  extensions?: { code?: string; retryAfterMs?: number };
}

const failureOf = ({ message, extensions }: GraphQLError) =>
  new Failure(extensions?.code ?? "INTERNAL", message, extensions?.retryAfterMs);

/** Runs a query. */
export async function request<Data>(query: string, variables: object = {}): Promise<Data> {
  const unreachable = new Failure("UNREACHABLE", "The server cannot be reached.");
  const signal = AbortSignal.timeout(PATIENCE);
  const asked = postGraphQL(query, variables, { fetch: authorizedFetch, signal });
  const response = await asked.catch(() => Promise.reject(unreachable));
  const answer: { data?: Data; errors?: GraphQLError[] } | null = await response.json().catch(() => null);
  const [error] = Array.isArray(answer?.errors) ? answer.errors : [];
  if (error?.message) throw failureOf(error);
  if (answer?.data) return answer.data;
  const { ok, status } = response;
  // Cut off, or something before the server has answered, in JSON or not. What that refuses does not pass another time either.
  throw ok || status >= 500 || LATER.includes(status)
    ? unreachable
    : new Failure("REFUSED", `This was refused before it came to the server (HTTP ${status}).`);
}

/** Runs a mutation of one field and gives its payload; what the reader can fix is a failure, too. */
export async function mutate<Its extends Payload>(query: string, variables: object): Promise<Its> {
  const [payload] = Object.values(await request<Record<string, Its>>(query, variables));
  const [fault] = payload!.userErrors;
  if (fault) throw new Failure(fault.code, fault.message);
  return payload!;
}

/** Waits, but not when there is reason to think that it goes better now: the network is back, or the reader is. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    const seen = () => document.visibilityState === "visible" && done();
    addEventListener("online", done);
    document.addEventListener("visibilitychange", seen);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    }
  });
}

/** Before what failed so often in a row is tried again. */
export const pauseAfterFailures = (failures: number) => pause(backoff(failures));

/** The same, unless the server has said how long it takes. */
export function pauseAfter({ retryAfterMs }: Failure, failures: number): Promise<void> {
  return pause(retryAfterMs || backoff(failures));
}

/** Does it again after each failure that may pass, until it is done or `isOver` says that there is no need any more. */
export async function repeatUntilDone(action: () => Promise<void>, isOver: () => boolean) {
  for (let failures = 0; !isOver(); failures++) {
    try {
      return await action();
    } catch (error) {
      const failure = asFailure(error);
      if (!failure.isTemporary) return;
      await pauseAfter(failure, failures);
    }
  }
}

/** How the WebSocket is. */
export const connection = signal<"connecting" | "open" | "lost">("connecting");

let tokenEnded = false;
let pongTimer: ReturnType<typeof setTimeout> | undefined;

const socketUrl = new URL("/graphql", location.href);
socketUrl.protocol = socketUrl.protocol.replace("http", "ws");

const socket = createClient({
  url: socketUrl.href,
  async connectionParams() {
    if (tokenEnded) await renew();
    tokenEnded = false;
    return session.get() ? { authorization: connectionParams.authorization } : {};
  },
  retryAttempts: Infinity,
  shouldRetry: () => true,
  retryWait: pauseAfterFailures,
  connectionAckWaitTimeout: PATIENCE,
  keepAlive: PING_EVERY,
  on: {
    connected: () => (connection.value = "open"),
    closed(event) {
      const { code } = event as CloseEvent;
      connection.value = code === NO_LONGER_NEEDED ? "connecting" : "lost";
      tokenEnded = code === TOKEN_ENDED;
      clearTimeout(pongTimer);
    },
    // A link that is dead without a word is noticed by the pong that does not come. `close` would wait for the other side.
    ping: (received) => {
      if (!received) pongTimer = setTimeout(() => socket.terminate(), PONG_WITHIN);
    },
    pong: (received) => {
      if (received) clearTimeout(pongTimer);
    },
  },
});

addEventListener("offline", () => socket.terminate());
// An attempt that hangs since before the network came back is given up for a new one.
addEventListener("online", () => connection.value === "open" || socket.terminate());

// A fresh token keeps the open socket open.
session.subscribe(() => {
  const token = session.get()?.accessToken;
  if (!token || connection.value !== "open") return;
  const ignore = () => {};
  socket.subscribe(
    { query: RENEW_CONNECTION, variables: { token } },
    { next: ignore, error: ignore, complete: ignore },
  );
});

/**
 * Follows a subscription of one field until the function that it gives is called. The socket connects again by itself,
 * and then reads the variables anew: a getter among them can say where to go on. What the server ends or refuses is begun
 * again, unless `refused` says that there is no use.
 */
export function follow<Event>(
  query: string,
  variables: Record<string, unknown>,
  next: (event: Event) => void,
  refused: (failure: Failure) => boolean = () => false,
): () => void {
  let stopped = false;
  let failures = 0;
  let stop = () => {};
  function begin() {
    let ended = false;
    // Whoever stops a subscription is told that it is complete: it ends once, and is begun again once.
    const end = async (failure?: Failure) => {
      if (ended || stopped) return;
      ended = true;
      stop();
      if (failure && refused(failure)) return;
      await pauseAfterFailures(failures++);
      if (!stopped) begin();
    };
    stop = socket.subscribe<Record<string, Event>>(
      { query, variables },
      {
        next({ data, errors }) {
          const [error] = errors ?? [];
          if (stopped) return;
          if (error) {
            void end(failureOf(error));
          } else {
            failures = 0;
            next(Object.values(data!)[0]!);
          }
        },
        // A list of GraphQL errors, or why the socket was closed.
        error: (why) =>
          void end(Array.isArray(why) ? failureOf(why[0]) : new Failure("UNREACHABLE", "The connection broke.")),
        complete: () => void end(),
      },
    );
  }
  begin();
  return () => {
    stopped = true;
    stop();
  };
}
