// What the page says to the server: the documents, and the types of what comes back.

export interface Presence {
  online: boolean;
  /** Lists of people do not have it. */
  lastSeenAt?: string | null;
}

export interface Person {
  id: string;
  name: string;
  presence: Presence | null;
}

export type Status = "SENT" | "DELIVERED" | "READ";

export interface Quote {
  id: string;
  content: string;
  sender: { id: string } | null;
}

export interface Message {
  id: string;
  clientId: string | null;
  content: string;
  createdAt: string;
  editedAt: string | null;
  version: number;
  status: Status;
  sender: { id: string } | null;
  replyTo: Quote | null;
}

interface Mark {
  messageId: string;
}

/** A conversation as a row of the list shows it. */
export interface Row {
  id: string;
  unreadCount: number;
  lastMessage: Message | null;
  members: { user: Person | null; deliveredThrough: Mark | null; readThrough: Mark | null }[];
}

export interface MessagePage {
  nodes: Message[];
  pageInfo: { hasPreviousPage: boolean; startCursor: string | null };
}

export interface RowPage {
  nodes: Row[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

export type OpenedRow = Row & { messages: MessagePage };

const PERSON = `fragment Person on User { id name presence { online lastSeenAt } }`;

const MESSAGE = `fragment Message on Message {
  id clientId content createdAt editedAt version status
  sender { id }
  replyTo { id content sender { id } }
}`;

const ROW = `${PERSON} ${MESSAGE} fragment Row on Conversation {
  id
  unreadCount(userId: $me)
  lastMessage { ...Message }
  members { user { ...Person } deliveredThrough { messageId } readThrough { messageId } }
}`;

const OPENED = `${ROW} fragment Opened on Conversation {
  ...Row
  messages(last: 50) { nodes { ...Message } pageInfo { hasPreviousPage startCursor } }
}`;

export const SERVER = `query Server { server { features maxContentLength } }`;
export interface Server {
  features: string[];
  maxContentLength: number;
}

export const ME = `query Me { me { user { id } } }`;
export interface Me {
  me: { user: { id: string } } | null;
}

/** All that the page shows and the cursor from which the feed goes on, in one request: so nothing falls between. */
export const SNAPSHOT = `query Snapshot($me: ID!, $peer: ID!, $open: Boolean!) {
  user(id: $me) {
    ...Person
    conversations(first: 30) { nodes { ...Row } pageInfo { hasNextPage endCursor } }
  }
  conversation(user1: $me, user2: $peer) @include(if: $open) { ...Opened }
  feedCursor(userId: $me)
} ${OPENED}`;
export interface Snapshot {
  user: (Person & { conversations: RowPage }) | null;
  conversation?: OpenedRow | null;
  feedCursor: string;
}

export const CONVERSATION = `query Conversation($me: ID!, $key: ID!) {
  conversation(user1: $me, user2: $key) { ...Opened }
} ${OPENED}`;

export const CONVERSATION_BY_ID = `query ConversationById($me: ID!, $key: ID!) {
  conversation: node(id: $key) { ...Opened }
} ${OPENED}`;
export interface Opened {
  conversation: OpenedRow | null;
}

export const MORE_CONVERSATIONS = `query MoreConversations($me: ID!, $after: String) {
  user(id: $me) { conversations(first: 30, after: $after) { nodes { ...Row } pageInfo { hasNextPage endCursor } } }
} ${ROW}`;
export interface MoreConversations {
  user: { conversations: RowPage } | null;
}

export const EARLIER = `query Earlier($id: ID!, $last: Int!, $before: String) {
  node(id: $id) {
    ... on Conversation {
      messages(last: $last, before: $before) { nodes { ...Message } pageInfo { hasPreviousPage startCursor } }
    }
  }
} ${MESSAGE}`;
export interface Earlier {
  node: { messages: MessagePage } | null;
}

export const PEOPLE = `query People($search: String, $after: String) {
  users(first: 20, search: $search, after: $after) {
    nodes { id name presence { online } }
    pageInfo { hasNextPage endCursor }
  }
}`;
export interface People {
  users: { nodes: Person[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } };
}

/** The best first. The server chooses between words and meaning, or takes both; `mode` says what it took. */
export const SEARCH = `query Search($me: ID!, $text: String!, $after: String) {
  searchMessages(input: { userId: $me, text: $text }, first: 20, after: $after) {
    edges { snippet node { id createdAt sender { id } conversation { id peer(of: $me) { ...Person } } } }
    pageInfo { hasNextPage endCursor }
    mode
    pending
  }
} ${PERSON}`;
export interface Hit {
  /** A part of the text: what the search was for stands between pairs of **. */
  snippet: string;
  node: {
    id: string;
    createdAt: string;
    sender: { id: string } | null;
    conversation: { id: string; peer: Person | null };
  };
}
export interface Search {
  searchMessages: {
    edges: Hit[];
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
    mode: "TEXT" | "SEMANTIC" | "HYBRID";
    /** So many messages cannot be found yet. */
    pending: number;
  };
}

/** So many objects can be asked for by their ids at once. */
export const MOST_IDS = 100;

export const PRESENCES = `query Presences($ids: [ID!]!) { nodes(ids: $ids) { ... on User { ...Person } } } ${PERSON}`;
export interface Presences {
  nodes: (Person | null)[];
}

export const FEED = `subscription Feed($me: ID!, $after: String) {
  feed(userId: $me, after: $after) {
    kind cursor at messageId
    message { ...Message }
    conversation { ...Row }
    user { ...Person }
  }
} ${ROW}`;
export interface FeedEvent {
  kind: "CAUGHT_UP" | "RESET" | "MESSAGE_SENT" | "MESSAGE_UPDATED" | "MESSAGE_DELETED" | "RECEIPT" | "USER_CHANGED";
  cursor: string;
  at: string;
  messageId: string | null;
  message: Message | null;
  conversation: Row | null;
  user: Person | null;
}

export const SIGNALS = `subscription Signals($me: ID!, $conversation: ID) {
  signals(userId: $me, conversationId: $conversation) { kind conversationId expiresAt user { ...Person } }
} ${PERSON}`;
export interface Signal {
  kind: "TYPING" | "STOPPED_TYPING" | "ONLINE" | "OFFLINE";
  conversationId: string | null;
  expiresAt: string | null;
  user: Person;
}

/** Every change is answered by a payload, with what went wrong in `userErrors`. */
export interface Payload {
  userErrors: { code: string; message: string }[];
}

const CHANGED = `message { ...Message conversation { ...Row } } userErrors { code message }`;
export interface Changed extends Payload {
  message: (Message & { conversation: Row }) | null;
}

export const SEND = `mutation Send($me: ID!, $peer: ID!, $content: String!, $clientId: String!, $replyTo: ID) {
  sendMessage(
    input: { senderId: $me, receiverId: $peer, content: $content, clientId: $clientId, replyToId: $replyTo }
  ) { ${CHANGED} }
} ${ROW}`;

export const EDIT = `mutation Edit($me: ID!, $id: ID!, $content: String!, $version: Int!) {
  updateMessage(id: $id, input: { content: $content, expectedVersion: $version }) { ${CHANGED} }
} ${ROW}`;

/** The message as it is now, after an edit that came too late. */
export const REREAD = `query Reread($me: ID!, $id: ID!) { message(id: $id) { ...Message conversation { ...Row } } } ${ROW}`;

export const DELETE = `mutation Delete($id: ID!) {
  deleteMessage(id: $id) { deletedId userErrors { code message } }
}`;

export const MARK_DELIVERED = `mutation MarkDelivered($me: ID!, $message: ID!) {
  markDelivered(userId: $me, messageId: $message) { conversation { ...Row } userErrors { code message } }
} ${ROW}`;

export const MARK_READ = `mutation MarkRead($me: ID!, $message: ID!) {
  markRead(userId: $me, messageId: $message) { conversation { ...Row } userErrors { code message } }
} ${ROW}`;
export interface Marked extends Payload {
  conversation: Row | null;
}

export const SET_TYPING = `mutation SetTyping($me: ID!, $conversation: ID!, $typing: Boolean!) {
  setTyping(userId: $me, conversationId: $conversation, typing: $typing) { userErrors { code message } }
}`;

export const CREATE_USER = `mutation CreateUser($name: String!, $email: String!) {
  createUser(input: { name: $name, email: $email }) { user { ...Person } userErrors { code message } }
} ${PERSON}`;
export interface Created extends Payload {
  user: Person | null;
}

const SIGNED_IN = `viewer { user { name } } accessToken refreshToken userErrors { code message }`;

export const SIGN_UP = `mutation SignUp($name: String!, $email: String!, $password: String!, $device: String!) {
  signUp(input: { name: $name, email: $email, password: $password, device: $device }) { ${SIGNED_IN} }
}`;

export const SIGN_IN = `mutation SignIn($email: String!, $password: String!, $device: String!) {
  signIn(input: { email: $email, password: $password, device: $device }) { ${SIGNED_IN} }
}`;

export const ACCOUNT = `query Account {
  me {
    user { email }
    sessions { id device lastUsedAt current }
    blockedUsers(first: 100) { nodes { ...Person } }
  }
} ${PERSON}`;
export interface Account {
  me: {
    user: { email: string };
    sessions: { id: string; device: string | null; lastUsedAt: string; current: boolean }[];
    blockedUsers: { nodes: Person[] };
  } | null;
}

export const CHANGE_PASSWORD = `mutation ChangePassword($me: ID!, $password: String!) {
  updateUser(id: $me, input: { password: $password }) { userErrors { code message } }
}`;

export const SIGN_OUT = `mutation SignOut($session: ID!) {
  signOut(sessionId: $session) { userErrors { code message } }
}`;

export const BLOCK = `mutation Block($id: ID!) { blockUser(id: $id) { userErrors { code message } } }`;

export const UNBLOCK = `mutation Unblock($id: ID!) { unblockUser(id: $id) { userErrors { code message } } }`;

export const RENEW_CONNECTION = `mutation RenewConnection($token: String!) {
  renewConnection(accessToken: $token) { expiresAt userErrors { code message } }
}`;
