// How the server is reached: queries and mutations by HTTP, subscriptions on a WebSocket that reconnects by itself.
import {
  Client,
  type CombinedError,
  type OperationResult,
  fetchExchange,
  makeOperation,
  mapExchange,
  subscriptionExchange,
} from "@urql/core";
import { TerminatedCloseEvent, createClient } from "graphql-ws";
// Node 20 has no WebSocket of its own. A browser leaves out this line, the class below, and `webSocketImpl`.
import WebSocket from "ws";
import type { Session } from "./session.js";

/** Errors after which the same request can be sent again, with the same variables. */
const RETRYABLE_CODES = new Set(["DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"]);
/** The HTTP statuses below 500 after which it can: the request came too slowly, or there were too many. */
const RETRYABLE_STATUSES = [408, 429];
const LONGEST_WAIT = 10_000;
/** The server answers a request within 10 seconds: after this time the network is down. */
const REQUEST_TIMEOUT = 60_000;
/** The server pings every 25 seconds: a socket without any message for this time is dead. */
const IDLE_TIMEOUT = 60_000;
const TOKEN_EXPIRED = 4403;
/** The user has too many sockets, or the server has a bug: graphql-ws does not reconnect after these, but a later try may succeed. */
const RETRYABLE_CLOSE_CODES = [1008, 1011];

/** A retry does not help: the user has to sign in. */
export class SignedOut extends Error {}

/** If the network is down, the answer to a handshake may never come; browsers have a timeout of their own. */
class WebSocketWithTimeout extends WebSocket {
  constructor(url: string, protocols: string) {
    super(url, protocols, { handshakeTimeout: IDLE_TIMEOUT });
  }
}

/** For a server with `--trusted-documents`: names a document by its id in persisted-documents.json, and leaves out its text. */
const nameDocuments = mapExchange({
  onOperation(operation) {
    const { hash } = (operation.query as { __meta__?: { hash: string } }).__meta__ ?? {};
    const extensions = { ...operation.extensions, persistedQuery: { version: 1 as const, sha256Hash: hash ?? "" } };
    return makeOperation(operation.kind, { ...operation, extensions }, operation.context);
  },
});

/** Each request takes its token from `session`. */
export function connect(url: string, session: Session, trustedDocuments = false) {
  const headers = (token?: string) => (token ? { authorization: `Bearer ${token}` } : undefined);
  const fetchWithTimeout = fetchWithin(REQUEST_TIMEOUT);
  const fetchOnce = (token: string | undefined, input: RequestInfo | URL, init?: RequestInit) => {
    const all = { ...Object.fromEntries(new Headers(init?.headers)), ...headers(token) };
    return fetchWithTimeout(input, { ...init, headers: all });
  };
  /** The token with which the socket connected last. */
  let socketToken: string | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  const socket = createClient({
    url: url.replace(/^http/, "ws"),
    webSocketImpl: WebSocketWithTimeout,
    connectionAckWaitTimeout: IDLE_TIMEOUT,
    async connectionParams() {
      socketToken = await session.token();
      return headers(socketToken);
    },
    retryAttempts: Infinity,
    retryWait: pause,
    // `ws` reports a refused connection as an event too. Errors of this program are not retried.
    shouldRetry: (cause) => !(cause instanceof Error) || cause instanceof TerminatedCloseEvent,
    on: {
      message() {
        clearTimeout(idleTimer);
        idleTimer = setTimeout(() => socket.terminate(), IDLE_TIMEOUT);
      },
      closed: () => clearTimeout(idleTimer),
    },
  });
  socket.on("closed", (event) => {
    if ((event as CloseEvent).code === TOKEN_EXPIRED) session.invalidate(socketToken);
  });
  const client = new Client({
    url,
    fetch: async (input, init) => {
      const token = await session.token();
      const response = await fetchOnce(token, input, init);
      if (response.status !== 401 || !session.invalidate(token)) return response;
      return fetchOnce(await session.token(), input, init);
    },
    // No cache here: messages come by the feed, and src/conversation.ts keeps them.
    exchanges: [
      ...(trustedDocuments ? [nameDocuments] : []),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query ?? "" }, sink) }),
        }),
      }),
    ],
    preferGetMethod: false,
  });
  return { client, stop: () => socket.dispose() };
}

/** A `fetch` with a timeout in milliseconds. */
export function fetchWithin(time: number): typeof fetch {
  return (input, init) => {
    const timeout = AbortSignal.timeout(time);
    return fetch(input, { ...init, signal: init?.signal ? AbortSignal.any([timeout, init.signal]) : timeout });
  };
}

/** Retries until there is an answer. Only for idempotent operations: queries, and sends with a `clientId`. */
export async function retrying<Data>(ask: () => PromiseLike<OperationResult<Data>>): Promise<Data> {
  for (let failures = 0; ; failures++) {
    const { data, error } = await ask();
    if (!error && data) return data;
    if (error && !isRetryable(error)) throw error;
    await pause(failures, wantedWait(error));
  }
}

/** How long the server asks the client to wait, in milliseconds, if it does. */
export function wantedWait(error?: CombinedError): unknown {
  return error?.graphQLErrors[0]?.extensions.retryAfterMs;
}

/** The code with which a socket was closed that does not reconnect by itself, such as 4400. */
export function closeCode({ networkError }: CombinedError): number | undefined {
  return networkError && "wasClean" in networkError && "code" in networkError ? Number(networkError.code) : undefined;
}

/** Whether a retry may succeed. */
export function isRetryable(error: CombinedError): boolean {
  const { graphQLErrors, networkError, response } = error;
  if (networkError instanceof SignedOut) return false;
  const code = closeCode(error);
  if (code !== undefined) return RETRYABLE_CLOSE_CODES.includes(code);
  // No answer at all, or an answer of a proxy that does not reach the server.
  if (networkError) return !(response?.status < 500) || RETRYABLE_STATUSES.includes(response.status);
  return graphQLErrors.some(({ extensions }) => RETRYABLE_CODES.has(String(extensions.code)));
}

/** Exponential backoff with jitter, so that not all clients reconnect at the same moment. */
export function pause(failures: number, wanted?: unknown): Promise<void> {
  console.error("No answer; trying again.");
  const wait = Math.min(200 * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);
  return new Promise((resolve) => setTimeout(resolve, typeof wanted === "number" ? wanted : wait));
}
