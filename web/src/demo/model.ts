// What the page knows of somebody's conversations, and how it changes by what the server tells. Nothing here does anything:
// each function gives the next state.
import type { FeedEvent, Message, MessagePage, OpenedRow, Person, Quote, Row, RowPage, Status } from "./operations";

/**
 * A message of a list. What was deleted keeps its place for the marks that name it; what only the answer to its send has
 * told of gets its place when the feed does.
 */
export type Entry = Message & { deleted?: boolean; provisional?: boolean };

export interface Conversation {
  id: string;
  /** What the address of the page calls it: the id of its peer, or its own if that is not known any more. */
  key: string;
  /** Null when the account was erased. */
  peer: Person | null;
  unread: number;
  last: Message | null;
  /** How far the peer has got: ids of messages. */
  delivered: string | null;
  read: string | null;
  /** In the order of the server: as its pages have them, and then as the feed has told of them. */
  entries: Entry[];
  /** What was heard of others while a page was on its way: it may have them as they were before. */
  changes: Entry[];
  /** The newest page has been read once. */
  opened: boolean;
  /** A page is on its way. */
  loading: boolean;
  /** The cursor before which there is more; null if there is nothing. */
  earlier: string | null;
  /** How many events the feed had told of in all when it told of this conversation last, or when that was loaded. */
  told: number;
}

export interface State {
  me: Person;
  /** The most recently active first. */
  conversations: Conversation[];
  /** The keys of those whose first page is on its way: they may not be in the list yet. */
  opening: string[];
  /** The cursor after which there are more conversations; null if there are none. */
  more: string | null;
  /** When the last message of the last one before that cursor was sent. */
  end: string | null;
  /** How many events the feed has told of. */
  told: number;
}

export const find = (state: State, key: string | null) =>
  state.conversations.find((conversation) => conversation.key === key || conversation.id === key);

export const shown = ({ entries }: Conversation) => entries.filter((entry) => !entry.deleted);

/** Its place in the list is after what is loaded: it comes with its page. */
export const isLater = ({ end }: State, { last }: Conversation) => end !== null && last !== null && last.createdAt < end;

/** The state of somebody of whom nothing is known but who they are. */
export const begin = (me: Person, told: number): State => ({ me, conversations: [], opening: [], more: null, end: null, told });

const empty = { entries: [], changes: [], opened: false, loading: false, earlier: null };

/**
 * Takes over a row of the list; `toFront` if something was said in it. It was `asked` for when the feed had told of so many events: if
 * that has told of the conversation since, the row may be as it was before, and what it has besides comes with the feed.
 */
export function withRow(state: State, row: Row, asked = state.told, toFront = false): State {
  const there = state.conversations.find(({ id }) => id === row.id);
  if (there && there.told > asked) return state;
  const member = row.members.find(({ user }) => user?.id !== state.me.id) ?? row.members[0]!;
  const key = member.user?.id ?? there?.key ?? row.id;
  const isOpening = [key, row.id].some((its) => state.opening.includes(its));
  const next = withMarks(state.me.id, {
    ...(there ?? { ...empty, told: asked, loading: isOpening }),
    id: row.id,
    key,
    peer: member.user,
    unread: row.unreadCount,
    last: latest(there?.last ?? null, row.lastMessage),
    delivered: member.deliveredThrough?.messageId ?? null,
    read: member.readThrough?.messageId ?? null,
  });
  const others = state.conversations.filter((conversation) => conversation !== there);
  if (toFront) return { ...state, conversations: [next, ...others] };
  const conversations = there
    ? state.conversations.map((conversation) => (conversation === there ? next : conversation))
    : [...others, next];
  return { ...state, conversations };
}

/** An answer may come after the feed has told more of the same message. */
function latest(there: Message | null, now: Message | null): Message | null {
  return there && there.id === now?.id ? newer(there, now) : now;
}

/** Takes over the answer to a send or an edit. The feed may have told more of the conversation before it came. */
export function withAnswer(state: State, message: Message & { conversation: Row }): State {
  const { conversation: row } = message;
  const there = find(state, row.id);
  // A try whose answer was lost may have arrived long ago: then its place is in a page that is not loaded.
  const isNew = message.version === 1 && message.createdAt >= ((there && shown(there)[0]?.createdAt) ?? "");
  const known = there?.last;
  const { lastMessage: last } = row;
  const isOld = known && (!last || last.createdAt < known.createdAt);
  const next = isOld ? state : withRow(state, row, state.told, isNew && last?.id !== known?.id);
  return withMessage(next, row.id, { ...message, provisional: isNew }, isNew);
}

