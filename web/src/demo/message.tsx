// One message of a conversation, and one that is on its way.
/** @jsxImportSource preact */
import { exactTimeOf, oneLine, timeOf } from "./format";
import { Linked } from "./links";
import type { Entry } from "./model";
import type { Unsent } from "./outbox";
import { Sign } from "./sign";

interface QuoteProps {
  name: string;
  text: string;
  show?: () => void;
}

export function Quoted({ name, text, show }: QuoteProps) {
  const inside = (
    <>
      <span class="hidden">In answer to </span>
      <b dir="auto">{name}</b> <span dir="auto">{oneLine(text)}</span>
    </>
  );
  return show ? (
    <button type="button" class="quote" onClick={show}>
      {inside}
    </button>
  ) : (
    <p class="quote">{inside}</p>
  );
}

export interface Actions {
  toggle: (entry: Entry) => void;
  reply: (entry: Entry) => void;
  edit: (entry: Entry) => void;
  remove: (entry: Entry) => void;
  show: (id: string) => void;
}

interface MessageProps {
  entry: Entry;
  isOwn: boolean;
  /** Of the same sender as the one before it, on the same day. */
  isNext: boolean;
  /** The state is shown in words too. */
  isLastOwn: boolean;
  isExpanded: boolean;
  /** The tab key comes to its button; the arrow keys go to the others. */
  isStop: boolean;
  /** The first that is new to the reader. */
  isFirstNew: boolean;
  canReply: boolean;
  /** What it answers is among the messages that are there. */
  hasQuoted: boolean;
  author: string;
  quotedAuthor: string;
  actions: Actions;
}

export function MessageItem(props: MessageProps) {
  const { entry, isOwn, isNext, isLastOwn, isExpanded, isStop, isFirstNew, canReply, hasQuoted, actions } = props;
  const { author, quotedAuthor } = props;
  const { replyTo } = entry;
  return (
    <li id={entry.id} class={`message ${isOwn ? "own" : "other"} ${isNext ? "next" : ""}`} tabIndex={-1}>
      {isFirstNew && <p class="new">New messages</p>}
      <div class="bubble">
        <span class="hidden">{author}: </span>
        {replyTo && (
          <Quoted
            name={quotedAuthor}
            text={replyTo.content}
            show={hasQuoted ? () => actions.show(replyTo.id) : undefined}
          />
        )}
        <p class="text" dir="auto">
          <Linked text={entry.content} />
        </p>
        {/* How far it got is no news that is read out. */}
        <span class="foot" aria-live="off">
          {entry.editedAt && <span title={exactTimeOf(entry.editedAt)}>edited</span>}
          <time dateTime={entry.createdAt} title={exactTimeOf(entry.createdAt)}>
            {timeOf(entry.createdAt)}
          </time>
          {isOwn && <Sign stage={entry.status} inWords={isLastOwn} />}
        </span>
      </div>
      {(isOwn || canReply) && (
        <button
          type="button"
          class="dots"
          tabIndex={isStop ? 0 : -1}
          aria-label={`Actions for ${author}: ${oneLine(entry.content, 40)}`}
          aria-expanded={isExpanded}
          onClick={() => actions.toggle(entry)}
        >
          ⋯
        </button>
      )}
      {isExpanded && (
        <div class="actions" role="group" aria-label="Message actions">
          {canReply && (
            <button type="button" onClick={() => actions.reply(entry)}>
              Reply
            </button>
          )}
          {isOwn && canReply && (
            <button type="button" onClick={() => actions.edit(entry)}>
              Edit
            </button>
          )}
          {isOwn && (
            <button type="button" onClick={() => actions.remove(entry)}>
              Delete
            </button>
          )}
        </div>
      )}
    </li>
  );
}

interface UnsentProps {
  item: Unsent;
  quotedAuthor: string;
  retry: () => void;
  discard: () => void;
  /** Nothing else is being written. */
  edit?: () => void;
}

export function UnsentItem({ item, quotedAuthor, retry, discard, edit }: UnsentProps) {
  return (
    <li class="message own unsent">
      <div class="bubble">
        <span class="hidden">You: </span>
        {item.replyTo && <Quoted name={quotedAuthor} text={item.replyTo.content} />}
        <p class="text" dir="auto">
          <Linked text={item.content} />
        </p>
        <span class="foot" aria-live="off">
          <time dateTime={item.createdAt}>{timeOf(item.createdAt)}</time>
          <Sign stage={item.state} inWords={item.state === "failed"} />
        </span>
      </div>
      {item.state !== "sending" && (
        <div class="actions">
          {item.state === "failed" && (
            <>
              <span role="alert">{item.why}</span>
              <button type="button" onClick={retry}>
                Retry
              </button>
              {edit && (
                <button type="button" onClick={edit}>
                  Edit
                </button>
              )}
            </>
          )}
          <button type="button" onClick={discard}>
            Discard
          </button>
        </div>
      )}
    </li>
  );
}
