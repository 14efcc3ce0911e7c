// Who is signed in on this page. Whatever operation signs somebody in, be it signUp, signIn or refreshSession, the page
// keeps the tokens of its answer, and sends them with all that follows: until the tab is closed, or for all tabs of this
// browser until somebody signs out.
import { allowed, type Guarded, local, tab } from "./storage";

export interface Session {
  name: string | null;
  accessToken: string;
  expiresAt: string;
  refreshToken: string;
}

const KEY = "duologue:session";
/** So long before its end a token is traded for the next one. */
const EARLY = 60_000;
/** And no more often than this, whatever the clocks say. */
const LEAST = 10_000;
/** An answer that got lost is given again, but only for ten seconds: two tries of this length fit into them. */
const PATIENCE = 4_000;
/** After a failure it is tried again so soon, and after twice as long each time. */
const RETRY = 1_000;
/** So long the server may take to hear of a session that was left. */
const FAREWELL = 3_000;
/** A browser takes a timer that is longer for one that has ended. */
const LONGEST_TIMER = 2 ** 31 - 1;

const readFrom = (storage: Guarded): Session | null => JSON.parse(storage.read(KEY) ?? "null");

let current = readFrom(tab);
/** Whether the session is that of all tabs. */
let isShared = !current;
if (isShared) current = readFrom(local);
/** The session that is here, or was until it ended. */
let lastId = sessionOf(current);
let timer: ReturnType<typeof setTimeout> | undefined;
let renewing: Promise<void> | undefined;
let renewedAt = 0;
let failures = 0;
const listeners = new Set<() => void>();

/** What tabs tell each other: a session was left, or its tokens were traded for the next ones. */
type Word = { left: string | null } | { traded: string; next: Session };

// A tab that was duplicated has the tokens of the first one, although nothing is stored for both.
const channel = allowed(() => new BroadcastChannel(KEY));
const tell = (word: Word) => channel?.postMessage(word);
channel?.addEventListener("message", ({ data }: MessageEvent<Word>) => {
  if ("left" in data) {
    if (data.left && data.left === lastId) leave();
  } else if (data.traded === current?.refreshToken) {
    session.set(data.next);
  }
});

export const session = {
  /** Whether who signs in next stays signed in when the tab is closed. */
  isKept: false,
  get: () => current,
  /** Null if nobody is signed in. */
  id: () => sessionOf(current),
  /** A session that was here is not any more, and nobody has signed out. */
  hasEnded: () => current === null && lastId !== null,
  subscribe(listener: () => void) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  set(next: Session | null) {
    if (!current) isShared = session.isKept;
    (isShared ? local : tab).write(KEY, next && JSON.stringify(next));
    take(next);
  },
};

function take(next: Session | null) {
  current = next;
  lastId = sessionOf(next) ?? lastId;
  renewInTime();
  listeners.forEach((listener) => listener());
}

// Another tab has signed in or out, or has traded the tokens; a tab with a session of its own has no part in that.
addEventListener("storage", ({ storageArea, key }) => {
  if (storageArea !== localStorage || (key !== KEY && key !== null) || (current && !isShared)) return;
  isShared = true;
  take(readFrom(local));
});

/** For the payload of `connection_init`: read anew for each socket. */
export const connectionParams = {
  get authorization() {
    return current ? `Bearer ${current.accessToken}` : undefined;
  },
};

/** `fetch`, with the token, unless the headers editor has one of its own. */
export const authorizedFetch: typeof fetch = async (input, init) => {
  const headers = new Headers(init?.headers);
  const attempt = () => {
    if (current) headers.set("authorization", `Bearer ${current.accessToken}`);
    else headers.delete("authorization");
    return fetch(input, { ...init, headers });
  };
  const ours = current !== null && !headers.has("authorization");
  // A machine that slept has missed the time to renew.
  if (ours && isEnding()) await renew();
  let response = await (ours ? attempt() : fetch(input, { ...init, headers }));
  if (ours && response.status === 401) {
    // Where the session has ended elsewhere, this signs out: signing in again must not fail for an old token.
    await renew();
    response = await attempt();
  }
  const answer: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  learn(answer);
  return response;
};