/** Puts a conversation where its last message belongs. */
function withPlace(state: State, id: string): State {
  const moved = state.conversations.find((conversation) => conversation.id === id);
  if (!moved?.last) return state;
  const { createdAt } = moved.last;
  const others = state.conversations.filter((conversation) => conversation !== moved);
  const older = others.findIndex(({ last }) => last && last.createdAt < createdAt);
  const place = older < 0 ? others.length : older;
  return { ...state, conversations: others.toSpliced(place, 0, moved) };
}

/** Takes over a page of the list, which goes on after what is there. */
export function withRows(state: State, { nodes, pageInfo }: RowPage, asked = state.told): State {
  const ids = new Set(nodes.map(({ id }) => id));
  // One that was opened before its page came takes its place in it.
  const before = state.conversations.filter(({ id }) => !ids.has(id));
  const all = nodes.reduce((next, row) => withRow(next, row, asked), state);
  const page = nodes.map(({ id }) => all.conversations.find((conversation) => conversation.id === id)!);
  const { hasNextPage, endCursor } = pageInfo;
  // The clock of the server may have been set back since.
  const [end = null] = [state.end ?? [], nodes.flatMap(({ lastMessage }) => lastMessage?.createdAt ?? [])].flat().sort();
  const next = { ...all, more: hasNextPage ? endCursor : null, end: hasNextPage ? end : null };
  const later = before.filter((conversation) => isLater(next, conversation));
  next.conversations = [...before.filter((conversation) => !later.includes(conversation)), ...page, ...later];
  // What the feed has told of since may have another place by now.
  return page.filter(({ told }) => told > asked).reduce((placed, { id }) => withPlace(placed, id), next);
}

export function withChanged(state: State, id: string, change: (conversation: Conversation) => Conversation): State {
  const conversations = state.conversations.map((conversation) => {
    return conversation.id === id ? withMarks(state.me.id, change(conversation)) : conversation;
  });
  return { ...state, conversations };
}

/** A page is on its way, or not any more. Of what was heard without the first one it is not known where it belongs. */
export function withLoading(state: State, id: string, loading: boolean): State {
  return withChanged(state, id, (conversation) => {
    const entries = conversation.opened ? conversation.entries : [];
    return { ...conversation, entries, changes: [], loading };
  });
}

/** The first page of the conversation with this key is on its way, or not any more. */
export function withOpening(state: State, key: string, isOpening: boolean): State {
  const others = state.opening.filter((its) => its !== key);
  const next = { ...state, opening: isOpening ? [...others, key] : others };
  const there = find(state, key);
  return there ? withLoading(next, there.id, isOpening) : next;
}

/** Takes over the newest messages of a conversation that was opened by this key. */
export function withOpened(state: State, row: OpenedRow, key: string, asked = state.told): State {
  const opening = state.opening.filter((its) => its !== key);
  const opened = withPage(withRow({ ...state, opening }, row, asked), row.id, row.messages);
  return withChanged(opened, row.id, (conversation) => ({ ...conversation, key: conversation.peer?.id ?? key }));
}

/** Takes over a page of messages that lies before what is there. */
export function withPage(state: State, id: string, { nodes, pageInfo }: MessagePage): State {
  return withChanged(state, id, (conversation) => {
    const heard = new Map([...conversation.changes, ...conversation.entries].map((entry) => [entry.id, entry]));
    const page = nodes.map((node) => ({ ...newer(node, heard.get(node.id) ?? node), provisional: false }));
    const ids = new Set(nodes.map((node) => node.id));
    const others = conversation.opened ? conversation.entries : after(nodes, conversation.entries);
    const entries = [...page, ...others.filter((entry) => !ids.has(entry.id))];
    const earlier = pageInfo.hasPreviousPage ? pageInfo.startCursor : null;
    return { ...conversation, entries, changes: [], earlier, opened: true, loading: false };
  });
}

/**
 * Of what was heard before the first page came, what goes on after it. The rest lies before it: the feed tells late what was said
 * while nobody listened.
 */
