// Who is signed in on this page. Whatever operation signs somebody in, be it signUp, signIn or refreshSession, the page
// keeps the tokens of its answer, and sends them with all that follows: until the tab is closed, or for all tabs of this
// browser until somebody signs out.
import { postGraphQL } from "./request";
import { allowed, alone, type Guarded, local, tab } from "./storage";

export interface Session {
  name: string | null;
  accessToken: string;
  expiresAt: string;
  refreshToken: string;
  /** How often the tokens were traded. */
  turn?: number;
}

const KEY = "duologue:session";
/** In a tab: the session that has written what is kept there. */
const OWNER = "duologue:owner";
/** For all tabs: the sessions that somebody has signed out of, the last one first. A tab that slept has not heard of it. */
const LEFT = "duologue:left";
const MOST_LEFT = 100;
/** The names of messages on their way begin with this, and go on with whose they are. */
const UNSENT = "duologue:unsent:";
export const unsentOf = (user: string) => `${UNSENT}${user}:`;
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
/** And so long other tabs to answer. */
const ANSWER = 250;
/** A browser takes a timer that is longer for one that has ended. */
const LONGEST_TIMER = 2 ** 31 - 1;

const readFrom = (storage: Guarded): Session | null => JSON.parse(storage.read(KEY) ?? "null");

const listOfLeft = (): (string | null)[] => JSON.parse(local.read(LEFT) ?? "[]");
const isLeft = () => listOfLeft().includes(tab.read(OWNER));

if (isLeft()) tab.clear();
let current = readFrom(tab);
/** Whether the session is that of all tabs. */
let isShared = !current;
if (isShared) current = readFrom(local);
/** The session that is here, or was until it ended. */
let lastId = sessionOf(current);
if (current) tab.write(OWNER, lastId);
let timer: ReturnType<typeof setTimeout> | undefined;
let renewing: Promise<void> | undefined;
let renewedAt = 0;
let failures = 0;
const listeners = new Set<() => void>();

/**
 * What tabs tell each other, by the ids of their sessions. A page of an earlier release, which may still be open, takes what has
 * nothing in `traded` for tokens.
 */
type Word = { traded: string } & (
  | { next: Session }
  | { seeks: string | null; turn: number }
  | { leaves: string | null }
  | { waits: string | null }
  | { left: string }
);

