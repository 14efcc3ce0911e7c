// Who has signed in, and the tokens that prove it, for all tabs of the browser: traded before they end, one at a time.
import { Refresh, SignOut } from "./documents";
import { type Failure, pause, request } from "./request";
import { alone, read, write } from "./storage";

const KEY = "duologue-session";
/** A token is traded so long before it ends, in milliseconds. */
export const MARGIN = 60_000;
/** But not so soon after it was given, unless the server refuses it: it may hold for less than that. */
export const REST = 10_000;
/** An answer that was lost is given again for ten seconds. So many tries begin within them, if each gets so many milliseconds. */
const TRIES = 3;
const PATIENCE = 4_000;

/** `ends` is by the clock of the device, in milliseconds. */
type Tokens = { accessToken: string; ends: number; refreshToken: string };
type Kept = Tokens & { user: string };
type Answer = { accessToken?: string | null; refreshToken?: string | null };

const listeners = new Set<() => void>();
const notify = () => listeners.forEach((listener) => listener());
// Another tab has signed in or out.
addEventListener("storage", ({ key }) => (key === KEY || key === null) && notify());

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The tokens as they are, which may have ended. */
export function held(): Kept | null {
  return JSON.parse(read(KEY) ?? "null");
}

/** The id of whoever has signed in. */
export const user = (): string | null => held()?.user ?? null;

/** Keeps the tokens that signIn, signUp or refreshSession gave. */
export function keep({ accessToken, refreshToken }: Answer, user: string): void {
  const ends = Date.now() + Math.max(lifetime(accessToken!), MARGIN + REST);
  hold({ accessToken: accessToken!, ends, refreshToken: refreshToken!, user });
}

/** How long a new token holds, in milliseconds: the clock of the device may be another than the server's. */
function lifetime(accessToken: string): number {
  const [, claims = ""] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}

function hold(kept: Kept | null): void {
  write(KEY, kept && JSON.stringify(kept));
  notify();
}

/** Also without the server: who cannot reach it has signed out here all the same. */
export async function signOut(): Promise<void> {
  const its = held();
  hold(null);
  if (!its) return;
  try {
    await request(SignOut, {}, its.accessToken).catch(async (failure: Failure) => {
      if (failure.code !== "UNAUTHENTICATED") throw failure;
      // The session holds longer than its access token.
      await request(SignOut, {}, (await trade(its.refreshToken))?.accessToken);
    });
  } catch {
    // The session ends in its time.
  }
}

/** The server refused this access token: the next one to ask trades the refresh token. */
export function distrust(accessToken: string): void {
  const now = held();
  if (now?.accessToken === accessToken) hold({ ...now, ends: 0 });
}

/** Tokens that hold for some time; null if nobody is signed in any more. */
export async function fresh(): Promise<Tokens | null> {
  const its = held();
  if (!its || its.ends - Date.now() > MARGIN) return its;
  const isHeld = () => held()?.refreshToken === its.refreshToken;
  return alone(KEY, async () => {
    // A refresh token works once. Who waited here finds what the first one got; a browser may tell a tab late of what
    // another has stored, but for ten seconds the server gives the same next token again.
    if (!isHeld()) return held();
    const answer = await trade(its.refreshToken, isHeld);
    // Somebody has signed out meanwhile, or in as somebody else; or another tab was faster.
    if (!answer || !isHeld()) return held();
    if (answer.accessToken) keep(answer, its.user);
    else hold(null);
    return held();
  });
}

/**
 * After ten seconds it is too late to ask for an answer that was lost. Null once the token is not held any more: a tab that slept
 * since the last try would end the session of the others with it.
 */
async function trade(token: string, isHeld = () => true): Promise<Answer | null> {
  for (let failures = 1; isHeld(); failures++) {
    try {
      return (await request(Refresh, { token }, null, PATIENCE)).refreshSession;
    } catch (failure) {
      if (failures === TRIES) throw failure;
      await pause(failures);
    }
  }
  return null;
}
