// What a component asks the server for.
import { useEffect, useRef, useState } from "preact/hooks";
import { asFailure, type Failure } from "./api";

/**
 * A value that is asked for when the component is shown, and again on `retry`; until then the old one is there. Answers that come
 * after a newer question was asked are dropped.
 */
export function useAnswer<Value>(ask: () => Promise<Value>) {
  const [answer, setAnswer] = useState<Value | Failure | null>(null);
  const asked = useRef(0);
  function begin() {
    const question = ++asked.current;
    const take = (answer: Value | Failure) => void (question === asked.current && setAnswer(answer));
    ask().then(take, (error) => take(asFailure(error)));
  }
  useEffect(begin, []);
  return { answer, retry: begin };
}
