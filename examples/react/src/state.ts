// What is shown, and how it changes: a reducer without effects.
import type { Event } from "./connection";
import type { EarlierQuery, LoadQuery, MessagePartsFragment, MoreQuery, RowFragment } from "./gql/graphql";

export type Message = MessagePartsFragment;
export type Row = RowFragment;
type Inbox = NonNullable<LoadQuery["user"]>["conversations"];

export type Open = {
  row: Row;
  /** Oldest first. */
  messages: Message[];
  /** Where the page before these ends; null if they begin with the first. */
  before: string | null;
  /** What was heard of messages that are not loaded while a page is on its way, which may be older: null for a deleted one. */
  unloaded: ReadonlyMap<string, Message | null> | null;
};

export type State = {
  name: string;
  /** Most recently active first. */
  rows: Row[];
  /** Where the rest of the inbox begins; null if there is none. */
  more: string | null;
  /** When the last message of the last row before that was sent: a conversation without a later one comes with its page. */
  end: string | null;
  /** What was heard of conversations while a page of the inbox is on its way, which may have them as they were before. */
  changed: ReadonlyMap<string, Row> | null;
  open: Open | null;
  /** Whether all is here that has happened. */
  isCurrent: boolean;
};

export type Action =
  | { type: "loaded"; answer: LoadQuery }
  | { type: "heard"; event: Event }
  | { type: "lost" }
  | { type: "loading"; isLoading: boolean }
  | { type: "earlier"; answer: EarlierQuery; before: string }
  | { type: "loadingMore"; isLoading: boolean }
  | { type: "more"; answer: MoreQuery; after: string };

export function reduce(state: State | null, action: Action): State | null {
  if (action.type === "loaded") return loaded(action.answer, state?.isCurrent ?? false);
  if (!state) return null;
  const { open } = state;
  switch (action.type) {
    case "heard":
      return heard(state, action.event);
    case "lost":
      return { ...state, isCurrent: false };
    case "loading":
      return { ...state, open: open && { ...open, unloaded: action.isLoading ? new Map() : null } };
    case "earlier": {
      const { node } = action.answer;
      const page = node?.__typename === "Conversation" ? node.messages : null;
      // Unless all was loaded again meanwhile: the page would not join.
      if (!open || !page || open.before !== action.before) return state;
      const changed = page.nodes.map((message) => {
        const its = open.unloaded?.get(message.id);
        return its === undefined ? message : its;
      });
      const messages = [...changed.filter((message) => message !== null), ...open.messages];
      return { ...state, open: { ...open, messages, before: start(page.pageInfo) } };
    }
    case "loadingMore":
      return { ...state, changed: action.isLoading ? (state.changed ?? new Map()) : null };
    case "more": {
      const page = action.answer.user?.conversations;
      // Unless all was loaded again meanwhile: the page would not join, or what was heard of it before is gone.
      if (!page || !state.changed || state.more !== action.after) return state;
      const added = page.nodes.filter(({ id }) => !state.rows.some((row) => row.id === id));
      const last = lastOf(page, state.end);
      const place = (rows: Row[], row: Row) => withPlace(rows, row, last);
      const rows = [...state.changed.values()].reduce(place, [...state.rows, ...added]);
      return { ...state, rows, more: end(page.pageInfo), end: last };
    }
  }
}

function loaded({ user, node }: LoadQuery, isCurrent: boolean): State | null {
  if (!user) return null;
  const { name, conversations } = user;
  const open = node?.__typename === "Conversation" ? node : null;
  return {
    name,
    rows: conversations.nodes,
    more: end(conversations.pageInfo),
    end: lastOf(conversations),
    changed: null,
    open: open && {
      row: open,
      messages: open.messages.nodes,
      before: start(open.messages.pageInfo),
      unloaded: null,
    },
    isCurrent,
  };
}

function heard(state: State, event: Event): State {
  const { kind, conversation } = event;
  if (kind === "CAUGHT_UP") return { ...state, isCurrent: true };
  if (!conversation) return state;
  const rows = withRow(state, kind, conversation);
  const changed = state.changed && new Map(state.changed).set(conversation.id, conversation);
  if (state.open?.row.id !== conversation.id) return { ...state, rows, changed };
  return { ...state, rows, changed, open: { ...heardIn(state.open, event), row: conversation } };
}

function withRow({ rows, end }: State, kind: Event["kind"], row: Row): Row[] {
  if (kind === "MESSAGE_SENT") return [row, ...rows.filter(({ id }) => id !== row.id)];
  return kind === "MESSAGE_DELETED" ? withPlace(rows, row, end) : rows.map((its) => (its.id === row.id ? row : its));
}

/** The conversations are ordered by their last messages. Without one they keep their place. What is beyond the end comes with its page. */
function withPlace(rows: Row[], row: Row, end: string | null): Row[] {
  const others = rows.filter(({ id }) => id !== row.id);
  const { lastMessage } = row;
  if (!lastMessage) return rows.map((its) => (its.id === row.id ? row : its));
  if (end && lastMessage.createdAt < end) return others;
  const older = others.findIndex((its) => its.lastMessage && its.lastMessage.createdAt < lastMessage.createdAt);
  return older < 0 ? [...others, row] : [...others.slice(0, older), row, ...others.slice(older)];
}

/** An event shows its message as it is now, so that it may be seen twice. */
function heardIn(open: Open, { kind, messageId, message }: Event): Open {
  if (!messageId) return open;
  const isLoaded = open.messages.some(({ id }) => id === messageId);
  if (isLoaded && message) {
    return { ...open, messages: open.messages.map((its) => (its.id === messageId ? message : its)) };
  }
  if (isLoaded) return { ...open, messages: open.messages.filter(({ id }) => id !== messageId) };
  if (message && kind === "MESSAGE_SENT") return { ...open, messages: [...open.messages, message] };
  return open.unloaded ? { ...open, unloaded: new Map(open.unloaded).set(messageId, message ?? null) } : open;
}

const start = (page: { hasPreviousPage: boolean; startCursor?: string | null }) =>
  page.hasPreviousPage ? (page.startCursor ?? null) : null;
const end = (page: { hasNextPage: boolean; endCursor?: string | null }) =>
  page.hasNextPage ? (page.endCursor ?? null) : null;

/** After the pages before it, of which the last message was sent `before`. */
function lastOf({ nodes, pageInfo }: Inbox, before: string | null = null): string | null {
  // Not simply that of the last row: the clock of the server may have been set back.
  const sent = nodes.flatMap(({ lastMessage }) => lastMessage?.createdAt ?? []);
  return pageInfo.hasNextPage ? ([...sent, ...(before ? [before] : [])].sort()[0] ?? null) : null;
}
