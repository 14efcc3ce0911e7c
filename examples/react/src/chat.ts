// Somebody's chat: what is shown is loaded, and kept current by the feed.
import { useEffect, useReducer, useRef, useState } from "react";
import { ask, follow } from "./connection";
import { Earlier, Load, More } from "./documents";
import { Outbox, type Unsent } from "./outbox";
import { Failure } from "./request";
import { reduce } from "./state";

const PAGE = 30;
const LONGEST_PAGE = 100;

/** `open` is the id of the conversation that is shown, if any; `gone` is called when the account is not there any more. */
export function useChat(me: string, open: string | null, gone: () => void) {
  const [state, dispatch] = useReducer(reduce, null);
  const [problem, setProblem] = useState<string | null>(null);
  const [outbox] = useState(() => new Outbox(me));
  // With `useSyncExternalStore` a message could leave the outbox one frame before it is shown in its place.
  const [unsent, setUnsent] = useState<Unsent[]>(outbox.items);
  const rows = useRef(0);
  useEffect(() => void (rows.current = state?.rows.length ?? 0));

  useEffect(() => {
    const forget = outbox.subscribe(() => setUnsent(outbox.items()));
    outbox.start();
    return () => {
      outbox.stop();
      forget();
    };
  }, [outbox]);

  useEffect(() => {
    const stopping = new AbortController();
    let stop = () => {};
    function failed(failure: Error): void {
      if (stopping.signal.aborted) return;
      // What stands in the address bar is no id.
      if (open && failure instanceof Failure && failure.code === "BAD_USER_INPUT") location.hash = "";
      else setProblem(failure.message);
    }
    async function load(): Promise<void> {
      const first = Math.min(Math.max(rows.current, PAGE), LONGEST_PAGE);
      const answer = await ask(Load, { me, first, open: open ?? "", isOpen: open !== null }, stopping.signal);
      if (stopping.signal.aborted) return;
      if (!answer.user) return gone();
      const conversation = answer.node?.__typename === "Conversation" ? answer.node : null;
      setProblem(open && !conversation ? "There is no such conversation, or it is not yours." : null);
      outbox.loaded(conversation?.messages.nodes ?? []);
      dispatch({ type: "loaded", answer });
      stop = follow(me, answer.feedCursor, { heard, lost: () => dispatch({ type: "lost" }), failed });
    }
    function heard(event: Parameters<typeof outbox.heard>[0]): void {
      if (event.kind === "RESET") {
        // What is shown may be wrong by now, and the cursor leads nowhere.
        stop();
        load().catch(failed);
      } else if (event.kind === "USER_CHANGED" && !event.conversation && !event.user) {
        gone();
      } else {
        outbox.heard(event);
        dispatch({ type: "heard", event });
      }
    }
    load().catch(failed);
    return () => {
      stopping.abort();
      stop();
    };
    // `gone` is the same all the time.
  }, [me, open, outbox, gone]);

  // Who calls these shows why they fail.
  async function showEarlier(): Promise<void> {
    const before = state?.open?.before;
    if (!before || !open) return;
    dispatch({ type: "earlier", answer: await ask(Earlier, { conversation: open, before }), before });
  }
  async function showMore(): Promise<void> {
    const after = state?.more;
    if (after) dispatch({ type: "more", answer: await ask(More, { me, after }), after });
  }
  return { state, problem, outbox, unsent, showEarlier, showMore };
}
