// One request over HTTP, and what became of it.
import type { TypedDocumentString } from "./gql/graphql";

export const server = document.querySelector<HTMLMetaElement>("meta[name=duologue-server]")!.content;

/** Errors after which the same request can be sent again, with the same variables. */
const RETRYABLE_CODES = ["UNREACHABLE", "DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"];
/** The HTTP statuses below 500 after which it can: the request came too slowly, or there were too many. */
const RETRYABLE_STATUSES = [408, 429];
const LONGEST_WAIT = 10_000;
/** The server answers a request within 10 seconds: after this time the network is down. */
const REQUEST_TIMEOUT = 15_000;

type GraphQLError = { message: string; extensions?: Record<string, unknown> };

/** Why there is no data: a code for the program, and a sentence for people. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    /** How long the server asks the client to wait, in milliseconds, if it does. */
    readonly wait?: unknown,
  ) {
    super(message);
  }

  static of({ message, extensions }: GraphQLError): Failure {
    return new Failure(String(extensions?.code), message, extensions?.retryAfterMs);
  }

  get isRetryable(): boolean {
    return RETRYABLE_CODES.includes(this.code);
  }
}

/** Sends it once, with a timeout in milliseconds. */
export async function request<Result, Variables>(
  text: TypedDocumentString<Result, Variables>,
  variables: Variables,
  token?: string | null,
  timeout = REQUEST_TIMEOUT,
  signal?: AbortSignal,
): Promise<Result> {
  const unreachable = new Failure("UNREACHABLE", "The server cannot be reached.");
  const response = await fetch(server, {
    method: "POST",
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query: text, variables }),
    signal: AbortSignal.any([AbortSignal.timeout(timeout), ...(signal ? [signal] : [])]),
  }).catch(() => Promise.reject(unreachable));
  const answer: { data?: Result; errors?: GraphQLError[] } | null = await response.json().catch(() => null);
  const [error] = answer?.errors ?? [];
  if (error) throw Failure.of(error);
  if (answer?.data) return answer.data;
  const { ok, status } = response;
  // Cut off, or the answer of a proxy that does not reach the server; otherwise this is not the server.
  throw ok || status >= 500 || RETRYABLE_STATUSES.includes(status) ? unreachable : new Failure("", `The server says ${status}.`);
}

/**
 * Exponential backoff with jitter, so that not all clients reconnect at the same moment; it ends early when the network is back, or when
 * the page is shown.
 */
export function pause(failures: number, wanted?: unknown): Promise<void> {
  const wait = Math.min(200 * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);
  return new Promise((resolve) => {
    const timer = setTimeout(done, typeof wanted === "number" ? wanted : wait);
    const look = () => document.visibilityState === "visible" && done();
    addEventListener("online", done);
    document.addEventListener("visibilitychange", look);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", look);
      resolve();
    }
  });
}
