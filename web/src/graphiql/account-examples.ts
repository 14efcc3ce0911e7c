// The tabs that a new reader finds where people sign in.
import { type Example, find, json, numbered, schema } from "./example";

const signUp: Example = {
  query: `# Create an account: press the play button or Ctrl+Enter. From then on this page sends your token with all that you run, and renews it. For somebody to talk to, open a private window and sign up there with another name and email. This browser keeps what is in a tab: for a password that matters take the button "Sign in", above.
mutation SignUp($input: SignUpInput!) {
  signUp(input: $input) {
    viewer { user { id name } }
    accessToken
    accessTokenExpiresAt
    refreshToken
    userErrors { code message field }
  }
}
`,
  variables: json({ input: { name: "Ada", email: "ada@example.com", password: "correct horse battery" } }),
};

const signIn: Example = {
  query: `# Or come back to an account that you have.
mutation SignIn($input: SignInInput!) {
  signIn(input: $input) {
    viewer { user { id name } unreadCount }
    accessToken
    accessTokenExpiresAt
    refreshToken
    userErrors { code message field }
  }
}
`,
  variables: json({ input: { email: "ada@example.com", password: "correct horse battery" } }),
};

interface Someone {
  id: string;
}

const people: Example = {
  query: `# Who you are, and who else is there. The id of the first of them is filled into the next tabs.
query People {
  me {
    user { id name email }
    sessions { id device current }
  }
  users {
    nodes { id name presence { online } }
  }
}
`,
  variables: "",
  learn: ({ me, users }) => ({ friend: me && users.nodes.find(({ id }: Someone) => id !== me.user.id)?.id }),
};

const write: Example = {
  query: `# Write to somebody: put their id below, if another than the one that is there. You are the sender. For another message change the clientId too.
mutation Write($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message {
      id
      content
      sender { name }
      receiver { name }
      conversation { id }
    }
    duplicate
    userErrors { code message field }
  }
}
`,
  variables: json({ input: { receiverId: "usr_2", content: "Shall we start at ten?", clientId: "1" } }),
  places: { "input.receiverId": "friend" },
  learn: ({ sendMessage: { message } }) => ({ hello: message?.id, conversation: message?.conversation.id }),
};

const inbox: Example = {
  query: `# The first screen of a chat: your conversations, the most recently active first, each with the other person, the newest messages and how many are unread. feedCursor is where Watch, the last tab, goes on from: give it as after.
query Inbox($first: Int, $after: String) {
  me {
    unreadCount
    user {
      id
      conversations(first: $first, after: $after) {
        nodes {
          id
          peer { id name presence { online } }
          unreadCount
          messages(last: 5) {
            nodes { id content createdAt sender { id name } }
          }
        }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
  feedCursor
}
`,
  variables: json({ first: 10, after: null }),
  learn({ me }) {
    const [newest] = me?.user.conversations.nodes ?? [];
    const isReceived = ({ sender }: { sender: Someone | null }) => sender?.id !== me.user.id;
    const received = newest?.messages.nodes.findLast(isReceived);
    return { received: received?.id, conversation: newest?.id };
  },
};

const read: Example = {
  query: `# You have read everything up to this message: put the id of one that you received below, if another than the one that Inbox has filled in.
mutation Read($message: ID!) {
  markRead(messageId: $message) {
    conversation {
      id
      unreadCount
      members { user { name } readThrough { messageId at } }
    }
    userErrors { code message field }
  }
}
`,
  variables: json({ message: "msg_1" }),
  places: { message: "received" },
};

const type: Example = {
  query: `# You are typing. Clients say so every 3 seconds; it ends by itself after 6. The other side hears it with subscription { signals { kind user { name } } }, which tells who is online, too.
mutation Type($conversation: ID!) {
  setTyping(conversationId: $conversation) {
    ok
    userErrors { code message field }
  }
}
`,
  variables: json({ conversation: "cnv_1_2" }),
  places: { conversation: "conversation" },
};

const edit: Example = {
  query: `# Change what you wrote: the id is that of your last message from Write.
mutation Edit($id: ID!, $input: UpdateMessageInput!) {
  updateMessage(id: $id, input: $input) {
    message { id content version editedAt }
    userErrors { code message field }
  }
}
`,
  variables: json({ id: "msg_1", input: { content: "Shall we start at eleven?", expectedVersion: 1 } }),
  places: { id: "hello" },
};

const remove: Example = {
  query: `# Delete what you wrote, for both of you. Lists skip it, and the feed announces it.
mutation Delete($id: ID!) {
  deleteMessage(id: $id) {
    deletedId
    userErrors { code message field }
  }
}
`,
  variables: json({ id: "msg_1" }),
  places: { id: "hello" },
};

const watch: Example = {
  query: `# Watch your conversations. In the panel "Live feed", at the left, choose "Run this tab's subscription here": it goes on while you work in the other tabs, and while somebody writes to you from another window.
subscription Watch($after: String) {
  feed(after: $after) {
    kind
    cursor
    message { id content sender { name } }
  }
}
`,
  variables: "",
};

export const accountExamples = numbered({
  SignUp: signUp,
  SignIn: signIn,
  People: people,
  Write: write,
  Inbox: inbox,
  Read: read,
  Type: type,
  Edit: edit,
  Find: find({ text: "eleven", mode: "HYBRID" }),
  Delete: remove,
  Schema: schema,
  Watch: watch,
});
