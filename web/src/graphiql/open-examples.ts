// The tabs that a new reader finds where nobody signs in: two people meet, talk and watch each other's messages arrive.
import { postGraphQL } from "../request";
import { authorizedFetch } from "../session";
import { type Example, find, json, numbered, schema } from "./example";

const create: Example = {
  query: `# Make two people: press the play button or Ctrl+Enter. Their ids, and those of what they write, are filled into the next tabs. Run it again: nothing is made, and userErrors says why.
mutation Create(
  $ada: CreateUserInput!
  $bob: CreateUserInput!
) {
  ada: createUser(input: $ada) {
    user { id name }
    userErrors { code message field }
  }
  bob: createUser(input: $bob) {
    user { id name }
    userErrors { code message field }
  }
}
`,
  variables: json({
    ada: { name: "Ada", email: "ada@example.com" },
    bob: { name: "Bob", email: "bob@example.com" },
  }),
  async learn({ ada, bob }, variables) {
    return {
      ada: ada.user?.id ?? (await idOf(variables.ada.email)),
      bob: bob.user?.id ?? (await idOf(variables.bob.email)),
    };
  },
};

/** Who has an address: they are there already, from another time. */
async function idOf(email: string): Promise<string | null> {
  const query = "query ($email: String!) { users(search: $email, first: 10) { nodes { id email } } }";
  const { data } = await (await postGraphQL(query, { email }, { fetch: authorizedFetch })).json();
  const users: { id: string; email: string }[] = data?.users.nodes ?? [];
  return users.find((user) => user.email.toLowerCase() === email.trim().toLowerCase())?.id ?? null;
}

const send: Example = {
  query: `# Ada writes to Bob. Run it again, as a client does when the answer got lost: the clientId is the same, so you get the first message back, and duplicate is true. To send another, change content and clientId below.
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message {
      id
      content
      createdAt
      sender { name }
      receiver { name }
      conversation { id }
    }
    duplicate
    userErrors { code message field }
  }
}
`,
  variables: json({
    input: {
      senderId: "usr_1",
      receiverId: "usr_2",
      content: "Hello Bob, shall we start at ten?",
      clientId: "ada-1",
    },
  }),
  places: { "input.senderId": "ada", "input.receiverId": "bob" },
  learn: ({ sendMessage: { message } }) => ({ hello: message?.id, conversation: message?.conversation.id }),
};

const reply: Example = {
  query: `# Bob answers. replyToId says which message he answers: Ada's.
mutation Reply($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message {
      id
      content
      sender { name }
      replyTo { id content }
    }
    duplicate
    userErrors { code message field }
  }
}
`,
  variables: json({
    input: {
      senderId: "usr_2",
      receiverId: "usr_1",
      content: "Ten is fine, Ada.",
      replyToId: "msg_1",
      clientId: "bob-1",
    },
  }),
  places: { "input.senderId": "bob", "input.receiverId": "ada", "input.replyToId": "hello" },
  learn: ({ sendMessage: { message } }) => ({ answer: message?.id }),
};

const page: Example = {
  query: `# Read what they said: the newest 50 messages, oldest first. To page back, set last to 1 and run it, then copy startCursor into before and run it again, for as long as hasPreviousPage is true.
query Page(
  $user1: ID!
  $user2: ID!
  $last: Int
  $before: String
) {
  conversation(user1: $user1, user2: $user2) {
    id
    messages(last: $last, before: $before) {
      nodes {
        id
        content
        createdAt
        sender { name }
        replyTo { id }
      }
      pageInfo {
        hasPreviousPage
        hasNextPage
        startCursor
        endCursor
      }
    }
  }
}
`,
  variables: json({ user1: "usr_1", user2: "usr_2", last: 50, before: null }),
  places: { user1: "ada", user2: "bob" },
};

const inbox: Example = {
  query: `# The first screen of a chat: Bob's conversations, the most recently active first, each with the other person, the last message and how many are unread. feedCursor is where Watch, the last tab, goes on from: give it as after.
query Inbox($user: ID!, $first: Int, $after: String) {
  user(id: $user) {
    conversations(first: $first, after: $after) {
      nodes {
        id
        peer(of: $user) { id name presence { online } }
        lastMessage { content createdAt sender { name } }
        unreadCount(userId: $user)
      }
      pageInfo { hasNextPage endCursor }
    }
  }
  feedCursor(userId: $user)
}
`,
  variables: json({ user: "usr_2", first: 20, after: null }),
  places: { user: "bob" },
};

const read: Example = {
  query: `# Bob has read everything up to this message. Ada sees it: the message's status becomes READ. Run Inbox again: it is unread no more.
mutation Read($message: ID!, $user: ID) {
  markRead(messageId: $message, userId: $user) {
    conversation {
      id
      unreadCount(userId: $user)
      members { user { name } readThrough { messageId at } }
    }
    userErrors { code message field }
  }
}
`,
  variables: json({ message: "msg_1", user: "usr_2" }),
  places: { message: "hello", user: "bob" },
};

const type: Example = {
  query: `# Bob is typing. Clients say so every 3 seconds; it ends by itself after 6. Ada hears it with subscription { signals(userId: …) { kind user { name } } }, which tells who is online, too.
mutation Type($conversation: ID!, $user: ID) {
  setTyping(conversationId: $conversation, userId: $user) {
    ok
    userErrors { code message field }
  }
}
`,
  variables: json({ conversation: "cnv_1_2", user: "usr_2" }),
  places: { conversation: "conversation", user: "bob" },
};

const edit: Example = {
  query: `# Ada changes her message; its version becomes 2. Run it again: it was edited since version 1, so nothing is changed, and userErrors says VERSION_CONFLICT.
mutation Edit($id: ID!, $input: UpdateMessageInput!) {
  updateMessage(id: $id, input: $input) {
    message { id content version editedAt }
    userErrors { code message field }
  }
}
`,
  variables: json({
    id: "msg_1",
    input: { content: "Hello Bob, shall we start at eleven?", expectedVersion: 1 },
  }),
  places: { id: "hello" },
};

const remove: Example = {
  query: `# Delete Bob's answer, for both of them. Lists skip it, and the feed announces it.
mutation Delete($id: ID!) {
  deleteMessage(id: $id) {
    deletedId
    userErrors { code message field }
  }
}
`,
  variables: json({ id: "msg_2" }),
  places: { id: "answer" },
};

const watch: Example = {
  query: `# Watch Bob's conversations. In the panel "Live feed", at the left, choose "Run this tab's subscription here": it goes on while you go back to Send, change content and clientId and run it. Edits arrive too, and so does what others send, from another window or program. (With the play button a subscription ends when you leave its tab.)
subscription Watch($user: ID!, $after: String) {
  feed(userId: $user, after: $after) {
    kind
    cursor
    at
    message {
      id
      content
      sender { name }
    }
  }
}
`,
  variables: json({ user: "usr_2" }),
  places: { user: "bob" },
};

export const openExamples = numbered({
  Create: create,
  Send: send,
  Reply: reply,
  Page: page,
  Inbox: inbox,
  Read: read,
  Type: type,
  Edit: edit,
  Find: find({ userId: "usr_2", text: "eleven", mode: "HYBRID" }, { "input.userId": "bob" }),
  Delete: remove,
  Schema: schema,
  Watch: watch,
});
