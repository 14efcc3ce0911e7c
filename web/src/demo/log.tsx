// The messages of the open conversation. Of a long one only a part is in the page, which follows the reader.
/** @jsxImportSource preact */
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Chat, Wanted } from "./chat";
import { focusComposer } from "./composer";
import { DeleteDialog } from "./dialog";
import { dayOf } from "./format";
import { stepThrough, useKeptFocus } from "./keys";
import { MessageItem, UnsentItem, type Actions } from "./message";
import { shown, type Conversation, type Entry } from "./model";
import { Name, nameOf } from "./parts";

/** So many messages are in the page at most. */
const WINDOW = 200;
/** And so many come and go at once. */
const STEP = 50;
/** As many as the server gives at once: for a message that lies far back. */
const MOST = 100;
/** So near the end, in pixels, the reader sees what comes. */
const NEAR_END = 60;
/** So near the edge of what is in the page more is shown. */
const NEAR_EDGE = 800;

interface LogProps {
  chat: Chat;
  conversation: Conversation;
}

export function Log({ chat, conversation }: LogProps) {
  const log = useRef<HTMLDivElement>(null);
  /** The topmost message in sight, how far it is below the upper edge, and where it stood in the log. */
  const anchor = useRef<{ id: string; at: number; offsetTop: number } | null>(null);
  /** Before this change is shown. The browser may have scrolled to what has the focus, and not told of it yet. */
  const scrolledTo = log.current?.scrollTop ?? 0;
  /** Where the log was scrolled to when it was looked at, and how high its content was. */
  const looked = useRef({ scrollTop: 0, scrollHeight: 0 });
  /** The last message in the page; null: the newest. */
  const lastShown = useSignal<string | null>(null);
  /** The message whose button had the focus last. */
  const focused = useSignal<string | null>(null);
  const expanded = useSignal<string | null>(null);
  const deleting = useSignal<Entry | null>(null);

  const entries = shown(conversation);
  const atEnd = chat.atEnd.value;
  const last = atEnd || !lastShown.value ? -1 : entries.findIndex(({ id }) => id === lastShown.value);
  const end = last < 0 ? entries.length : last + 1;
  const start = Math.max(0, end - WINDOW);
  const part = entries.slice(start, end);
  const ids = new Set<string | undefined>(entries.map(({ id }) => id));
  const unsent = chat.outbox.items.value.filter(({ peerId }) => peerId === conversation.key);
  const isOwn = ({ sender }: Entry) => sender?.id === chat.me;
  const lastOwn = unsent.length ? undefined : entries.findLast(isOwn)?.id;
  const name = nameOf(conversation.peer);
  const wanted = chat.wanted.value;
  const firstNew = chat.unseen.first.value;
  const canReply = conversation.peer !== null;
  const stop = part.find(({ id }) => id === focused.value) ?? part.findLast((entry) => canReply || isOwn(entry));
  const isWriting = useComputed(() => {
    const { text, edit } = chat.drafts.of(conversation.key);
    return text !== "" || edit !== null;
  });
  const authorOf = (sender: { id: string } | null | undefined) => (sender?.id === chat.me ? "You" : name);

  /** Ends what is in the page with the message at this place. */
  function endWith(index: number) {
    lastShown.value = entries[Math.min(index, entries.length - 1)]?.id ?? null;
  }

  function toEnd() {
    chat.atEnd.value = true;
    log.current!.scrollTop = log.current!.scrollHeight;
  }

  /** Notes where the reader is, and shows more where there is need. */
  function look() {
    const { scrollTop, scrollHeight, clientHeight } = log.current!;
    const below = scrollHeight - scrollTop - clientHeight;
    looked.current = { scrollTop, scrollHeight };
    const top = [...log.current!.querySelectorAll<HTMLElement>(".message[id]")].find(
      (its) => its.offsetTop - log.current!.offsetTop + its.offsetHeight > scrollTop,
    );
    anchor.current = top ? { id: top.id, at: top.offsetTop - log.current!.offsetTop - scrollTop, offsetTop: top.offsetTop } : null;
    const isAtEnd = end === entries.length && below < NEAR_END;
    if (atEnd && !isAtEnd) endWith(entries.length - 1);
    chat.atEnd.value = isAtEnd;
    if (isAtEnd) return;
    if (below < NEAR_EDGE && end < entries.length) endWith(end + STEP - 1);
    else if (scrollTop < NEAR_EDGE && start === 0 && !chat.trouble.peek()) void chat.loadEarlier();
    // Not when it would have to come back at once, in a very high window.
    else if (scrollTop < NEAR_EDGE && below > NEAR_EDGE) endWith(end - STEP - 1);
  }

  /** The reader scrolls up, and the browser has not told of it yet. It scrolls up by itself where the content becomes lower. */
  function isLeavingEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = log.current!;
    const below = Math.min(scrollHeight, looked.current.scrollHeight) - scrollTop - clientHeight;
    return scrollTop < looked.current.scrollTop && below >= NEAR_END;
  }

  /** Brings a message into the page, or loads what lies before until it is there. True once the page changes by that. */
  function bring({ id, at = "middle" }: Wanted): boolean {
    const index = entries.findIndex((entry) => entry.id === id);
    if (index >= 0) {
      chat.atEnd.value = false;
      endWith(index + WINDOW / 2);
      return true;
    }
    if (!conversation.earlier && at !== "middle") chat.wanted.value = null;
    else if (!conversation.earlier) chat.trouble.value = "This message is not there any more.";
    else if (!chat.trouble.peek()) void chat.loadEarlier(MOST);
    return false;
  }

  /** In the middle of the log, or where it is to be. `scrollIntoView` would move the whole page where the log cannot. */
  function putInSight(target: HTMLElement, at: Wanted["at"] = "middle") {
    const { top, height } = target.getBoundingClientRect();
    const frame = log.current!.getBoundingClientRect();
    const place = at === "middle" ? (frame.height - height) / 2 : at === "top" ? 0 : at;
    log.current!.scrollTop += top - frame.top - place;
    if (at === "middle") target.focus({ preventScroll: true });
  }

  useKeptFocus(log);

  // Who is at the end stays there; for anybody else what they see stays where it is, whatever comes above and below.
  useLayoutEffect(() => {
    const element = anchor.current && document.getElementById(anchor.current.id);
    const target = wanted && document.getElementById(wanted.id);
    if (target) {
      chat.wanted.value = null;
      putInSight(target, wanted.at);
    } else if (wanted && bring(wanted)) {
      return;
    } else if (atEnd) {
      if (!isLeavingEnd()) log.current!.scrollTop = log.current!.scrollHeight;
    } else if (element) {
      log.current!.scrollTop = scrolledTo + element.offsetTop - anchor.current!.offsetTop;
    }
    look();
  });

  // What can be done with a long message may lie below the edge.
  useLayoutEffect(() => {
    if (expanded.value) log.current!.querySelector("[aria-expanded=true] ~ .actions")?.scrollIntoView({ block: "nearest" });
  }, [expanded.value]);

  useEffect(() => {
    // The window, or the field below, changes its height.
    const observer = new ResizeObserver(() => log.current && chat.atEnd.peek() && toEnd());
    observer.observe(log.current!);
    const onLeaving = () => chat.leaveAt(chat.atEnd.peek() || !anchor.current ? null : { id: anchor.current.id, at: anchor.current.at });
    addEventListener("pagehide", onLeaving);
    return () => {
      observer.disconnect();
      removeEventListener("pagehide", onLeaving);
    };
  }, []);

  function fold() {
    log.current!.querySelector<HTMLElement>("[aria-expanded=true]")?.focus();
    expanded.value = null;
  }

  const then = (act: (entry: Entry) => void) => (entry: Entry) => {
    expanded.value = null;
    act(entry);
  };
  const actions: Actions = {
    toggle: ({ id }) => (expanded.value = expanded.value === id ? null : id),
    reply: then(({ id, content, sender }) => {
      chat.drafts.change(conversation.key, { replyTo: { id, content, sender }, edit: null });
    }),
    edit: then((entry) => chat.startEdit(entry)),
    remove: then((entry) => (deleting.value = entry)),
    show: (id) => (chat.wanted.value = { id }),
  };

  return (
    <div class="messages">
      <div
        ref={log}
        class="log"
        role="log"
        // What was said before is no news.
        aria-live={conversation.loading || !atEnd ? "off" : "polite"}
        aria-label={`Messages with ${name}`}
        tabIndex={0}
        onScroll={() => log.current && look()}
        onFocusIn={({ target }) => {
          if (target instanceof HTMLElement && target.matches(".dots")) focused.value = target.closest("li")!.id;
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") fold();
          else stepThrough(event, [...log.current!.querySelectorAll<HTMLElement>(".dots")]);
        }}
      >
        {start === 0 &&
          (conversation.earlier ? (
            <button type="button" class="more" aria-disabled={conversation.loading} onClick={() => chat.loadEarlier()}>
              {conversation.loading ? "Loading…" : "Load earlier messages"}
            </button>
          ) : (
            <p class="note">
              {entries.length ? "This is where your conversation with " : "Say something to "}
              <Name of={conversation.peer} />
              {entries.length ? " begins." : "."}
            </p>
          ))}
        {chat.trouble.value && (
          <p class="trouble" role="alert">
            {chat.trouble.value}
          </p>
        )}
        {daysOf(part).map(({ key, day, messages }) => (
          <section key={key} aria-label={day}>
            <h2 class="day">{day}</h2>
            <ol>
              {messages.map((entry, index) => (
                <MessageItem
                  key={entry.id}
                  entry={entry}
                  isOwn={isOwn(entry)}
                  isNext={index > 0 && messages[index - 1]!.sender?.id === entry.sender?.id}
                  isLastOwn={entry.id === lastOwn}
                  isExpanded={entry.id === expanded.value}
                  isStop={entry === stop}
                  isFirstNew={entry.id === firstNew}
                  canReply={canReply}
                  hasQuoted={ids.has(entry.replyTo?.id)}
                  author={authorOf(entry.sender)}
                  quotedAuthor={authorOf(entry.replyTo?.sender)}
                  actions={actions}
                />
              ))}
            </ol>
          </section>
        ))}
        {unsent.length > 0 && end === entries.length && (
          <ol aria-label="Not sent yet" aria-live="off">
            {unsent.map((item) => (
              <UnsentItem
                key={item.clientId}
                item={item}
                quotedAuthor={authorOf(item.replyTo?.sender)}
                retry={() => {
                  chat.outbox.retry(item.clientId);
                  focusComposer();
                }}
                discard={() => {
                  chat.outbox.discard(item.clientId);
                  focusComposer();
                }}
                edit={
                  isWriting.value
                    ? undefined
                    : () => {
                        chat.drafts.change(conversation.key, { text: item.content, replyTo: item.replyTo });
                        chat.outbox.remove(item.clientId);
                        focusComposer();
                      }
                }
              />
            ))}
          </ol>
        )}
      </div>
      <p class="seeking waiting" role="status">
        {wanted && (chat.trouble.value ?? "Looking for the message…")}
      </p>
      {!atEnd && (
        <button type="button" class="to-end" onClick={toEnd}>
          {conversation.unread ? `${conversation.unread} new` : "To the newest"} <span aria-hidden="true">↓</span>
        </button>
      )}
      {deleting.value && (
        <DeleteDialog
          chat={chat}
          conversation={conversation.id}
          entry={deleting.value}
          close={() => (deleting.value = null)}
        />
      )}
    </div>
  );
}

/** Messages by their days, in their order. A day comes again where the server's clock went backwards. */
function daysOf(entries: Entry[]): { key: string; day: string; messages: Entry[] }[] {
  const days: { key: string; day: string; messages: Entry[] }[] = [];
  for (const entry of entries) {
    const day = dayOf(entry.createdAt);
    const last = days.at(-1);
    if (last?.day === day) last.messages.push(entry);
    else days.push({ key: `${day} ${days.filter((its) => its.day === day).length}`, day, messages: [entry] });
  }
  return days;
}
