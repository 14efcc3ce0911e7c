// The open conversation: who it is with, what was said, and where to say more.
/** @jsxImportSource preact */
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Chat } from "./chat";
import { Composer } from "./composer";
import { dayOf, lastSeenOf, oneLine } from "./format";
import { MessageItem, UnsentItem, type Actions } from "./message";
import { keyOf, shown, type Conversation, type Entry } from "./model";
import { Avatar, inPlace, nameOf } from "./parts";
import { addressOf, go, route } from "./route";

/** So near the end, in pixels, the reader sees what comes. */
const NEAR_END = 60;
/** So near the start what is earlier is loaded. */
const NEAR_START = 300;

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
    if (!conversation?.opened) return;
    const field = document.querySelector<HTMLElement>(".composer textarea");
    if (field && matchMedia("(pointer: fine)").matches) field.focus();
    else heading.current?.focus();
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
            <button type="button" class="primary" onClick={() => chat.show(key)}>
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
  const presence = peer?.presence;
  const presenceText = presence?.online ? "online" : presence?.lastSeenAt ? lastSeenOf(presence.lastSeenAt) : "";
  return (
    <main class="conversation" aria-label={`Conversation with ${nameOf(peer)}`}>
      <header>
        <a class="back" href={addressOf({ ...route.value, with: null })} onClick={inPlace(() => go({ with: null }))}>
          <span aria-hidden="true">‹</span>
          <span class="hidden">Back to conversations</span>
        </a>
        <Avatar person={peer} />
        <div class="who">
          <h2 ref={heading} tabIndex={-1} dir="auto">
            {nameOf(peer)}
          </h2>
          <p role="status">{chat.typing.value.has(id) ? `${nameOf(peer)} is typing…` : presenceText}</p>
        </div>
        {!hasAccounts && peer && (
          <a class="quiet" href={addressOf({ as: peer.id, with: chat.me })} target="_blank">
            Open {peer.name}’s window
          </a>
        )}
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

function Log({ chat, conversation }: { chat: Chat; conversation: Conversation }) {
  const log = useRef<HTMLDivElement>(null);
  const top = useRef<{ id: string; offset: number } | null>(null);
  const expanded = useSignal<string | null>(null);
  const deleting = useSignal<Entry | null>(null);
  const entries = shown(conversation);
  const unsent = chat.outbox.items.value.filter(({ peerId }) => peerId === conversation.peerId);
  const name = nameOf(conversation.peer);
  const lastOwn = unsent.length ? undefined : entries.findLast(({ sender }) => sender?.id === chat.me)?.id;
  const authorOf = (sender: { id: string } | null | undefined) => (sender?.id === chat.me ? "You" : name);

  const actions = useMemo<Actions>(() => {
    const then = (act: (entry: Entry) => void) => (entry: Entry) => {
      expanded.value = null;
      act(entry);
    };
    return {
      toggle: ({ id }) => (expanded.value = expanded.value === id ? null : id),
      reply: then(({ id, content, sender }) => chat.drafts.change(keyOf(conversation), { replyTo: { id, content, sender }, edit: null })),
      edit: then((entry) => chat.startEdit(entry)),
      remove: then((entry) => (deleting.value = entry)),
      show: (id) => {
        const element = document.getElementById(id);
        element?.scrollIntoView({ block: "center" });
        element?.focus({ preventScroll: true });
      },
    };
  }, []);

  const toEnd = () => {
    log.current!.scrollTop = log.current!.scrollHeight;
    chat.atEnd.value = true;
  };

  // What comes before leaves what is read where it is; what comes after is shown to whoever is at the end.
  useLayoutEffect(() => {
    const was = top.current;
    const element = was && document.getElementById(was.id);
    if (chat.atEnd.peek()) toEnd();
    else if (element && was.id !== entries[0]?.id) log.current!.scrollTop += element.offsetTop - was.offset;
    const first = entries[0] && document.getElementById(entries[0].id);
    top.current = first ? { id: first.id, offset: first.offsetTop } : null;
  }, [conversation.entries, unsent.length, expanded.value]);

  // The window, or the field below, changes its height.
  useEffect(() => {
    const observer = new ResizeObserver(() => log.current && chat.atEnd.peek() && toEnd());
    observer.observe(log.current!);
    return () => observer.disconnect();
  }, []);

  function onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = log.current!;
    chat.atEnd.value = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (scrollTop < NEAR_START && !chat.atEnd.value) void chat.loadEarlier();
  }

  return (
    <>
      <div
        ref={log}
        class="log"
        role="log"
        // Earlier messages are no news.
        aria-live={conversation.loading ? "off" : "polite"}
        aria-label={`Messages with ${name}`}
        tabIndex={0}
        onScroll={onScroll}
        onKeyDown={(event) => event.key === "Escape" && (expanded.value = null)}
      >
        {conversation.earlier ? (
          <button type="button" class="more" disabled={conversation.loading} onClick={() => chat.loadEarlier()}>
            {conversation.loading ? "Loading…" : "Load earlier messages"}
          </button>
        ) : (
          <p class="note">{entries.length ? `This is where your conversation with ${name} begins.` : `Say something to ${name}.`}</p>
        )}
        {chat.trouble.value && (
          <p class="trouble" role="alert">
            {chat.trouble.value}
          </p>
        )}
        {daysOf(entries).map(([day, messages]) => (
          <section key={day} aria-label={day}>
            <h3 class="day">{day}</h3>
            <ol>
              {messages.map((entry, index) => (
                <MessageItem
                  key={entry.id}
                  entry={entry}
                  isOwn={entry.sender?.id === chat.me}
                  isNext={index > 0 && messages[index - 1]!.sender?.id === entry.sender?.id}
                  isLastOwn={entry.id === lastOwn}
                  isExpanded={entry.id === expanded.value}
                  canReply={conversation.peer !== null}
                  author={authorOf(entry.sender)}
                  quotedAuthor={authorOf(entry.replyTo?.sender)}
                  actions={actions}
                />
              ))}
            </ol>
          </section>
        ))}
        {unsent.length > 0 && (
          <ol aria-label="Not sent yet">
            {unsent.map((item) => (
              <UnsentItem
                key={item.clientId}
                item={item}
                quotedAuthor={authorOf(item.replyTo?.sender)}
                retry={() => chat.outbox.retry(item.clientId)}
                discard={() => chat.outbox.remove(item.clientId)}
              />
            ))}
          </ol>
        )}
      </div>
      {!chat.atEnd.value && (
        <button type="button" class="to-end" onClick={toEnd}>
          {conversation.unread ? `${conversation.unread} new` : "To the newest"} <span aria-hidden="true">↓</span>
        </button>
      )}
      {deleting.value && <DeleteDialog chat={chat} conversation={conversation} entry={deleting.value} close={() => (deleting.value = null)} />}
    </>
  );
}

