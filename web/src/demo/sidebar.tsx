// The list of conversations, and the search for somebody to talk to.
/** @jsxImportSource preact */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "./chat";
import { oneLine, whenOf } from "./format";
import type { Conversation } from "./model";
import { Avatar, inPlace, nameOf, PeopleList } from "./parts";
import { addressOf, go, route } from "./route";

interface SidebarProps {
  chat: Chat;
  hasAccounts: boolean;
  /** Is the reader no longer. */
  leave: () => void;
}

export function Sidebar({ chat, hasAccounts, leave }: SidebarProps) {
  const search = useSignal("");
  const state = chat.state.value!;
  const list = useRef<HTMLElement>(null);
  const openKey = chat.openKey.value;
  const before = useRef(openKey);
  // Who closes a conversation, as on a phone, is back at it in the list.
  useEffect(() => {
    if (!openKey && before.current) list.current!.querySelector<HTMLElement>(`[data-key="${CSS.escape(before.current)}"]`)?.focus();
    before.current = openKey;
  }, [openKey]);
  const open = (key: string) => {
    search.value = "";
    go({ with: key });
  };
  return (
    <nav ref={list} class="sidebar" aria-label="Conversations">
      <header>
        <Avatar person={{ ...state.me, presence: null }} />
        <h1 dir="auto">{state.me.name}</h1>
        {hasAccounts ? (
          <button type="button" class="quiet" onClick={() => chat.forget() && leave()}>
            Sign out
          </button>
        ) : (
          <a class="quiet" href={addressOf({})} onClick={inPlace(leave)}>
            Change person
          </a>
        )}
      </header>
      <input
        type="search"
        aria-label="Find people"
        placeholder="Find people"
        value={search.value}
        onInput={(event) => (search.value = event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && (search.value = "")}
      />
      <div class="scroll">
        {search.value.trim() ? (
          <PeopleList
            label="People found"
            search={search.value}
            without={chat.me}
            addressOf={({ id }) => addressOf({ ...route.value, with: id })}
            choose={({ id }) => open(id)}
          />
        ) : (
          <Conversations chat={chat} open={open} />
        )}
      </div>
      <footer>
        <a href="/">GraphiQL</a>
      </footer>
    </nav>
  );
}

function Conversations({ chat, open }: { chat: Chat; open: (key: string) => void }) {
  const { conversations, more } = chat.state.value!;
  const failed = useSignal<string | null>(null);
  const isShown = (conversation: Conversation) =>
    conversation.last ||
    conversation === chat.open.value ||
    chat.outbox.items.value.some(({ peerId }) => peerId === conversation.key);
  const shown = conversations.filter(isShown);
  const loadMore = () => {
    failed.value = null;
    chat.loadMore().catch((error) => (failed.value = error.message));
  };
  return (
    <>
      {shown.length > 0 && (
        <ul class="rows" aria-label="Conversations">
          {shown.map((conversation) => (
            <ConversationRow key={conversation.id} chat={chat} conversation={conversation} open={open} />
          ))}
        </ul>
      )}
      {more && (
        <button type="button" class="more" onClick={loadMore}>
          Show more conversations
        </button>
      )}
      <p class="note" role="alert">
        {failed.value}
      </p>
      {shown.length === 0 && (
        <>
          <h2 class="note">Talk to somebody</h2>
          <PeopleList
            label="People"
            search=""
            without={chat.me}
            addressOf={({ id }) => addressOf({ ...route.value, with: id })}
            choose={({ id }) => open(id)}
          />
        </>
      )}
    </>
  );
}

interface RowProps {
  chat: Chat;
  conversation: Conversation;
  open: (key: string) => void;
}

function ConversationRow({ chat, conversation, open }: RowProps) {
  const { id, key, peer, last } = conversation;
  const unsent = chat.outbox.items.value.findLast(({ peerId }) => peerId === conversation.key);
  const isOpen = chat.open.value?.id === id;
  const unread = chat.unreadOf(conversation);
  let preview = last ? oneLine(last.content) : "";
  if (last?.sender?.id === chat.me) preview = `You: ${preview}`;
  if (unsent) preview = `${unsent.state === "failed" ? "Not sent" : "Sending"}: ${oneLine(unsent.content)}`;
  if (chat.typing.value.has(id)) preview = "is typing…";
  return (
    <li>
      <a
        class={unread ? "row unread" : "row"}
        href={addressOf({ ...route.value, with: key })}
        data-key={key}
        aria-current={isOpen ? "page" : undefined}
        onClick={inPlace(() => open(key))}
      >
        <Avatar person={peer} />
        <span class="name" dir="auto">
          {nameOf(peer)}
        </span>
        <time class="when" dateTime={last?.createdAt}>
          {last && whenOf(last.createdAt)}
        </time>
        <span class="preview" dir="auto">
          {preview}
        </span>
        {unread > 0 && (
          <span class="count">
            {unread > 99 ? "99+" : unread}
            <span class="hidden"> unread</span>
          </span>
        )}
      </a>
    </li>
  );
}
