// Who has signed in, and the tokens that prove it, for all tabs of the browser: traded before they end, one at a time.
import { Refresh, SignOut } from "./documents";
import { pause, request } from "./request";

const KEY = "duologue-session";
/** A token is traded so long before it ends, in milliseconds. */
export const MARGIN = 60_000;
/** But not so soon after it was given, unless the server refuses it: the clock of the device may be fast. */
export const REST = 10_000;
/** An answer that was lost is given again for ten seconds. So many tries begin within them, if each gets so many milliseconds. */
const TRIES = 3;
const PATIENCE = 4_000;

type Tokens = { accessToken: string; accessTokenExpiresAt: string; refreshToken: string };
type Kept = Tokens & { user: string };
type Answer = { [Key in keyof Tokens]?: Tokens[Key] | null };

const listeners = new Set<() => void>();
const notify = () => listeners.forEach((listener) => listener());
// Another tab has signed in or out.
addEventListener("storage", ({ key }) => (key === KEY || key === null) && notify());

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function held(): Kept | null {
  return JSON.parse(localStorage.getItem(KEY) ?? "null");
}

/** The id of whoever has signed in. */
export const user = (): string | null => held()?.user ?? null;

/** Keeps the tokens that signIn, signUp or refreshSession gave. */
export function keep({ accessToken, accessTokenExpiresAt, refreshToken }: Answer, user: string): void {
  const ends = Math.max(Date.parse(accessTokenExpiresAt!), Date.now() + MARGIN + REST);
  hold({ accessToken, accessTokenExpiresAt: new Date(ends).toISOString(), refreshToken, user });
}

function hold(kept: Answer & { user: string }): void {
  localStorage.setItem(KEY, JSON.stringify(kept));
  notify();
}

function forget(): void {
  localStorage.removeItem(KEY);
  notify();
}

/** Also without the server: who cannot reach it has signed out here all the same. */
export async function signOut(): Promise<void> {
  const its = held();
  forget();
  if (its) await request(SignOut, {}, its.accessToken).catch(() => {});
}

/** The server refused this access token: the next one to ask trades the refresh token. */
export function distrust(accessToken: string): void {
  const now = held();
  if (now?.accessToken === accessToken) hold({ ...now, accessTokenExpiresAt: new Date(0).toISOString() });
}

/** Tokens that hold for some time; null if nobody is signed in any more. */
export async function fresh(): Promise<Tokens | null> {
  const its = held();
  if (!its || Date.parse(its.accessTokenExpiresAt) - Date.now() > MARGIN) return its;
  return alone(async () => {
    // A refresh token works once. Who waited here finds what the first one got; a browser may tell a tab late of what
    // another has stored, but for ten seconds the server gives the same next token again.
    if (held()?.refreshToken !== its.refreshToken) return held();
    const answer = await trade(its.refreshToken);
    // Somebody has signed out meanwhile.
    if (held()?.refreshToken !== its.refreshToken) return held();
    if (answer.accessToken) keep(answer, its.user);
    else forget();
    return held();
  });
}

/** After ten seconds it is too late to ask for an answer that was lost. */
async function trade(token: string): Promise<Answer> {
  for (let failures = 1; ; failures++) {
    try {
      return (await request(Refresh, { token }, null, PATIENCE)).refreshSession;
    } catch (failure) {
      if (failures === TRIES) throw failure;
      await pause(failures);
    }
  }
}

/** Across all tabs. A page that came over plain HTTP from another machine has no locks: there it may be done twice. */
function alone<Result>(work: () => Promise<Result>): Promise<Result> {
  return "locks" in navigator ? navigator.locks.request(KEY, work) : work();
}
