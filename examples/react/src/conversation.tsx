// An open conversation: its messages, what is on its way, and what is being written.
import { memo, useEffect, useRef, useState } from "react";
import { useMarkRead } from "./marks";
import type { Outbox, Unsent } from "./outbox";
import type { Message, Open } from "./state";
import { DRAFT, read, write } from "./storage";

/** Who is so many pixels from the end still reads it. */
const NEAR = 40;
/** Where it is either the inbox or a conversation, as style.css says too. */
export const phone = matchMedia("(max-width: 40rem)");
const time = new Intl.DateTimeFormat([], { dateStyle: "short", timeStyle: "short" });

type Props = {
  me: string;
  open: Open;
  unsent: Unsent[];
  outbox: Outbox;
  maxLength: number;
  showEarlier: () => Promise<void>;
};

export function Conversation({ me, open, unsent, outbox, maxLength, showEarlier }: Props) {
  const { row, messages, before } = open;
  const name = row.peer?.name ?? "(erased)";
  const [isAtEnd, setAtEnd] = useState(true);
  const [isLoading, setLoading] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const log = useRef<HTMLDivElement>(null);
  const hasAsked = useRef(false);
  useEffect(() => void (phone.matches && heading.current?.focus()), []);
  useEffect(() => {
    // The button that was pressed is gone, and the focus with it.
    if (hasAsked.current && !before && document.activeElement === document.body) log.current?.focus({ preventScroll: true });
  }, [before]);
  useMarkRead(me, row.unreadCount > 0 && isAtEnd ? messages.at(-1)?.id : undefined);

  async function earlier(): Promise<void> {
    if (isLoading) return;
    hasAsked.current = true;
    setLoading(true);
    setProblem(await showEarlier().then(() => null, (failure: Error) => failure.message));
    setLoading(false);
  }
  function send(receiver: string, text: string): void {
    outbox.add(receiver, text);
    // Into sight, wherever somebody was reading.
    log.current?.scrollTo({ top: 0 });
  }
  return (
    <>
      <header><h2 tabIndex={-1} ref={heading}><bdi>{name}</bdi></h2></header>
      {/* Its column is reversed: its end is where it is scrolled to, and stays in sight; pages above move nothing. */}
      <div
        className="log"
        role="log"
        // What was said before is no news.
        aria-live={isLoading || !isAtEnd ? "off" : "polite"}
        aria-label={`Messages with ${name}`}
        tabIndex={0}
        ref={log}
        onScroll={({ currentTarget }) => setAtEnd(currentTarget.scrollTop > -NEAR)}
      >
        <div>
          {before && <button type="button" aria-disabled={isLoading} onClick={earlier}>Show earlier messages</button>}
          {problem && <p role="alert">{problem}</p>}
          {/* All that is loaded: with thousands, draw only those near what is in view. */}
          <ol>
            {messages.map((message) => <Line key={message.id} me={me} name={name} message={message} />)}
          </ol>
          {row.lastMessage?.sender?.id === me && <p className="status">{row.lastMessage.status.toLowerCase()}</p>}
          {unsent.length > 0 && (
            <ul aria-label="Not sent yet" aria-live="off">
              {unsent.map(({ clientId, content, sent, problem }) => (
                <li key={clientId} className={sent ? "mine" : "mine unsent"}>
                  <p dir="auto">{content}</p>
                  {problem && (
                    <p role="alert">
                      {problem}{" "}
                      <button type="button" onClick={() => outbox.retry(clientId)}>Retry</button>{" "}
                      <button type="button" onClick={() => outbox.remove(clientId)}>Drop</button>
                    </p>
                  )}
                </li>
              ))}
            </ul>
          )}
        </div>
      </div>
      {row.peer && (
        <Composer
          name={name}
          draft={`${DRAFT}${me}:${row.id}`}
          maxLength={maxLength}
          send={(text) => send(row.peer!.id, text)}
        />
      )}
    </>
  );
}

/** Drawn again only when its message changes. */
const Line = memo(function Line({ me, name, message }: { me: string; name: string; message: Message }) {
  const { sender, content, createdAt, editedAt } = message;
  const isMine = sender?.id === me;
  return (
    <li className={isMine ? "mine" : undefined}>
      <span className="hidden"><bdi>{isMine ? "You" : name}</bdi>:</span>
      <p dir="auto">{content}</p>
      <time dateTime={createdAt}>{time.format(new Date(createdAt))}</time>
      {editedAt && " edited"}
    </li>
  );
});

type ComposerProps = { name: string; draft: string; maxLength: number; send: (text: string) => void };

/** What is being written is kept by the key `draft`, for all tabs, until it is sent or its writer signs out. */
function Composer({ name, draft, maxLength, send }: ComposerProps) {
  const [text, setText] = useState(() => read(draft) ?? "");
  // As the server counts: characters, not the halves of which JavaScript makes some.
  const isTooLong = [...text.trim()].length > maxLength;
  function change(next: string): void {
    setText(next);
    write(draft, next || null);
  }
  function submit(event: { preventDefault(): void }): void {
    event.preventDefault();
    if (!text.trim() || isTooLong) return;
    send(text);
    change("");
  }
  return (
    <form className="composer" onSubmit={submit}>
      <textarea
        aria-label={`Message to ${name}`}
        rows={2}
        dir="auto"
        value={text}
        onChange={(event) => change(event.target.value)}
        onKeyDown={(event) => {
          // Shift+Enter makes a line; Enter may also choose what an input method offers. Safari says so by 229 alone.
          const isChoice = event.nativeEvent.isComposing || event.keyCode === 229;
          if (event.key === "Enter" && !event.shiftKey && !isChoice) submit(event);
        }}
      />
      <button>Send</button>
      {isTooLong && <p role="alert">At most {maxLength.toLocaleString()} characters.</p>}
    </form>
  );
}
