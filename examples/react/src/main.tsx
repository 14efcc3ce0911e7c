// The page: who is it, and then their chat.
import { StrictMode, useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import { useChat } from "./chat";
import { ask } from "./connection";
import { Conversation, phone } from "./conversation";
import { Server } from "./documents";
import type { ServerQuery } from "./gql/graphql";
import { Inbox } from "./inbox";
import { useMarkDelivered } from "./marks";
import * as session from "./session";
import { DRAFT, keys, read, write } from "./storage";
import { PickPerson, SignIn } from "./welcome";
import "./style.css";

/** Where nobody signs in, each tab may be another person. */
const PERSON = "duologue-person";

function App() {
  const [server, setServer] = useState<ServerQuery["server"] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const signedIn = useSyncExternalStore(session.subscribe, session.user);
  const [picked, setPicked] = useState(() => read(PERSON, "sessionStorage"));
  const isOpen = server?.features.includes("open") ?? false;

  useEffect(() => {
    ask(Server, {}).then((answer) => setServer(answer.server), (failure: Error) => setProblem(failure.message));
  }, []);
  const pick = useCallback((id: string | null) => {
    write(PERSON, id, "sessionStorage");
    setPicked(id);
  }, []);
  const leave = useCallback(() => {
    location.hash = "";
    if (isOpen) pick(null);
    else void session.signOut();
  }, [isOpen, pick]);

  if (problem) return <main className="welcome"><Problem>{problem}</Problem></main>;
  if (!server) return <main className="welcome"><p role="status">Connecting…</p></main>;
  const me = isOpen ? picked : signedIn;
  if (me) return <Chat key={me} me={me} maxLength={server.maxContentLength} leave={leave} />;
  return isOpen ? <PickPerson onPick={pick} /> : <SignIn />;
}

function Chat({ me, maxLength, leave }: { me: string; maxLength: number; leave: () => void }) {
  const open = useSyncExternalStore(subscribeToHash, () => location.hash.slice(1) || null);
  const { state, problem, outbox, unsent, showEarlier, showMore } = useChat(me, open, leave);
  const unread = state?.rows.reduce((sum, row) => sum + row.unreadCount, 0) ?? 0;
  useEffect(() => void (document.title = unread ? `(${unread}) Chat` : "Chat"), [unread]);
  useMarkDelivered(me, state?.rows ?? []);
  useFocusOnPhone(open);

  function signOut(): void {
    const waiting = unsent.filter(({ sent }) => !sent).length;
    if (waiting && !confirm(`Messages that were not sent yet: ${waiting}. Sign out, and drop them?`)) return;
    outbox.clear();
    // Of all tabs, also of those that sleep.
    keys(`${DRAFT}${me}:`).forEach((key) => write(key, null));
    leave();
  }

  const conversation = state?.open?.row.id === open ? state?.open : null;
  return (
    <div className={open ? "chat is-open" : "chat"}>
      {problem === null && !state?.isCurrent && <p role="status" className="banner">Connecting…</p>}
      {problem !== null && <Problem className="banner">{problem}</Problem>}
      <nav aria-label="Inbox">
        {state && <Inbox me={me} state={state} open={open} showMore={showMore} signOut={signOut} />}
      </nav>
      <main>
        {open && <a className="back" href="#">Back to the inbox</a>}
        {conversation ? (
          <Conversation
            key={conversation.row.id}
            me={me}
            open={conversation}
            unsent={unsent.filter(({ receiver }) => receiver === conversation.row.peer?.id)}
            outbox={outbox}
            maxLength={maxLength}
            showEarlier={showEarlier}
          />
        ) : open ? (
          problem === null && <p role="status" className="hint">Loading…</p>
        ) : (
          <p className="hint">Choose a conversation, or find somebody to talk to.</p>
        )}
      </main>
    </div>
  );
}

/** Why nothing more comes. What was written is kept. */
function Problem({ className, children }: { className?: string; children: string }) {
  return (
    <p role="alert" className={className}>
      {children} <button type="button" onClick={() => location.reload()}>Try again</button>
    </p>
  );
}

/** Who leaves a conversation on a phone comes back to its line of the inbox. */
function useFocusOnPhone(open: string | null): void {
  const before = useRef(open);
  useEffect(() => {
    const line = `.rows a[href="#${CSS.escape(before.current ?? "")}"]`;
    if (!open && phone.matches) document.querySelector<HTMLElement>(line)?.focus();
    before.current = open;
  }, [open]);
}

function subscribeToHash(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