// A tab that was duplicated has the tokens of the first one, although nothing is stored for both.
const channel = allowed(() => new BroadcastChannel(KEY));
const tell = (word: Word) => channel?.postMessage(word);
const answers = () => new Promise((resolve) => setTimeout(resolve, ANSWER));
channel?.addEventListener("message", ({ data }: MessageEvent<Word>) => {
  // Where the storage is full, nothing else tells of it.
  if ("left" in data && data.left === lastId) leave();
  if (!current) return;
  if ("seeks" in data) {
    if (data.seeks === lastId && turnOf(current) > data.turn) tell({ traded: "", next: current });
  } else if ("leaves" in data) {
    if (data.leaves === lastId && unsent().length) tell({ traded: "", waits: lastId });
  } else if ("next" in data) {
    if (sessionOf(data.next) === lastId && turnOf(data.next) > turnOf(current)) session.set(data.next);
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
  /** Where messages wait: for all tabs where the session is theirs. */
  storage: () => (current && isShared ? local : tab),
  /** Whether this user has a session for all tabs, be it the one of this tab or not. */
  isForAll: (user: string) => userOf(readFrom(local)) === user,
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
  if (next) tab.write(OWNER, lastId);
  renewInTime();
  listeners.forEach((listener) => listener());
}

// Another tab has signed in or out, or has traded the tokens. Of that a tab with a session of its own, be it ended, has only to
// notice that somebody has signed out of it elsewhere.
addEventListener("storage", ({ storageArea, key }) => {
  if (storageArea !== localStorage) return;
  if (isLeft()) leave();
  if ((key !== KEY && key !== null) || (!isShared && (current || lastId))) return;
  isShared = true;
  take(readFrom(local));
});

addEventListener("pageshow", () => isLeft() && leave());

/** For the payload of `connection_init`: read anew for each socket. */
export const connectionParams = {
  get authorization() {
    return current ? `Bearer ${current.accessToken}` : undefined;
  },
};

/** What is asked for, of which nothing is waited for when its user signs out: it would come back refused. */
const asked = new Set<AbortController>();

/** `fetch`, with the token, unless the headers editor has one of its own. */
export const authorizedFetch: typeof fetch = async (input, init) => {
  const headers = new Headers(init?.headers);
  let sent = current;
  const attempt = () => {
    sent = current;
    if (sent) headers.set("authorization", `Bearer ${sent.accessToken}`);
    else headers.delete("authorization");
    const controller = new AbortController();
    init?.signal?.addEventListener("abort", () => controller.abort());
    asked.add(controller);
    return fetch(input, { ...init, headers, signal: controller.signal }).finally(() => asked.delete(controller));
  };
  const ours = current !== null && !headers.has("authorization");
  // A machine that slept has missed the time to renew.
  if (ours && isEnding()) await renew();
  let response = await (ours ? attempt() : fetch(input, { ...init, headers }));
  if (ours && response.status === 401) {
    // Where the session has ended elsewhere, this signs out: signing in again must not fail for an old token. Of several such
    // answers some come after the token was traded, within a second for the same one.
    if (sent?.accessToken === current?.accessToken && sent?.turn === current?.turn) await renew();
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
    const { accessToken, refreshToken, viewer, sessionId } = payload ?? {};
    if (typeof accessToken === "string" && typeof refreshToken === "string") {
      const before = current;
      const name = (viewer as { user?: { name?: string } } | undefined)?.user?.name ?? before?.name ?? null;
      // By the clock of this machine, which may be wrong. What does not say its time is taken to be as short as it may be.
      const { sid, iat, exp } = claimsOf(accessToken);
      const expiresAt = new Date(Date.now() + (Number(exp) - Number(iat)) * 1000 || Date.now() + 2 * EARLY).toISOString();
      const isTraded = before !== null && sid === sessionOf(before);
      // A new database gives the ids of sessions again.
      if (!isTraded && sid) local.write(LEFT, JSON.stringify(listOfLeft().filter((id) => id !== sid)));
      const next = { name, accessToken, expiresAt, refreshToken, turn: isTraded ? turnOf(before) + 1 : 0 };
      session.set(next);
      if (isTraded && !isShared) tell({ traded: before.refreshToken, next });
    } else if (typeof sessionId === "string" && sessionId === sessionOf(current)) {
      session.set(null);
    }
  }
}

function claimsOf(accessToken: string): { sub?: string; sid?: string; iat?: number; exp?: number } {
  try {
    const [, claims = ""] = accessToken.split(".");
    return JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {};
  }
}

/** The id of a session. */
function sessionOf(of: Session | null): string | null {
  return claimsOf(of?.accessToken ?? "").sid ?? null;
}

const userOf = (of: Session | null) => claimsOf(of?.accessToken ?? "").sub;

const turnOf = ({ turn = 0 }: Session) => turn;

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
  refreshSession(refreshToken: $token) { accessToken refreshToken userErrors { code } }
}`;

/** Trades the tokens for the next ones, once for all who ask at the same time; signs out if the server refuses. */
export function renew(): Promise<void> {
  return (renewing ??= (isShared ? alone(KEY, trade) : trade()).finally(() => (renewing = undefined)));
}

/** Asks for later tokens the tab that this one was duplicated from, or those that were duplicated from this one. */
async function seek() {
  if (!current || isShared || !channel) return;
  tell({ traded: "", seeks: lastId, turn: turnOf(current) });
  await answers();
}

/** Asks with this token only, and gives up after so many milliseconds. */
async function ask(query: string, variables: object, patience: number, token?: string) {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  const signal = AbortSignal.timeout(patience);
  // Whoever signs out may close the page at once.
  return (await postGraphQL(query, variables, { headers, signal, keepalive: true })).json();
}

/** Whether this token is still the last one. What another tab has done is taken over: the browser may tell of it later. */
function isLast(refreshToken: string): boolean {
  const stored = isShared ? readFrom(local) : current;
  if (isLeft()) leave();
  else if (stored?.refreshToken !== current?.refreshToken) take(stored);
  return current?.refreshToken === refreshToken;
}

async function trade() {
  if (!current) return;
  const { refreshToken } = current;
  await seek();
  // Another tab may have been faster. If two trade all the same, the server gives both the same tokens.
  if (!isLast(refreshToken)) return;
  try {
    const answer = await ask(REFRESH, { token: refreshToken }, PATIENCE);
    // Somebody may have signed out meanwhile, or in as somebody else.
    if (!isLast(refreshToken)) return;
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
  timer = setTimeout(renew, Math.min(LEAST, RETRY * 2 ** failures++));
}

renewInTime();
void seek();

/** What waits in this tab, which is emptied; of what waits for all tabs only that of the user, as others may sign in again. */
const unsent = () => session.storage().names(current && isShared ? unsentOf(userOf(current)!) : UNSENT);
const dropUnsent = () => unsent().forEach((name) => session.storage().write(name, null));

/** Whoever signs out leaves nothing of what they wrote on this machine; unless they have second thoughts. */
export async function mayLeave(): Promise<boolean> {
  let waits = unsent().length > 0;
  if (!waits && lastId && channel) {
    const hear = ({ data }: MessageEvent<Word>) => (waits ||= "waits" in data && data.waits === lastId);
    channel.addEventListener("message", hear);
    tell({ traded: "", leaves: lastId });
    await answers();
    channel.removeEventListener("message", hear);
  }
  const may = !waits || confirm("There are messages that were not sent yet, here or in another tab. Drop them?");
  if (may) dropUnsent();
  return may;
}

/** Somebody has signed out: what is kept in this tab is theirs, and goes too. */
function leave() {
  const id = lastId;
  lastId = null;
  asked.forEach((controller) => controller.abort());
  tab.clear();
  // Somebody may have signed in since.
  const stored = isShared ? readFrom(local) : null;
  if (stored && sessionOf(stored) !== id) take(stored);
  else session.set(null);
}

/** Ends the session here and in other tabs at once, and then on the server, if it can be reached. */
export async function signOut() {
  const its = current;
  dropUnsent();
  if (lastId) {
    local.write(LEFT, JSON.stringify([lastId, ...listOfLeft()].slice(0, MOST_LEFT)));
    tell({ traded: "", left: lastId });
  }
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
