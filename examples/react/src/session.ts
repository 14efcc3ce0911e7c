// Who has signed in, and the tokens that prove it, for all tabs of the browser: refreshed before they expire, one tab at a time.
import { Refresh, SignOut } from "./documents";
import { type Failure, pause, request } from "./request";
import { withLock, read, write } from "./storage";

const KEY = "duologue-session";
/** A token is refreshed so many milliseconds before it expires. */
export const EXPIRY_MARGIN = 60_000;
/** But not so soon after it was issued, unless the server refuses it: its lifetime may be shorter than the margin. */
export const MIN_REFRESH_INTERVAL = 10_000;
/** A lost answer can be requested again for ten seconds. So many tries begin within them, with this timeout in milliseconds. */
const TRIES = 3;
const REFRESH_TIMEOUT = 4_000;

/** `ends` is by the clock of the device, in milliseconds. */
type Tokens = { accessToken: string; ends: number; refreshToken: string };
type Stored = Tokens & { user: string };
type Answer = { accessToken?: string | null; refreshToken?: string | null };

const listeners = new Set<() => void>();
const notify = () => listeners.forEach((listener) => listener());
// Another tab has signed in or out.
addEventListener("storage", ({ key }) => (key === KEY || key === null) && notify());

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The tokens as they are, which may have expired. */
export function stored(): Stored | null {
  return JSON.parse(read(KEY) ?? "null");
}

/** The id of the user who has signed in. */
export const user = (): string | null => stored()?.user ?? null;

/** Stores the tokens that signIn, signUp or refreshSession gave. */
export function keep({ accessToken, refreshToken }: Answer, user: string): void {
  const ends = Date.now() + Math.max(lifetime(accessToken!), EXPIRY_MARGIN + MIN_REFRESH_INTERVAL);
  store({ accessToken: accessToken!, ends, refreshToken: refreshToken!, user });
}

/** The lifetime of a new token, in milliseconds: the clock of the device may differ from the server's. */
function lifetime(accessToken: string): number {
  const [, claims = ""] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}

function store(session: Stored | null): void {
  write(KEY, session && JSON.stringify(session));
  notify();
}

/** Also if the server cannot be reached: then only this browser forgets the session. */
export async function signOut(): Promise<void> {
  const session = stored();
  store(null);
  if (!session) return;
  try {
    await request(SignOut, {}, session.accessToken).catch(async (failure: Failure) => {
      if (failure.code !== "UNAUTHENTICATED") throw failure;
      // The session is valid for longer than its access token.
      await request(SignOut, {}, (await refresh(session.refreshToken))?.accessToken);
    });
  } catch {
    // The session expires by itself.
  }
}

/** The server refused this access token: the next call of `fresh` refreshes it. */
export function invalidate(accessToken: string): void {
  const now = stored();
  if (now?.accessToken === accessToken) store({ ...now, ends: 0 });
}

/** Tokens that are valid for some time; null if nobody is signed in any more. */
export async function fresh(): Promise<Tokens | null> {
  const session = stored();
  if (!session || session.ends - Date.now() > EXPIRY_MARGIN) return session;
  const isStored = () => stored()?.refreshToken === session.refreshToken;
  return withLock(KEY, async () => {
    // A refresh token works once. A tab that waited here finds what the first one stored; a browser may show that to other
    // tabs late, but for ten seconds the server returns the same next token again.
    if (!isStored()) return stored();
    const answer = await refresh(session.refreshToken, isStored);
    // The user has signed out meanwhile, or another one has signed in; or another tab was faster.
    if (!answer || !isStored()) return stored();
    if (answer.accessToken) keep(answer, session.user);
    else store(null);
    return stored();
  });
}

/**
 * After ten seconds it is too late to request a lost answer again. Null once the token is not stored any more: if a tab that slept
 * since the last try used it, the session would end for all tabs.
 */
async function refresh(token: string, isStored = () => true): Promise<Answer | null> {
  for (let failures = 1; isStored(); failures++) {
    try {
      return (await request(Refresh, { token }, null, REFRESH_TIMEOUT)).refreshSession;
    } catch (failure) {
      if (failures === TRIES) throw failure;
      await pause(failures);
    }
  }
  return null;
}
