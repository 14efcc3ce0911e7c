// All that is asked of the server. `npm run generate` checks it against the schema and writes the types to src/gql.
// Where people sign in, `$me` may be left out; who passes their own id can use the same documents on an open server.
import { graphql } from "./gql";

export const Server = graphql(`
  query Server { server { features maxContentLength } }
`);

export const SignIn = graphql(`
  mutation SignIn($input: SignInInput!) {
    signIn(input: $input) { accessToken refreshToken viewer { user { id } } userErrors { message } }
  }
`);

export const SignUp = graphql(`
  mutation SignUp($input: SignUpInput!) {
    signUp(input: $input) { accessToken refreshToken viewer { user { id } } userErrors { message } }
  }
`);

export const Refresh = graphql(`
  mutation Refresh($token: String!) {
    refreshSession(refreshToken: $token) { accessToken refreshToken userErrors { message } }
  }
`);

export const SignOut = graphql(`
  mutation SignOut { signOut { sessionId userErrors { message } } }
`);

export const Renew = graphql(`
  mutation Renew($token: String!) { renewConnection(accessToken: $token) { expiresAt userErrors { message } } }
`);

export const Create = graphql(`
  mutation Create($input: CreateUserInput!) { createUser(input: $input) { user { id } userErrors { message } } }
`);

export const People = graphql(`
  query People($search: String!) { users(search: $search, first: 20) { nodes { id name } } }
`);

/** What is shown of a message; `clientId` is null for all but its sender. */
export const MessageParts = graphql(`
  fragment MessageParts on Message { id clientId content createdAt editedAt status sender { id } }
`);

/** A line of the inbox. */
export const Row = graphql(`
  fragment Row on Conversation {
    id
    unreadCount(userId: $me)
    peer(of: $me) { id name }
    lastMessage { ...MessageParts }
  }
`);

export const MessagePage = graphql(`
  fragment MessagePage on MessageConnection { nodes { ...MessageParts } pageInfo { hasPreviousPage startCursor } }
`);

/** All that is shown, and where its feed stands: the cursor is never newer than the rest. */
export const Load = graphql(`
  query Load($me: ID!, $first: Int!, $open: ID!, $isOpen: Boolean!) {
    user(id: $me) {
      name
      conversations(first: $first) { nodes { ...Row } pageInfo { hasNextPage endCursor } }
    }
    node(id: $open) @include(if: $isOpen) {
      __typename
      ... on Conversation { ...Row messages(last: 50) { ...MessagePage } }
    }
    feedCursor(userId: $me)
  }
`);

/** Of all conversations: each event brings its line of the inbox as it is now. */
export const Feed = graphql(`
  subscription Feed($me: ID!, $after: String) {
    feed(userId: $me, after: $after) {
      kind cursor messageId message { ...MessageParts } conversation { ...Row } user { id }
    }
  }
`);

export const Earlier = graphql(`
  query Earlier($conversation: ID!, $before: String!) {
    node(id: $conversation) { __typename ... on Conversation { messages(last: 50, before: $before) { ...MessagePage } } }
  }
`);

export const More = graphql(`
  query More($me: ID!, $after: String!) {
    user(id: $me) { conversations(first: 30, after: $after) { nodes { ...Row } pageInfo { hasNextPage endCursor } } }
  }
`);

/** There is a conversation for every pair, also before the first message. */
export const Between = graphql(`
  query Between($me: ID!, $other: ID!) { conversation(user1: $me, user2: $other) { id } }
`);

export const Send = graphql(`
  mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { message { id } duplicate userErrors { message } } }
`);

export const MarkRead = graphql(`
  mutation MarkRead($me: ID!, $newest: ID!) { markRead(messageId: $newest, userId: $me) { userErrors { message } } }
`);

export const MarkDelivered = graphql(`
  mutation MarkDelivered($me: ID!, $newest: ID!) {
    markDelivered(messageId: $newest, userId: $me) { userErrors { message } }
  }
`);