/** Looks in an answer for tokens, or for the end of the session. */
function learn(answer: unknown) {
  const { data } = (answer ?? {}) as { data?: Record<string, Record<string, unknown> | null> | null };
  for (const payload of Object.values(data ?? {})) {
    const { accessToken, accessTokenExpiresAt, refreshToken, viewer, sessionId } = payload ?? {};
    if (typeof accessToken === "string" && typeof refreshToken === "string") {
      const name = (viewer as { user?: { name?: string } } | undefined)?.user?.name ?? current?.name ?? null;
      // Without the time of its end it is taken to be as short as it may be.
      const expiresAt = String(accessTokenExpiresAt ?? new Date(Date.now() + 2 * EARLY).toISOString());
      session.set({ name, accessToken, expiresAt, refreshToken });
    } else if (typeof sessionId === "string" && sessionId === sessionOf(current)) {
      session.set(null);
    }
  }
}

/** The session that an access token is of. */
function sessionOf(of: Session | null): string | null {
  try {
    const [, claims = ""] = of!.accessToken.split(".");
    return JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))).sid;
  } catch {
    return null;
  }
}

function isEnding(): boolean {
  return current !== null && Date.parse(current.expiresAt) - Date.now() < EARLY && Date.now() - renewedAt > LEAST;
}

function renewInTime() {
  clearTimeout(timer);
  failures = 0;
  if (!current) return;
  const wait = Date.parse(current.expiresAt) - Date.now() - EARLY;
  timer = wait > LONGEST_TIMER ? setTimeout(renewInTime, LONGEST_TIMER) : setTimeout(renew, Math.max(LEAST, wait));
}

const REFRESH = `mutation ($token: String!) {
  refreshSession(refreshToken: $token) { accessToken accessTokenExpiresAt refreshToken userErrors { code } }
}`;

/** Trades the tokens for the next ones, once for all who ask at the same time; signs out if the server refuses. */
export function renew(): Promise<void> {
  return (renewing ??= alone(trade).finally(() => (renewing = undefined)));
}

/**
 * One at a time across all tabs, where a browser can: not on a page that came over plain HTTP from another machine, nor
 * where storage is forbidden.
 */
function alone(run: () => Promise<void>): Promise<void> {
  return isShared && navigator.locks ? navigator.locks.request(KEY, run).catch(run) : run();
}

/** Asks with this token only, and gives up after so many milliseconds. */
async function ask(query: string, variables: object, patience: number, token?: string) {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const body = JSON.stringify({ query, variables });
  const signal = AbortSignal.timeout(patience);
  // Whoever signs out may close the page at once.
  return (await fetch("/graphql", { method: "POST", headers, body, signal, keepalive: true })).json();
}

async function trade() {
  if (!current) return;
  // Another tab may have been faster. If two trade all the same, the server gives both the same tokens.
  const stored = isShared ? readFrom(local) : current;
  if (stored?.refreshToken !== current.refreshToken) return take(stored);
  const { refreshToken } = current;
  try {
    const answer = await ask(REFRESH, { token: refreshToken }, PATIENCE);
    if (current?.refreshToken !== refreshToken) return;
    renewedAt = Date.now();
    if (answer.data?.refreshSession) {
      if (answer.data.refreshSession.accessToken) {
        learn(answer);
        tell({ traded: refreshToken, next: current });
      } else {
        session.set(null);
      }
      return;
    }
  } catch {
    // The server cannot be reached.
  }
  // The tokens may be traded later.
  clearTimeout(timer);
  timer = setTimeout(renew, Math.min(LEAST, RETRY * 2 ** failures++));
}

renewInTime();

/** Somebody has signed out: what is kept in this tab is theirs, and goes too. */
function leave() {
  lastId = null;
  session.set(null);
  tab.clear();
}

/** Ends the session here and in other tabs at once, and then on the server, if it can be reached. */
export async function signOut() {
  const its = current;
  tell({ left: lastId });
  leave();
  if (!its) return;
  try {
    let { accessToken } = its;
    if (Date.parse(its.expiresAt) < Date.now()) {
      const answer = await ask(REFRESH, { token: its.refreshToken }, FAREWELL);
      ({ accessToken } = answer.data.refreshSession);
    }
    await ask("mutation { signOut { sessionId } }", {}, FAREWELL, accessToken);
  } catch {
    // Its tokens end in their time.
  }
}
