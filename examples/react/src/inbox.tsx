// All conversations of somebody, the most recent first, and people to begin one with.
import { useEffect, useRef, useState } from "react";
import { ask } from "./connection";
import { Between } from "./documents";
import { People } from "./people";
import type { State } from "./state";

type Props = { me: string; state: State; open: string | null; showMore: () => Promise<void>; signOut: () => void };

export function Inbox({ me, state, open, showMore, signOut }: Props) {
  const [problem, setProblem] = useState<string | null>(null);
  const list = useRef<HTMLUListElement>(null);
  const hasAsked = useRef(false);
  useEffect(() => {
    // The button that was pressed is gone, and the focus with it.
    if (hasAsked.current && !state.more && document.activeElement === document.body) list.current?.focus({ preventScroll: true });
  }, [state.more]);
  const attempt = (what: Promise<void>) =>
    what.then(() => setProblem(null), (failure: Error) => setProblem(failure.message));
  function more(): void {
    hasAsked.current = true;
    void attempt(showMore());
  }
  async function talkTo(other: string): Promise<void> {
    const before = location.hash;
    const { conversation } = await ask(Between, { me, other });
    // Unless somebody has gone elsewhere meanwhile.
    if (conversation && location.hash === before) location.hash = conversation.id;
  }
  return (
    <>
      <header>
        <h1><bdi>{state.name}</bdi></h1>
        <button type="button" onClick={signOut}>Sign out</button>
      </header>
      <People label="Find people" onPick={(other) => attempt(talkTo(other))} />
      {problem && <p role="alert">{problem}</p>}
      <ul ref={list} tabIndex={-1} aria-label="Conversations" className="rows">
        {state.rows.map(({ id, peer, lastMessage, unreadCount }) => (
          <li key={id}>
            <a href={`#${id}`} aria-current={id === open ? "page" : undefined}>
              <strong><bdi>{peer?.name ?? "(erased)"}</bdi></strong>
              {unreadCount > 0 && <span className="unread">{unreadCount} unread</span>}
              <span className="last">
                {lastMessage?.sender?.id === me && "You: "}
                <bdi>{lastMessage?.content}</bdi>
              </span>
            </a>
          </li>
        ))}
      </ul>
      {state.more && <button type="button" onClick={more}>Show more conversations</button>}
    </>
  );
}
