// What a search over the reader's messages has found.
/** @jsxImportSource preact */
import { request } from "./api";
import { exactTimeOf, whenOf } from "./format";
import { SEARCH, type Hit, type Search } from "./operations";
import { Avatar, Failed, inPlace, nameOf } from "./parts";
import { addressOf, route } from "./route";
import { useSearch, type Page } from "./search";

/** Longer than where it costs less: a server lets people search only so often. */
const SEARCH_AFTER = 400;

const HOW = { TEXT: "by words", SEMANTIC: "by meaning", HYBRID: "by words and meaning" };

interface Found extends Page<Hit> {
  mode: Search["searchMessages"]["mode"];
  pending: number;
}

export function useMessages(me: string, text: string) {
  return useSearch<Found>(text || null, SEARCH_AFTER, async (text, after) => {
    const { edges, pageInfo, ...about } = (await request<Search>(SEARCH, { me, text, after })).searchMessages;
    return { ...about, items: edges, more: pageInfo.hasNextPage ? pageInfo.endCursor : null };
  });
}

interface FoundProps {
  me: string;
  found: ReturnType<typeof useMessages>;
  /** The message that was opened last. */
  current: string | null;
  open: (key: string, message: string) => void;
}

export function MessagesFound({ me, found, current, open }: FoundProps) {
  const { page, isReady, failure, more, now } = found;
  return (
    <>
      {page && page.items.length > 0 && (
        <ul class="rows found" aria-label="Messages found" aria-busy={!isReady}>
          {page.items.map((hit) => (
            <HitRow key={hit.node.id} me={me} hit={hit} isCurrent={hit.node.id === current} open={open} />
          ))}
        </ul>
      )}
      {more && (
        <button type="button" class="more" onClick={more}>
          Show more messages
        </button>
      )}
      {failure && <Failed failure={failure} retry={page && isReady && more ? more : now} />}
      <p class="note" role="status">
        {!failure && (!page || !isReady) && "Searching…"}
        {page && isReady && `${page.items.length ? "Found" : "Nothing found"} ${HOW[page.mode]}.`}
        {page && isReady && page.pending > 0 && ` ${page.pending} not yet indexed.`}
      </p>
    </>
  );
}

interface RowProps {
  me: string;
  hit: Hit;
  isCurrent: boolean;
  open: (key: string, message: string) => void;
}

function HitRow({ me, hit, isCurrent, open }: RowProps) {
  const { id, createdAt, sender, conversation } = hit.node;
  const { peer } = conversation;
  const key = peer?.id ?? conversation.id;
  return (
    <li>
      <a
        class="row"
        href={addressOf({ ...route.value, with: key })}
        aria-current={isCurrent ? "true" : undefined}
        onClick={inPlace(() => open(key, id))}
      >
        <Avatar person={peer} />
        <span class="name" dir="auto">
          {nameOf(peer)}
        </span>
        <time class="when" dateTime={createdAt} title={exactTimeOf(createdAt)}>
          {whenOf(createdAt)}
        </time>
        <span class="preview">
          {sender?.id === me && "You: "}
          <bdi>
            {/* Every other part is between two marks. */}
            {hit.snippet.split("**").map((part, i) => (i % 2 ? <mark key={i}>{part}</mark> : part))}
          </bdi>
        </span>
      </a>
    </li>
  );
}
