// The storage of the browser, which may be forbidden or full: what it does not take is kept in memory, until the page is left.
type Place = "localStorage" | "sessionStorage";

/** The keys of what is being written begin with this, and go on with whose it is and in which conversation. */
export const DRAFT = "duologue-draft:";

const memory = new Map<string, string>();
// Another tab has written since.
addEventListener("storage", ({ key }) => void (key === null ? memory.clear() : memory.delete(key)));

export function read(key: string, place: Place = "localStorage"): string | null {
  try {
    return memory.get(key) ?? window[place].getItem(key);
  } catch {
    return null;
  }
}

/** The keys that begin with this, in the order of the alphabet. */
export function keys(start: string): string[] {
  const all = new Set(memory.keys());
  try {
    Object.keys(localStorage).forEach((key) => all.add(key));
  } catch {
    // Forbidden: nothing is there.
  }
  return [...all].filter((key) => key.startsWith(start)).sort();
}

export function write(key: string, value: string | null, place: Place = "localStorage"): void {
  memory.delete(key);
  try {
    if (value !== null) return window[place].setItem(key, value);
  } catch {
    memory.set(key, value!);
  }
  try {
    // No value is better than an outdated one: a refresh token that was used before ends its session.
    window[place].removeItem(key);
  } catch {
    // Forbidden: nothing is there.
  }
}

/** A tab that sleeps may keep a lock: after so many milliseconds others do without. */
const LOCK_TIMEOUT = 5_000;

/**
 * Runs it in one tab at a time, where a browser can: not on a page that came over plain HTTP from another machine, nor where storage
 * is forbidden.
 */
export function withLock<Result>(name: string, run: () => Promise<Result>): Promise<Result> {
  if (!("locks" in navigator)) return run();
  let running: Promise<Result> | undefined;
  const once = () => (running ??= run());
  return navigator.locks.request(name, { signal: AbortSignal.timeout(LOCK_TIMEOUT) }, once).catch(once);
}