function daysOf(entries: Entry[]): [string, Entry[]][] {
  const days = new Map<string, Entry[]>();
  for (const entry of entries) {
    const day = dayOf(entry.createdAt);
    const there = days.get(day);
    if (there) there.push(entry);
    else days.set(day, [entry]);
  }
  return [...days];
}

interface DialogProps {
  chat: Chat;
  conversation: Conversation;
  entry: Entry;
  close: () => void;
}

function DeleteDialog({ chat, conversation, entry, close }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const trouble = useSignal<string | null>(null);
  useEffect(() => dialog.current!.showModal(), []);
  const done = () => {
    close();
    document.querySelector<HTMLElement>(".composer textarea")?.focus();
  };
  const remove = () => chat.delete(conversation.id, entry.id).then(done, (error) => (trouble.value = error.message));
  return (
    <dialog ref={dialog} aria-labelledby="delete-title" onClose={done}>
      <h2 id="delete-title">Delete this message?</h2>
      <blockquote dir="auto">{oneLine(entry.content)}</blockquote>
      <p>It is deleted for both of you.</p>
      {trouble.value && (
        <p class="trouble" role="alert">
          {trouble.value}
        </p>
      )}
      <div class="buttons">
        <button type="button" onClick={() => dialog.current!.close()}>
          Keep
        </button>
        <button type="button" class="danger" onClick={remove}>
          Delete
        </button>
      </div>
    </dialog>
  );
}
