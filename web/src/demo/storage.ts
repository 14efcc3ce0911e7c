// A signal whose value outlives a reload of the page, for as long as the tab is there. What somebody wrote must not be lost.
import { effect, signal, type Signal } from "@preact/signals";

export function stored<Value>(key: string, otherwise: Value): { value: Signal<Value>; stop: () => void } {
  const name = `duologue:${key}`;
  const value = signal<Value>(JSON.parse(sessionStorage.getItem(name) ?? "null") ?? otherwise);
  const stop = effect(() => sessionStorage.setItem(name, JSON.stringify(value.value)));
  return { value, stop };
}
