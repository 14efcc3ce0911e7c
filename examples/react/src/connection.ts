// How the server is reached by somebody who may have to sign in: by HTTP, and on a WebSocket that comes back by itself.
import { createClient } from "graphql-ws/client";
import { Feed, Renew } from "./documents";
import type { FeedSubscription, TypedDocumentString } from "./gql/graphql";
import { Failure, pause, request, server } from "./request";
import * as session from "./session";

export type Event = FeedSubscription["feed"];

/** The server pings every 25 seconds: when nothing came for so many milliseconds, there is no network. */
const SILENCE = 60_000;
/** So many milliseconds a socket that nobody uses stays, for the conversation that is opened next. */
const LINGER = 5_000;
const TOKEN_ENDED = 4403;
/** The user has too many sockets, the server has a bug: graphql-ws does not come back after these, but both may pass. */
const MAY_PASS = [1008, 1011];
/** A timer for longer, in milliseconds, would end at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * Asks until there is an answer, or `signal` says that nobody waits for it. Only for what does no harm when it is done twice, such as a
 * send with a `clientId`.
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
      if (failure.code === "UNAUTHENTICATED" && token) session.distrust(token);
      else if (!failure.passes) throw failure;
      await pause(failures, failure.wait);
    }
  }
}

let isConnected = false;
/** The token that the socket was given last. */
let shown: string | undefined;
let renewal: ReturnType<typeof setTimeout> | undefined;
let silence: ReturnType<typeof setTimeout> | undefined;

const socket = createClient({
  async url() {
    // Before the socket is opened: a failure of `connectionParams` is one that graphql-ws does not come back after.
    await session.fresh().catch(() => {});
    return server.replace(/^http/, "ws");
  },
  connectionAckWaitTimeout: SILENCE,
  lazyCloseTimeout: LINGER,
  connectionParams() {
    // A token that has ended is refused with 4403, and the next attempt begins with another try to trade it.
    shown = session.held()?.accessToken;
    return shown ? { authorization: `Bearer ${shown}` } : {};
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
      clearTimeout(silence);
      silence = setTimeout(() => socket.terminate(), SILENCE);
    },
    closed(event) {
      isConnected = false;
      clearTimeout(silence);
      clearTimeout(renewal);
      if ((event as CloseEvent).code === TOKEN_ENDED && shown) session.distrust(shown);
    },
  },
});

addEventListener("offline", () => socket.terminate());
// What was begun before the network came back may hang.
addEventListener("online", () => isConnected || socket.terminate());

/** The server closes a socket whose token has ended. So that there is no gap, it is shown the next one before. */
async function renewInTime(): Promise<void> {
  clearTimeout(renewal);
  const tokens = await session.fresh().catch(() => undefined);
  // Nobody has signed in, or the next socket begins anew.
  if (tokens === null || !isConnected) return;
  if (tokens && tokens.accessToken !== shown) {
    shown = tokens.accessToken;
    // By this socket: it is this one that is renewed.
    const ignore = () => {};
    socket.subscribe(
      { query: Renew.toString(), variables: { token: shown } },
      { next: ignore, error: ignore, complete: ignore },
    );
  }
  const left = tokens ? tokens.ends - Date.now() - session.MARGIN : 0;
  renewal = setTimeout(() => void renewInTime(), Math.min(Math.max(left, session.REST), LONGEST_TIMER));
}

// Another person has signed in: what is open is still the socket of the one before.
let user = session.user();
session.subscribe(() => {
  if (user !== session.user()) socket.terminate();
  user = session.user();
});

type Listener = {
  heard(event: Event): void;
  /** The connection broke; it comes back by itself. */
  lost(): void;
  /** There is no use in trying again. */
  failed(failure: Failure): void;
};

/** Follows somebody's feed from a cursor, across lost connections, until the function is called that it gives. */
export function follow(me: string, after: string, { heard, lost, failed }: Listener): () => void {
  // Read anew whenever the socket has come back: the getter is what makes the feed go on.
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
      if (failure?.code === "UNAUTHENTICATED" && shown) session.distrust(shown);
      else if (failure && !failure.passes) return failed(failure);
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
          const passes = MAY_PASS.includes((why as CloseEvent).code);
          // After the longest wait.
          if (passes) failures = Infinity;
          void again(new Failure(passes ? "UNAVAILABLE" : "", "The server refuses the connection."));
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
