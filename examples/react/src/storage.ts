// The storage of the browser, which may be forbidden or full: what it does not take is kept in memory, until the page is left.
type Place = "localStorage" | "sessionStorage";

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

export function write(key: string, value: string | null, place: Place = "localStorage"): void {
  memory.delete(key);
  try {
    if (value !== null) return window[place].setItem(key, value);
  } catch {
    memory.set(key, value!);
  }
  try {
    // Nothing is better than what is not true any more: a refresh token that was traded ends its session.
    window[place].removeItem(key);
  } catch {
    // Forbidden: nothing is there.
  }
}
