// What a tab with an example is, and those that are the same on every server.

/** What the examples are about: people, messages and conversations, whose ids differ from server to server. */
export type Role = "ada" | "bob" | "friend" | "hello" | "answer" | "received" | "conversation";
export type Ids = Partial<Record<Role, string | null>>;

export interface Example {
  /** Begins with a comment in one line, which the editor wraps, that says what to do. */
  query: string;
  variables: string;
  /** Where in the variables an id stands, such as `input.senderId`, and whose it is. */
  places?: Record<string, Role>;
  /** The ids that an answer tells. */
  learn?: (data: any, variables: any) => Ids | Promise<Ids>;
}

export const json = (value: unknown) => JSON.stringify(value, null, 2);

/** By their operations, which give the tabs their names; the comments get their numbers. */
export const numbered = (examples: Record<string, Example>) =>
  Object.fromEntries(
    Object.entries(examples).map(([name, example], i) => {
      return [name, { ...example, query: example.query.replace("# ", `# ${i + 1}. `) }];
    }),
  );

export const find = (input: object, places: Example["places"] = {}): Example => ({
  query: `# Find what was said, the best first. In a snippet the words that were found stand between **. mode is TEXT for words, SEMANTIC for meaning, HYBRID for both; the answer says what was used: without a model there are only words. Add "order": "NEWEST", or "since" and a time, to input. For the next page, copy endCursor into after.
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
  places,
});

export const schema: Example = {
  query: `# Ask the server what it can do: here, what can be changed, and what each change is for. Or open the docs, at the left, and type a word into their search, such as read.
query Schema {
  __schema {
    mutationType {
      fields { name description }
    }
  }
}
`,
  variables: "",
};
