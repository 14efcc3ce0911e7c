// All conversations of somebody, the most recent first, and people to begin one with.
import { useState } from "react";
import { ask } from "./connection";
import { Between } from "./documents";
import { People } from "./people";
import type { State } from "./state";

type Props = { me: string; state: State; open: string | null; showMore: () => Promise<void>; leave: () => void };

export function Inbox({ me, state, open, showMore, leave }: Props) {
  const [problem, setProblem] = useState<string | null>(null);
  async function talkTo(other: string): Promise<void> {
    try {
      const { conversation } = await ask(Between, { me, other });
      if (conversation) location.hash = conversation.id;
    } catch (failure) {
      setProblem((failure as Error).message);
    }
  }
  return (
    <>
      <header>
        <h1>{state.name}</h1>
        <button type="button" onClick={leave}>Sign out</button>
      </header>
      <People label="Find people" onPick={talkTo} />
      {problem && <p role="alert">{problem}</p>}
      <ul aria-label="Conversations" className="rows">
        {state.rows.map(({ id, peer, lastMessage, unreadCount }) => (
          <li key={id}>
            <a href={`#${id}`} aria-current={id === open ? "page" : undefined}>
              <strong>{peer?.name ?? "(erased)"}</strong>
              {unreadCount > 0 && <span className="unread">{unreadCount} unread</span>}
              <span className="last">
                {lastMessage?.sender?.id === me && "You: "}
                {lastMessage?.content}
              </span>
            </a>
          </li>
        ))}
      </ul>
      {state.more && <button type="button" onClick={showMore}>Show more conversations</button>}
    </>
  );
}
