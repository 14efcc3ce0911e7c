// Times and names as people read them, in the language of their browser.
import { signal } from "@preact/signals";

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "short" });

const DAY = 86_400_000;
const midnight = (at: Date) => new Date(at).setHours(0, 0, 0, 0);
const today = signal(midnight(new Date()));
setInterval(() => (today.value = midnight(new Date())), 60_000);

/** Whatever is shown with it is shown anew on another day. */
function daysAgo(at: Date): number {
  void today.value;
  return Math.round((midnight(new Date()) - midnight(at)) / DAY);
}

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

export function lastSeenOf(at?: string | null): string {
  if (!at) return "offline";
  const ago = daysAgo(new Date(at));
  return ago === 0 ? `last seen at ${timeOf(at)}` : `last seen ${ago === 1 ? "yesterday" : whenOf(at)}`;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The first character of a word as people count them: a flag, a family or an accented letter is one. */
const initialOf = (word: string) => graphemes.segment(word).containing(0)?.segment ?? "";

export function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/);
  return [words[0]!, ...words.slice(1).slice(-1)].map(initialOf).join("").toLocaleUpperCase();
}

/** The start of a text in one line; not half of a character at its end. */
export const oneLine = (text: string, length = 200) =>
  text.slice(0, length).replace(/[\ud800-\udbff]$/, "").replace(/\s+/g, " ").trim();

/** Characters as the server counts them. */
export const lengthOf = (text: string) => [...text.trim()].length;
