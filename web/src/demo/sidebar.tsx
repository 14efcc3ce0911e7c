// The list of conversations, and the searches: for somebody to talk to, and for what was said.
/** @jsxImportSource preact */
import { batch, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { asFailure } from "./api";
import type { Chat } from "./chat";
import { oneLine, whenOf } from "./format";
import { MessagesFound, useMessages } from "./found";
import { isComposing, onEnter, openFirst, stepThroughRows, useKeptFocus } from "./keys";
import { isLater, type Conversation } from "./model";
import { Avatar, inPlace, nameOf, PeopleList } from "./parts";
import { ReaderMenu } from "./reader";
import { addressOf, go, route } from "./route";
import { Sign } from "./sign";

interface SidebarProps {
  chat: Chat;
  hasAccounts: boolean;
  hasSearch: boolean;
  /** Is the reader no longer. */
  leave: () => void;
}

export function Sidebar({ chat, hasAccounts, hasSearch, leave }: SidebarProps) {
  const people = useSignal("");
  const messages = useSignal("");
  const found = useMessages(chat.me, messages.value.trim());
  /** The found message that was opened last. */
  const current = useSignal<string | null>(null);
  const state = chat.state.value!;
  const list = useRef<HTMLElement>(null);
  const rows = useRef<HTMLDivElement>(null);
  useKeptFocus(rows);
  const openKey = chat.openKey.value;
  const before = useRef(openKey);
  // Who closes a conversation, as on a phone, is back at it in the list.
  useEffect(() => {
    const row = before.current && `.found [aria-current], [data-key="${CSS.escape(before.current)}"]`;
    if (!openKey && row) list.current!.querySelector<HTMLElement>(row)?.focus();
    before.current = openKey;
  }, [openKey]);
  /** One search at a time. */
  const search = (forPeople: string, forMessages: string) =>
    batch(() => {
      people.value = forPeople;
      messages.value = forMessages;
    });
  const open = (key: string) => {
    search("", "");
    go({ with: key });
  };
  // What was found stays, for a look at the next one.
  const openAt = (key: string, message: string) => {
    void chat.show(key, { id: message });
    go({ with: key });
    current.value = message;
  };
  /** The arrow keys go from a field to the rows below it; Escape ends a search. */
  function onKeyDown(event: KeyboardEvent) {
    if (event.key === "Escape" && !isComposing(event) && (people.value || messages.value)) {
      list.current!.querySelectorAll<HTMLElement>("input")[messages.value ? 1 : 0]!.focus();
      search("", "");
    } else {
      stepThroughRows(event, list.current!);
    }
  }
  return (
    <nav ref={list} class="sidebar" aria-label="Conversations" onKeyDown={onKeyDown}>
      <header>
        <Avatar person={{ ...state.me, presence: null }} />
        <h1 dir="auto">{state.me.name}</h1>
        <ReaderMenu chat={chat} hasAccounts={hasAccounts} leave={leave} />
      </header>
      <input
        type="search"
        aria-label="Find people"
        placeholder="Find people"
        value={people.value}
        onInput={(event) => search(event.currentTarget.value, "")}
        onKeyDown={onEnter(list)}
      />
      {hasSearch && (
        <form
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            if (found.isReady && found.page?.items.length) openFirst(list.current!);
            else found.now();
          }}
        >
          <input
            type="search"
            aria-label="Search messages"
            placeholder="Search messages"
            enterkeyhint="search"
            value={messages.value}
            onInput={(event) => search("", event.currentTarget.value)}
          />
        </form>
      )}
      <div ref={rows} class="scroll" tabIndex={-1}>
        {messages.value.trim() ? (
          <MessagesFound me={chat.me} found={found} current={current.value} open={openAt} />
        ) : people.value.trim() ? (
          <PeopleList
            label="People found"
            search={people.value}
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
  const state = chat.state.value!;
  const { conversations, more } = state;
  const failed = useSignal<string | null>(null);
  const isShown = (conversation: Conversation) =>
    (conversation.last && !isLater(state, conversation)) ||
    conversation === chat.open.value ||
    chat.outbox.items.value.some(({ peerId }) => peerId === conversation.key);
  const shown = conversations.filter(isShown);
  const loadMore = () => {
    failed.value = null;
    chat.loadMore().catch((error) => (failed.value = asFailure(error).message));
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
  const isOwn = unsent || last?.sender?.id === chat.me;
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
        <span class="preview">
          {chat.typing.isIn(id) ? (
            "is typing…"
          ) : (
            <>
              {isOwn && <Sign stage={unsent?.state ?? last!.status} />}
              {isOwn && "You: "}
              <bdi>{oneLine((unsent ?? last)?.content ?? "")}</bdi>
            </>
          )}
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
