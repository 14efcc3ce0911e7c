// A signal whose value outlives a reload of the page, for as long as the tab is there. What somebody wrote must not be lost.
import { effect, signal, type Signal } from "@preact/signals";
import { tab } from "../storage";

export interface Stored<Value> {
  value: Signal<Value>;
  /** Keeps it no longer up to date. */
  stop: () => void;
}

export function stored<Value>(key: string, otherwise: Value): Stored<Value> {
  const name = `duologue:${key}`;
  const value = signal<Value>(JSON.parse(tab.read(name) ?? "null") ?? otherwise);
  return { value, stop: effect(() => tab.write(name, JSON.stringify(value.value))) };
}
