// What a component asks the server for.
import { useEffect, useState } from "preact/hooks";
import type { Failure } from "./api";

/** A value that is asked for when the component is shown, and again on `retry`; until then the old one is there. */
export function useAnswer<Value>(ask: () => Promise<Value>) {
  const [answer, setAnswer] = useState<Value | Failure | null>(null);
  const begin = () => void ask().then(setAnswer as (value: Value) => void, setAnswer);
  useEffect(begin, []);
  return { answer, retry: begin };
}
