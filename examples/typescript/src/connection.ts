// How the server is reached: queries and mutations by HTTP, subscriptions on a WebSocket that comes back by itself.
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

/** What is worth another try, with the same variables. */
const PASSES = new Set(["DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"]);
/** Of the HTTP statuses below 500 these say the same: the request came too slowly, or there are too many. */
const LATER = [408, 429];
const LONGEST_WAIT = 10_000;
/** The server pings every 25 seconds, and answers a request within 10: after this time there is no network. */
const SILENCE = 60_000;
const TOKEN_ENDED = 4403;
/** The user has too many sockets, the server has a bug: graphql-ws does not come back after these, but both may pass. */
const MAY_PASS = [1008, 1011];

/** There is no use in trying again: somebody has to sign in. */
export class SignedOut extends Error {}

/** Where the network died the answer to a handshake may never come; browsers give up by themselves. */
class ImpatientWebSocket extends WebSocket {
  constructor(url: string, protocols: string) {
    super(url, protocols, { handshakeTimeout: SILENCE });
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

/** `session` is asked for a token whenever something is sent. */
export function connect(url: string, session: Session, trustedDocuments = false) {
  const headers = (token?: string) => (token ? { authorization: `Bearer ${token}` } : undefined);
  const fetchInTime = fetchWithin(SILENCE);
  const attempt = (token: string | undefined, input: RequestInfo | URL, init?: RequestInit) => {
    const all = { ...Object.fromEntries(new Headers(init?.headers)), ...headers(token) };
    return fetchInTime(input, { ...init, headers: all });
  };
  /** The token that the socket was given last. */
  let shown: string | undefined;
  let silence: NodeJS.Timeout | undefined;
  const socket = createClient({
    url: url.replace(/^http/, "ws"),
    webSocketImpl: ImpatientWebSocket,
    connectionAckWaitTimeout: SILENCE,
    async connectionParams() {
      shown = await session.token();
      return headers(shown);
    },
    retryAttempts: Infinity,
    retryWait: pause,
    // `ws` reports a refused connection as an event too. Faults of this program are not retried.
    shouldRetry: (cause) => !(cause instanceof Error) || cause instanceof TerminatedCloseEvent,
    on: {
      message() {
        clearTimeout(silence);
        silence = setTimeout(() => socket.terminate(), SILENCE);
      },
      closed: () => clearTimeout(silence),
    },
  });
  socket.on("closed", (event) => {
    if ((event as CloseEvent).code === TOKEN_ENDED) session.distrust(shown);
  });
  const client = new Client({
    url,
    fetch: async (input, init) => {
      const token = await session.token();
      const response = await attempt(token, input, init);
      if (response.status !== 401 || !session.distrust(token)) return response;
      return attempt(await session.token(), input, init);
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

/** A `fetch` that gives up after so many milliseconds. */
export function fetchWithin(time: number): typeof fetch {
  return (input, init) => {
    const timeout = AbortSignal.timeout(time);
    return fetch(input, { ...init, signal: init?.signal ? AbortSignal.any([timeout, init.signal]) : timeout });
  };
}

/** Asks until there is an answer. Only for what does no harm when it is done twice: queries, and sends with a `clientId`. */
export async function patiently<Data>(ask: () => PromiseLike<OperationResult<Data>>): Promise<Data> {
  for (let failures = 0; ; failures++) {
    const { data, error } = await ask();
    if (!error && data) return data;
    if (error && !passes(error)) throw error;
    await pause(failures, wantedWait(error));
  }
}

/** How long the server wants a client to wait, in milliseconds, if it says so. */
export function wantedWait(error?: CombinedError): unknown {
  return error?.graphQLErrors[0]?.extensions.retryAfterMs;
}

/** The code with which a socket was closed that does not come back by itself: with 4400, say. */
export function closeCode({ networkError }: CombinedError): number | undefined {
  return networkError && "wasClean" in networkError && "code" in networkError ? Number(networkError.code) : undefined;
}

/** Whether it is worth another try; else somebody has to do something. */
export function passes(error: CombinedError): boolean {
  const { graphQLErrors, networkError, response } = error;
  if (networkError instanceof SignedOut) return false;
  const code = closeCode(error);
  if (code !== undefined) return MAY_PASS.includes(code);
  // No answer at all, or the one of a proxy that does not reach the server.
  if (networkError) return !(response?.status < 500) || LATER.includes(response.status);
  return graphQLErrors.some(({ extensions }) => PASSES.has(String(extensions.code)));
}

/** Waits longer each time, and never as long as others, so that not all come back at once. */
export function pause(failures: number, wanted?: unknown): Promise<void> {
  console.error("No answer; trying again.");
  const wait = Math.min(200 * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);
  return new Promise((resolve) => setTimeout(resolve, typeof wanted === "number" ? wanted : wait));
}
