// The storage of the browser, which may be forbidden or full: what it does not take is kept in memory, until the page is left.

/** What the browser gives; null if it does not allow it. */
export function allowed<Value>(ask: () => Value): Value | null {
  try {
    return ask();
  } catch {
    return null;
  }
}

function guarded(storage: () => Storage) {
  const memory = new Map<string, string>();
  // Another tab has written since.
  addEventListener("storage", ({ storageArea, key }) => {
    if (storageArea !== storage()) return;
    if (key === null) memory.clear();
    else memory.delete(key);
  });
  /** Whether it was taken. */
  const put = (key: string, value: string) =>
    allowed(() => {
      storage().setItem(key, value);
      return true;
    });
  return {
    read: (key: string) => memory.get(key) ?? allowed(() => storage().getItem(key)),
    /** What begins with this, in the order of the alphabet. */
    names(start: string): string[] {
      const all = new Set([...memory.keys(), ...(allowed(() => Object.keys(storage())) ?? [])]);
      return [...all].filter((key) => key.startsWith(start)).sort();
    },
    write(key: string, value: string | null) {
      memory.delete(key);
      if (value !== null && put(key, value)) return;
      // Nothing is better than what is not true any more: a token that was traded ends its session.
      allowed(() => storage().removeItem(key));
      if (value !== null && !put(key, value)) memory.set(key, value);
    },
    clear() {
      memory.clear();
      allowed(() => storage().clear());
    },
  };
}

export type Guarded = ReturnType<typeof guarded>;

/** For all tabs. */
export const local = guarded(() => localStorage);
/** For this tab, and for as long as it is there. */
export const tab = guarded(() => sessionStorage);

/** A tab that sleeps may hold a lock: after this time it is done without. */
const LOCKED = 5_000;

/**
 * Runs it in one tab at a time, where a browser can: not on a page that came over plain HTTP from another machine, nor where
 * storage is forbidden.
 */
export function alone(name: string, run: () => Promise<void>): Promise<void> {
  if (!navigator.locks) return run();
  let running: Promise<void> | undefined;
  const once = () => (running ??= run());
  return navigator.locks.request(name, { signal: AbortSignal.timeout(LOCKED) }, once).catch(once);
}
