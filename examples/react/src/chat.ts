// Somebody's chat: what is shown is loaded, and kept current by the feed.
import { useEffect, useReducer, useRef, useState } from "react";
import { ask, follow } from "./connection";
import { Earlier, Load, More } from "./documents";
import { Outbox, type Unsent } from "./outbox";
import { Failure } from "./request";
import { reduce } from "./state";

const PAGE = 30;
const LONGEST_PAGE = 100;
/** What takes longer, in milliseconds, is told. */
const SLOW = 1_000;

/** `open` is the id of the conversation that is shown, if any; `gone` is called when the account is not there any more. */
export function useChat(me: string, open: string | null, gone: () => void) {
  const [state, dispatch] = useReducer(reduce, null);
  const [problem, setProblem] = useState<string | null>(null);
  const [outbox] = useState(() => new Outbox(me));
  // With `useSyncExternalStore` a message could leave the outbox one frame before it is shown in its place.
  const [unsent, setUnsent] = useState<Unsent[]>(outbox.items);
  const rows = useRef(0);
  useEffect(() => void (rows.current = state?.rows.length ?? 0));
  const [reloads, reload] = useReducer((count: number) => count + 1, 0);
  const loading = useRef<AbortSignal>(undefined);

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
    const { signal } = stopping;
    loading.current = signal;
    let stop = () => {};
    const lost = () => signal.aborted || dispatch({ type: "lost" });
    function failed(failure: Error): void {
      if (signal.aborted) return;
      // What stands in the address bar is no id.
      if (open && failure instanceof Failure && failure.code === "BAD_USER_INPUT") location.hash = "";
      else setProblem(failure.message);
    }
    async function load(): Promise<void> {
      const first = Math.min(Math.max(rows.current, PAGE), LONGEST_PAGE);
      const before = outbox.sent();
      const slow = setTimeout(lost, SLOW);
      const answer = await ask(Load, { me, first, open: open ?? "", isOpen: open !== null }, signal);
      clearTimeout(slow);
      if (signal.aborted) return;
      if (!answer.user) return gone();
      const conversation = answer.node?.__typename === "Conversation" ? answer.node : null;
      setProblem(open && !conversation ? "There is no such conversation, or it is not yours." : null);
      outbox.loaded(conversation?.messages.nodes ?? [], before);
      dispatch({ type: "loaded", answer });
      stop = follow(me, answer.feedCursor, { heard, lost, failed });
    }
    function heard(event: Parameters<typeof outbox.heard>[0]): void {
      if (event.kind === "RESET") {
        // What is shown may be wrong by now, and the cursor leads nowhere.
        reload();
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
  }, [me, open, outbox, gone, reloads]);

  // Who calls these shows why they fail.
  async function showEarlier(): Promise<void> {
    const before = state?.open?.before;
    const signal = loading.current;
    if (!before || !open) return;
    dispatch({ type: "loading", isLoading: true });
    try {
      dispatch({ type: "earlier", answer: await ask(Earlier, { conversation: open, before }, signal), before });
    } catch (failure) {
      // All is loaded again.
      if (!signal?.aborted) throw failure;
    } finally {
      if (!signal?.aborted) dispatch({ type: "loading", isLoading: false });
    }
  }
  async function showMore(): Promise<void> {
    const after = state?.more;
    if (!after) return;
    dispatch({ type: "loadingMore", isLoading: true });
    try {
      dispatch({ type: "more", answer: await ask(More, { me, after }), after });
    } finally {
      dispatch({ type: "loadingMore", isLoading: false });
    }
  }
  return { state, problem, outbox, unsent, showEarlier, showMore };
}