function after(page: Message[], heard: Entry[]): Entry[] {
  const joint = heard.findLastIndex(({ id, provisional }) => !provisional && page.some((node) => node.id === id));
  const newest = page.at(-1)?.createdAt ?? "";
  return joint < 0 ? heard.filter(({ createdAt }) => createdAt >= newest) : heard.slice(joint + 1);
}

/** Takes over a message as it is now; at the end if it `isNew`, else where it is, if it is there. */
export function withMessage(state: State, id: string, message: Entry, isNew = false): State {
  return withChanged(state, id, (conversation) => {
    const { entries, changes, opened, loading } = conversation;
    // All that there is comes with the first page.
    if (!opened && !loading) return conversation;
    const there = entries.find((entry) => entry.id === message.id);
    if (!there && !isNew) return loading ? { ...conversation, changes: [...changes, message] } : conversation;
    const next = there ? { ...newer(there, message), provisional: there.provisional && message.provisional } : message;
    const isPlaced = there && !(isNew && there.provisional && !message.provisional);
    const quote = (entry: Entry): Entry => {
      if (entry.replyTo?.id !== message.id) return entry;
      const replyTo: Quote | null = message.deleted ? null : { ...entry.replyTo, content: message.content };
      return { ...entry, replyTo };
    };
    const all = isPlaced
      ? entries.map((entry) => (entry === there ? next : entry))
      : [...entries.filter((entry) => entry !== there), next];
    return { ...conversation, entries: all.map(quote) };
  });
}

/** A message that is gone. */
export function deletedMessage(id: string): Entry {
  const nothing = { clientId: null, content: "", createdAt: "", editedAt: null, sender: null, replyTo: null };
  return { id, ...nothing, version: 0, status: "SENT", deleted: true };
}

/** The feed tells late of a message: what was said last by now is there already, with the page that it belongs to. */
export function isOld(state: State, { conversation, messageId }: FeedEvent): boolean {
  const last = conversation?.lastMessage?.id;
  const entries = state.conversations.find(({ id }) => id === conversation?.id)?.entries ?? [];
  return last !== messageId && entries.some(({ id, provisional }) => id === last && !provisional);
}

/** Takes over an event of the feed. It does no harm to see one twice. */
export function withEvent(state: State, event: FeedEvent): State {
  const isNew = event.kind === "MESSAGE_SENT";
  const told = state.told + 1;
  let next = { ...state, told };
  if (event.user?.id === state.me.id) next = { ...next, me: event.user };
  if (!event.conversation) return next;
  const { id } = event.conversation;
  next = withChanged(withRow(next, event.conversation, told, isNew), id, (conversation) => ({ ...conversation, told }));
  // An event before may have shown the row as it is now: it does not tell whether the last message was deleted.
  if (event.kind === "MESSAGE_DELETED") next = withPlace(next, id);
  if (!event.messageId) return next;
  const isLast = isNew && !isOld(state, event);
  return withMessage(next, event.conversation.id, event.message ?? deletedMessage(event.messageId), isLast);
}

/** Takes over what is true of somebody now. */
export function withPerson(state: State, person: Person): State {
  const update = (conversation: Conversation) =>
    conversation.peer?.id === person.id ? { ...conversation, peer: person } : conversation;
  return { ...state, conversations: state.conversations.map(update) };
}

/** Of two states of the same message the later one, whichever came first. */
function newer(a: Entry, b: Entry): Entry {
  if (a.deleted || b.deleted) return deletedMessage(a.id);
  const later = b.version >= a.version ? b : a;
  return { ...later, status: further(a.status, b.status) };
}

const STEPS: Status[] = ["SENT", "DELIVERED", "READ"];
const further = (a: Status, b: Status) => (STEPS.indexOf(a) > STEPS.indexOf(b) ? a : b);

/** Marks cover all that was sent before the message that they name. */
function withMarks(me: string, conversation: Conversation): Conversation {
  const { entries, delivered, read } = conversation;
  const readThrough = entries.findLastIndex(({ id }) => id === read);
  const deliveredThrough = entries.findLastIndex(({ id }) => id === delivered);
  let changed = false;
  const marked = entries.map((entry, index) => {
    if (entry.sender?.id !== me) return entry;
    const reached = index <= readThrough ? "READ" : index <= deliveredThrough ? "DELIVERED" : "SENT";
    const status = further(entry.status, reached);
    if (status === entry.status) return entry;
    changed = true;
    return { ...entry, status };
  });
  return changed ? { ...conversation, entries: marked } : conversation;
}
