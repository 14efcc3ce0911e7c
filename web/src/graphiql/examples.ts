// The tabs that a new reader finds: two people meet, talk and watch each other's messages arrive.

const json = (value: unknown) => JSON.stringify(value, null, 2);

const create = {
  query: `# 1. Make two people: press the play button
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
  query: `# 2. Ada writes to Bob.
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
  query: `# 3. Bob answers. replyToId says which message he
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
  query: `# 4. Read what they said: the newest 50 messages,
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
  query: `# 5. Ada changes her message; its version becomes 2.
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

const watch = {
  query: `# 6. Watch Bob's conversations: press play and stay
#    on this tab. Open this page in a second window,
#    go to Send, change content and clientId and run
#    it: the message arrives here. Edits do too.
#    Another tab in this window ends the watch. To get
#    what you missed, start again with
#    feed(userId: $user, after: "your last cursor").
subscription Watch($user: ID!) {
  feed(userId: $user) {
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

export const examples = [create, send, reply, page, edit, watch] as const;

const signUp = {
  query: `# 1. Make an account: press the play button or
#    Ctrl+Enter. From then on this page sends your
#    token with all that you run, and renews it.
#    For somebody to talk to, open a private window
#    and sign up there with another name and email.
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
  query: `# 2. Or come back to an account that you have.
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
  query: `# 3. Who you are, and who else is there.
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
  query: `# 4. Write to somebody: put their id below. You are
#    the sender.
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

const listen = {
  query: `# 5. Watch your conversations: press play and stay on
#    this tab, while somebody writes to you from
#    another window.
subscription Watch {
  feed {
    kind
    cursor
    message { id content sender { name } }
  }
}
`,
  variables: "",
};

/** Where people sign in. */
export const signedInExamples = [signUp, signIn, people, write, listen] as const;
