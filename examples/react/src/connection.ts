// How the server is reached by a user who may have to sign in: by HTTP, and on a WebSocket that reconnects by itself.
import { createClient } from "graphql-ws/client";
import { Feed, Renew } from "./documents";
import type { FeedSubscription, TypedDocumentString } from "./gql/graphql";
import { Failure, pause, request, server } from "./request";
import * as session from "./session";

export type Event = FeedSubscription["feed"];

/** The server pings every 25 seconds: a socket without any message for so many milliseconds is dead. */
const IDLE_TIMEOUT = 60_000;
/** An unused socket stays open for so many milliseconds, for the conversation that is opened next. */
const LAZY_CLOSE_TIMEOUT = 5_000;
const TOKEN_EXPIRED = 4403;
/** The user has too many sockets, or the server has a bug: graphql-ws does not reconnect after these, but a later try may succeed. */
const RETRYABLE_CLOSE_CODES = [1008, 1011];
/** A longer timer, in milliseconds, would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Retries until there is an answer, or `signal` is aborted. Only for idempotent operations: queries, marks, and sends with a
 * `clientId`.
 */
export async function ask<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
  signal?: AbortSignal,
): Promise<Result> {
  for (let failures = 0; ; failures++) {
    signal?.throwIfAborted();
    let token: string | undefined;
    try {
      token = (await session.fresh())?.accessToken;
      return await request(document, variables, token, undefined, signal);
    } catch (failure) {
      signal?.throwIfAborted();
      if (!(failure instanceof Failure)) throw failure;
      if (failure.code === "UNAUTHENTICATED" && token) session.invalidate(token);
      else if (!failure.isRetryable) throw failure;
      await pause(failures, failure.wait);
    }
  }
}

let isConnected = false;
/** The token with which the socket connected, or that it was given last. */
let socketToken: string | undefined;
let renewal: ReturnType<typeof setTimeout> | undefined;
let idleTimer: ReturnType<typeof setTimeout> | undefined;

const socket = createClient({
  async url() {
    // Before the socket is opened: after an error in `connectionParams` graphql-ws does not reconnect.
    await session.fresh().catch(() => {});
    return server.replace(/^http/, "ws");
  },
  connectionAckWaitTimeout: IDLE_TIMEOUT,
  lazyCloseTimeout: LAZY_CLOSE_TIMEOUT,
  connectionParams() {
    // A token that has expired is refused with 4403, and the next attempt tries again to refresh it.
    socketToken = session.stored()?.accessToken;
    return socketToken ? { authorization: `Bearer ${socketToken}` } : {};
  },
  retryAttempts: Infinity,
  retryWait: (retries) => pause(retries),
  // Browsers report a refused connection as an event without a code.
  shouldRetry: () => true,
  on: {
    connected() {
      isConnected = true;
      void renewInTime();
    },
    message() {
      clearTimeout(idleTimer);
      idleTimer = setTimeout(() => socket.terminate(), IDLE_TIMEOUT);
    },
    closed(event) {
      isConnected = false;
      clearTimeout(idleTimer);
      clearTimeout(renewal);
      if ((event as CloseEvent).code === TOKEN_EXPIRED && socketToken) session.invalidate(socketToken);
    },
  },
});

addEventListener("offline", () => socket.terminate());
// What was begun before the network came back may hang.
addEventListener("online", () => isConnected || socket.terminate());

/** The server closes a socket whose token has expired. To avoid the reconnect, the socket gets the next token before. */
async function renewInTime(): Promise<void> {
  clearTimeout(renewal);
  const tokens = await session.fresh().catch(() => undefined);
  // Nobody has signed in, or the next socket begins anew.
  if (tokens === null || !isConnected) return;
  if (tokens && tokens.accessToken !== socketToken) {
    socketToken = tokens.accessToken;
    // By this socket: it is this one that is renewed.
    const ignore = () => {};
    socket.subscribe(
      { query: Renew.toString(), variables: { token: socketToken } },
      { next: ignore, error: ignore, complete: ignore },
    );
  }
  const left = tokens ? tokens.ends - Date.now() - session.EXPIRY_MARGIN : 0;
  renewal = setTimeout(() => void renewInTime(), Math.min(Math.max(left, session.MIN_REFRESH_INTERVAL), LONGEST_TIMER));
}

// Another person has signed in: what is open is still the socket of the one before.
let user = session.user();
session.subscribe(() => {
  if (user !== session.user()) socket.terminate();
  user = session.user();
});

type Listener = {
  heard(event: Event): void;
  /** The connection was lost; it reconnects by itself. */
  lost(): void;
  /** A retry does not help. */
  failed(failure: Failure): void;
};

/** Follows somebody's feed from a cursor, across lost connections, until the function is called that it gives. */
export function follow(me: string, after: string, { heard, lost, failed }: Listener): () => void {
  // Read again whenever the socket reconnects: with this getter the feed resumes from the latest cursor.
  const variables = { me, get after() { return after; } };
  let failures = 0;
  let stopped = false;
  let unsubscribe = () => {};
  const forget = socket.on("closed", lost);
  function begin(): void {
    if (stopped) return;
    let ended = false;
    async function again(failure?: Failure): Promise<void> {
      if (ended || stopped) return;
      ended = true;
      unsubscribe();
      if (failure?.code === "UNAUTHENTICATED" && socketToken) session.invalidate(socketToken);
      else if (failure && !failure.isRetryable) return failed(failure);
      await pause(failures++, failure?.wait);
      begin();
    }
    unsubscribe = socket.subscribe<FeedSubscription>(
      { query: Feed.toString(), variables },
      {
        next({ data, errors }) {
          if (ended || stopped) return;
          // Half an event is none: what could not be read is null, as if it was deleted. It comes again.
          if (errors?.[0] || !data) return void again(errors?.[0] && Failure.of(errors[0]));
          failures = 0;
          heard(data.feed);
          // Only now: what was not handled comes again.
          after = data.feed.cursor;
        },
        error(why) {
          if (Array.isArray(why)) return void again(Failure.of(why[0]));
          const isRetryable = RETRYABLE_CLOSE_CODES.includes((why as CloseEvent).code);
          // After the longest wait.
          if (isRetryable) failures = Infinity;
          void again(new Failure(isRetryable ? "UNAVAILABLE" : "", "The server refuses the connection."));
        },
        complete: () => void again(),
      },
    );
  }
  begin();
  return () => {
    stopped = true;
    forget();
    unsubscribe();
  };
}
