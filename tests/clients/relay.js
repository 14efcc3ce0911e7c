// What caches.mjs asks by way of Relay; relay-compiler makes __generated__ of it.
import { graphql } from "relay-runtime";

graphql`
  query relayOpenQuery($me: ID!, $other: ID!) {
    conversation(user1: $me, user2: $other) {
      id
      ...relayMessages
    }
    feedCursor(userId: $me)
  }
`;

// Relay adds the cursors and pageInfo; it reaches the conversation anew by node(id:).
graphql`
  fragment relayMessages on Conversation
  @argumentDefinitions(count: { type: "Int", defaultValue: 2 }, before: { type: "String" })
  @refetchable(queryName: "relayOlderQuery") {
    messages(last: $count, before: $before) @connection(key: "Conversation_messages") {
      edges { node { id content } }
      pageInfo { startCursor }
    }
  }
`;

graphql`
  subscription relayFeedSubscription($me: ID!, $after: String) {
    feed(userId: $me, after: $after) { kind cursor messageId conversation { id } message { id content } }
  }
`;
