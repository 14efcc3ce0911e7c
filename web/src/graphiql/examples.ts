// The tabs that a new reader finds: two people meet, talk and watch each other's messages arrive.

interface Example {
  /** Begins with a comment that says what to do. */
  query: string;
  variables: string;
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

const numbered = (...examples: Example[]) =>
  examples.map(({ query, variables }, i) => ({ query: query.replace("# ", `# ${i + 1}. `), variables }));

const create = {
  query: `# Make two people: press the play button
#    or Ctrl+Enter. On a new server they become usr_1
#    and usr_2, the ids in the next tabs.
#    Run it again: nothing is made, and userErrors
#    says why.
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
};

const send = {
  query: `# Ada writes to Bob.
#    Run it again, as a client does when the answer
#    got lost: the clientId is the same, so you get
#    the first message back, and duplicate is true.
#    To send another, change content and clientId
#    below.
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message {
      id
      content
      createdAt
      sender { name }
      receiver { name }
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
};

const reply = {
  query: `# Bob answers. replyToId says which message he
#    answers: msg_1 is Ada's.
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
};

const page = {
  query: `# Read what they said: the newest 50 messages,
#    oldest first.
#    To page back, set last to 1 and run it, then
#    copy startCursor into before and run it again,
#    for as long as hasPreviousPage is true.
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
};

const edit = {
  query: `# Ada changes her message; its version becomes 2.
#    Run it again: it was edited since version 1,
#    so nothing is changed, and userErrors says
#    VERSION_CONFLICT.
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
};

const find = (input: object): Example => ({
  query: `# Find what was said, the best first. In a snippet
#    the words that were found stand between **.
#    mode is TEXT for words, SEMANTIC for meaning,
#    HYBRID for both; the answer says what was used:
#    without a model there are only words.
#    Add "order": "NEWEST", or "since" and a time, to
#    input. For the next page, copy endCursor into after.
query Find(
  $input: SearchMessagesInput!
  $first: Int
  $after: String
) {
  searchMessages(
    input: $input
    first: $first
    after: $after
  ) {
    edges {
      score
      snippet
      node { id createdAt sender { name } }
    }
    pageInfo { hasNextPage endCursor }
    mode
    pending
  }
}
`,
  variables: json({ input, first: 20, after: null }),
});

const search = {
  query: `# Search the schema: what can be changed, and what
#    each change is for. Or open the docs, at the left,
#    and type a word into their search, such as read.
query Search {
  __schema {
    mutationType {
      fields { name description }
    }
  }
}
`,
  variables: "",
};

const watch = {
  query: `# Watch Bob's conversations. In the panel "Live
#    feed", at the left, choose "Run this tab's
#    subscription here": it goes on while you go back
#    to Send, change content and clientId and run it.
#    Edits arrive too, and so does what others send,
#    from another window or program. (With the play
#    button a subscription ends when you leave its tab.)
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
};

export const examples = numbered(
  create,
  send,
  reply,
  page,
  edit,
  find({ userId: "usr_2", text: "eleven", mode: "HYBRID" }),
  search,
  watch,
);

const signUp = {
  query: `# Make an account: press the play button or
#    Ctrl+Enter. From then on this page sends your
#    token with all that you run, and renews it.
#    For somebody to talk to, open a private window
#    and sign up there with another name and email.
#    This browser keeps what is in a tab: for a password
#    that matters take the button "Sign in", above.
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

const signIn = {
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

const people = {
  query: `# Who you are, and who else is there.
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
};

const write = {
  query: `# Write to somebody: put their id below. You are
#    the sender. For another message change the
#    clientId too.
mutation Write($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message { id content sender { name } receiver { name } }
    duplicate
    userErrors { code message field }
  }
}
`,
  variables: json({ input: { receiverId: "usr_2", content: "Shall we start at ten?", clientId: "1" } }),
};

const read = {
  query: `# Read your conversations, most recently active
#    first, and the newest messages of each.
query Read {
  me {
    unreadCount
    user {
      conversations(first: 10) {
        nodes {
          id
          members { user { name } readThrough { messageId } }
          messages(last: 5) {
            nodes { id content createdAt sender { name } }
          }
        }
      }
    }
  }
}
`,
  variables: "",
};

const change = {
  query: `# Change what you wrote: put the id of a message
#    of yours below.
mutation Edit($id: ID!, $input: UpdateMessageInput!) {
  updateMessage(id: $id, input: $input) {
    message { id content version editedAt }
    userErrors { code message field }
  }
}
`,
  variables: json({ id: "msg_1", input: { content: "Shall we start at eleven?", expectedVersion: 1 } }),
};

const listen = {
  query: `# Watch your conversations. In the panel "Live
#    feed", at the left, choose "Run this tab's
#    subscription here": it goes on while you work in
#    the other tabs, and while somebody writes to you
#    from another window.
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

/** Where people sign in. */
export const signedInExamples = numbered(
  signUp,
  signIn,
  people,
  write,
  read,
  change,
  find({ text: "eleven", mode: "HYBRID" }),
  search,
  listen,
);
