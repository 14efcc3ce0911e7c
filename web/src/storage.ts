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
  return {
    read: (key: string) => memory.get(key) ?? allowed(() => storage().getItem(key)),
    write(key: string, value: string | null) {
      memory.delete(key);
      try {
        if (value === null) storage().removeItem(key);
        else storage().setItem(key, value);
      } catch {
        if (value !== null) memory.set(key, value);
      }
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
