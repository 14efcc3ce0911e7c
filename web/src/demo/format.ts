// Times and names as people read them, in the language of their browser.
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "short" });

const DAY = 86_400_000;
const midnight = (at: Date) => new Date(at).setHours(0, 0, 0, 0);
const daysAgo = (at: Date) => Math.round((midnight(new Date()) - midnight(at)) / DAY);

export const timeOf = (at: string) => time.format(new Date(at));
export const exactTimeOf = (at: string) => exact.format(new Date(at));

export function dayOf(at: string): string {
  const date = new Date(at);
  const ago = daysAgo(date);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return (date.getFullYear() === new Date().getFullYear() ? day : dayOfYear).format(date);
}

/** The time of today, the date of another day. */
export function whenOf(at: string): string {
  const date = new Date(at);
  return (daysAgo(date) === 0 ? time : short).format(date);
}

export function lastSeenOf(at: string | null): string {
  if (!at) return "offline";
  const ago = daysAgo(new Date(at));
  return ago === 0 ? `last seen at ${timeOf(at)}` : `last seen ${ago === 1 ? "yesterday" : whenOf(at)}`;
}

export function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toLocaleUpperCase();
}

/** The start of a text in one line. */
export const oneLine = (text: string) => text.slice(0, 200).replace(/\s+/g, " ").trim();

/** Characters as the server counts them. */
export const lengthOf = (text: string) => [...text.trim()].length;
