// Who is signed in on this page. Whatever operation signs somebody in, be it signUp, signIn or refreshSession, the page
// keeps the tokens of its answer, and sends them with all that follows: until the tab is closed, or for all tabs of this
// browser until somebody signs out.

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
/** After a failure it is tried again so soon: an answer that got lost is given again, but only for ten seconds. */
const RETRY = 4_000;
/** Other tabs wait for so long at most while this one trades the tokens. */
const PATIENCE = 15_000;

const readFrom = (storage: Storage): Session | null => JSON.parse(storage.getItem(KEY) ?? "null");

let current = readFrom(sessionStorage);
/** Whether the session is that of all tabs. */
let isShared = !current;
if (isShared) current = readFrom(localStorage);
let timer: ReturnType<typeof setTimeout> | undefined;
let renewing: Promise<void> | undefined;
let renewedAt = 0;
const listeners = new Set<() => void>();

export const session = {
  /** Whether who signs in next stays signed in when the tab is closed. */
  isKept: false,
  get: () => current,
  /** Null if nobody is signed in. */
  id: () => sessionOf(current),
  subscribe(listener: () => void) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  set(next: Session | null) {
    if (!current) isShared = session.isKept;
    const storage = isShared ? localStorage : sessionStorage;
    if (next) storage.setItem(KEY, JSON.stringify(next));
    else storage.removeItem(KEY);
    take(next);
  },
};

function take(next: Session | null) {
  current = next;
  renewInTime();
  listeners.forEach((listener) => listener());
}

// Another tab has signed in or out, or has traded the tokens; a tab with a session of its own has no part in that.
addEventListener("storage", ({ storageArea, key }) => {
  if (storageArea !== localStorage || (key !== KEY && key !== null) || (current && !isShared)) return;
  isShared = true;
  take(readFrom(localStorage));
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
  if (current) timer = setTimeout(renew, Math.max(LEAST, Date.parse(current.expiresAt) - Date.now() - EARLY));
}

const REFRESH = `mutation ($token: String!) {
  refreshSession(refreshToken: $token) { accessToken accessTokenExpiresAt refreshToken userErrors { code } }
}`;

/** Trades the tokens for the next ones, once for all who ask at the same time; signs out if the server refuses. */
export function renew(): Promise<void> {
  return (renewing ??= alone(trade).finally(() => (renewing = undefined)));
}

/** One at a time across all tabs, where a browser can: not on a page that came over plain HTTP from another machine. */
function alone(run: () => Promise<void>): Promise<void> {
  return isShared && navigator.locks ? navigator.locks.request(KEY, run) : run();
}

async function trade() {
  if (!current) return;
  // Another tab may have been faster. If two trade all the same, the server gives both the same tokens.
  const stored = isShared ? readFrom(localStorage) : current;
  if (stored?.refreshToken !== current.refreshToken) return take(stored);
  const { refreshToken } = current;
  const body = JSON.stringify({ query: REFRESH, variables: { token: refreshToken } });
  try {
    const headers = { "content-type": "application/json" };
    const response = await fetch("/graphql", { method: "POST", headers, body, signal: AbortSignal.timeout(PATIENCE) });
    const answer = await response.json();
    if (current?.refreshToken !== refreshToken) return;
    renewedAt = Date.now();
    if (answer.data?.refreshSession) {
      if (answer.data.refreshSession.accessToken) learn(answer);
      else session.set(null);
      return;
    }
  } catch {
    // The server cannot be reached.
  }
  // The tokens may be traded later.
  clearTimeout(timer);
  timer = setTimeout(renew, RETRY);
}

renewInTime();

/** Ends the session on the server too, if it can be reached. */
export async function signOut() {
  const headers = { "content-type": "application/json" };
  const body = '{"query":"mutation { signOut { sessionId } }"}';
  await authorizedFetch("/graphql", { method: "POST", headers, body }).catch(() => null);
  session.set(null);
}
