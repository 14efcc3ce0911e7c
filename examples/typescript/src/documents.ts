// All that is asked of the server. `npm run generate` checks it against the schema and writes the types to src/gql.
import { graphql } from "./gql/index.js";

export const Create = graphql(`
  mutation Create($input: CreateUserInput!) {
    createUser(input: $input) { user { id name } userErrors { code message } }
  }
`);

export const Find = graphql(`
  query Find($search: String!) {
    users(search: $search) { nodes { id name email } }
  }
`);

export const SignIn = graphql(`
  mutation SignIn($input: SignInInput!) {
    signIn(input: $input) {
      accessToken refreshToken viewer { user { id } } userErrors { code message }
    }
  }
`);

export const SignUp = graphql(`
  mutation SignUp($input: SignUpInput!) {
    signUp(input: $input) {
      accessToken refreshToken viewer { user { id } } userErrors { code message }
    }
  }
`);

export const Refresh = graphql(`
  mutation Refresh($token: String!) {
    refreshSession(refreshToken: $token) {
      accessToken refreshToken userErrors { code message }
    }
  }
`);

/** What is shown of a message; `clientId` is null for all but its sender. */
export const MessageParts = graphql(`
  fragment MessageParts on Message { id clientId content version createdAt sender { id name } }
`);

/** What is shown, and where its feed stands: the cursor is never newer than the messages. */
export const Open = graphql(`
  query Open($me: ID!, $other: ID!) {
    conversation(user1: $me, user2: $other) { id messages(last: 50) { nodes { ...MessageParts } } }
    feedCursor(userId: $me)
  }
`);

export const Feed = graphql(`
  subscription Feed($me: ID!, $conversation: ID!, $after: String) {
    feed(userId: $me, conversationId: $conversation, after: $after) {
      kind cursor messageId message { ...MessageParts }
    }
  }
`);

export const Send = graphql(`
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) { message { ...MessageParts } duplicate userErrors { code message } }
  }
`);

/** The best first. In a snippet what was found stands between `**`. */
export const Search = graphql(`
  query Search($me: ID!, $text: String!) {
    searchMessages(input: { userId: $me, text: $text }, first: 10) {
      edges { snippet node { id sender { name } } }
      pending
    }
  }
`);
