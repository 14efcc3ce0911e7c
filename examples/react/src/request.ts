// One request over HTTP, and what became of it.
import type { TypedDocumentString } from "./gql/graphql";

export const server = document.querySelector<HTMLMetaElement>("meta[name=duologue-server]")!.content;

/** What may go well another time, with the same variables. */
const PASSES = ["UNREACHABLE", "DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"];
const LONGEST_WAIT = 10_000;
/** The server answers a request within 10 seconds: after this time there is no network. */
const SILENCE = 15_000;

type GraphQLError = { message: string; extensions?: Record<string, unknown> };

/** Why there is no data: a code for the program, and a sentence for people. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    /** How long the server wants a client to wait, in milliseconds, if it says so. */
    readonly wait?: unknown,
  ) {
    super(message);
  }

  static of({ message, extensions }: GraphQLError): Failure {
    return new Failure(String(extensions?.code), message, extensions?.retryAfterMs);
  }

  get passes(): boolean {
    return PASSES.includes(this.code);
  }
}

/** Tries it once, for so many milliseconds. */
export async function request<Result, Variables>(
  text: TypedDocumentString<Result, Variables>,
  variables: Variables,
  token?: string | null,
  patience = SILENCE,
): Promise<Result> {
  const unreachable = new Failure("UNREACHABLE", "The server cannot be reached.");
  const response = await fetch(server, {
    method: "POST",
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query: text, variables }),
    signal: AbortSignal.timeout(patience),
  }).catch(() => Promise.reject(unreachable));
  const answer: { data?: Result; errors?: GraphQLError[] } | null = await response.json().catch(() => null);
  const [error] = answer?.errors ?? [];
  if (error) throw Failure.of(error);
  if (answer?.data) return answer.data;
  // Cut off, or the answer of a proxy that does not reach the server; otherwise this is not the server.
  throw response.ok || response.status >= 500 ? unreachable : new Failure("", `The server says ${response.status}.`);
}

/** Waits longer each time, and never as long as others, so that not all come back at once. */
export function pause(failures: number, wanted?: unknown): Promise<void> {
  const wait = Math.min(200 * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);
  return new Promise((resolve) => setTimeout(resolve, typeof wanted === "number" ? wanted : wait));
}
