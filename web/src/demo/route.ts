// Who you are and whom you talk to, in the address of the page: two windows side by side can be two people.
import { signal } from "@preact/signals";

export interface Route {
  /** The user that you are, on a server where nobody signs in. */
  as: string | null;
  /** The key of the conversation that is open. */
  with: string | null;
}

/** As the server does, it takes the bare number of a user too. */
const userId = (text: string | null) => (text && /^\d+$/.test(text) ? `usr_${text}` : text);

function read(): Route {
  const parameters = new URLSearchParams(location.search);
  return { as: userId(parameters.get("as")), with: userId(parameters.get("with")) };
}

export const route = signal(read());

addEventListener("popstate", () => (route.value = read()));

export function addressOf(target: Partial<Route>): string {
  const parameters = new URLSearchParams(
    Object.entries(target).filter((entry): entry is [string, string] => !!entry[1]),
  );
  return `${location.pathname}${parameters.size ? `?${parameters}` : ""}`;
}

export function go(change: Partial<Route>) {
  const next = { ...route.value, ...change };
  if (addressOf(next) === addressOf(route.value)) return;
  history.pushState(null, "", addressOf(next));
  route.value = next;
}
