// How long what has failed waits until it is tried again, in milliseconds.
const FIRST = 500;
const LONGEST = 10_000;

/** After so many failures in a row: twice as long each time, and not all clients of a server at the same moment. */
export const backoff = (failures: number) => Math.min(LONGEST, FIRST * 2 ** failures) * (0.5 + Math.random() / 2);
