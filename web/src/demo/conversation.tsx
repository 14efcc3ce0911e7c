// The open conversation: who it is with, what was said, and where to say more.
/** @jsxImportSource preact */
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "./chat";
import { Composer, focusComposer } from "./composer";
import { lastSeenOf } from "./format";
import { Log } from "./log";
import { Avatar, inPlace, Name, nameOf, presenceOf } from "./parts";
import { PeerMenu } from "./reader";
import { addressOf, go, route } from "./route";

interface PaneProps {
  chat: Chat;
  hasAccounts: boolean;
  maxLength: number;
}

export function ConversationPane({ chat, hasAccounts, maxLength }: PaneProps) {
  const conversation = chat.open.value;
  const heading = useRef<HTMLHeadingElement>(null);
  const key = chat.openKey.value;

  // Who opens a conversation goes on in it; a phone would put its keyboard over the messages.
  useEffect(() => {
    // Or at the message that they came for.
    if (!conversation?.opened || document.activeElement?.closest(".log")) return;
    heading.current?.focus();
    if (matchMedia("(pointer: fine)").matches) focusComposer();
  }, [key, conversation?.opened]);

  if (!key) {
    return (
      <main class="conversation nothing">
        <p>Choose a conversation, or find somebody to talk to.</p>
      </main>
    );
  }
  if (!conversation?.opened) {
    return (
      <main class="conversation nothing">
        {chat.trouble.value ? (
          <div>
            <p role="alert">{chat.trouble.value}</p>
            <button type="button" class="primary" onClick={() => chat.show(key, chat.wanted.value)}>
              Retry
            </button>{" "}
            <button type="button" onClick={() => go({ with: null })}>
              Back
            </button>
          </div>
        ) : (
          <p class="waiting" role="status">
            Loading…
          </p>
        )}
      </main>
    );
  }
  const { peer, id } = conversation;
  const isTyping = chat.typing.isIn(id);
  const presence = presenceOf(peer);
  const presenceText = presence ? (presence.online ? "online" : lastSeenOf(presence.lastSeenAt)) : "";
  return (
    <main class="conversation" aria-label={`Conversation with ${nameOf(peer)}`}>
      <header>
        <a class="back" href={addressOf({ ...route.value, with: null })} onClick={inPlace(() => go({ with: null }))}>
          <span aria-hidden="true">‹</span>
          <span class="hidden">Back to conversations</span>
        </a>
        <Avatar person={peer} />
        <div class="who">
          <h1 ref={heading} tabIndex={-1} dir="auto">
            {nameOf(peer)}
          </h1>
          <p>
            <span role="status">
              {isTyping && (
                <>
                  <Name of={peer} /> is typing…
                </>
              )}
            </span>
            {!isTyping && presenceText}
          </p>
        </div>
        {!hasAccounts && peer && (
          <a class="quiet" href={addressOf({ as: peer.id, with: chat.me })} target="_blank">
            Open <Name of={peer} />’s window
          </a>
        )}
        {hasAccounts && peer && <PeerMenu chat={chat} peer={peer} />}
      </header>
      <Log key={id} chat={chat} conversation={conversation} />
      {peer ? (
        <Composer key={`${id} composer`} chat={chat} conversation={conversation} maxLength={maxLength} />
      ) : (
        <p class="closed">This account was deleted. You can no longer write here.</p>
      )}
    </main>
  );
}
