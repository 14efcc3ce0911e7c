// Ada writes to Bob, each line that you type; both follow their conversation, across lost connections. A line such as
// `/search early flight` is not sent: it finds what was said.
//
//   npm ci && npm run generate
//   npm start -- http://127.0.0.1:8000/graphql [COUNT]
//
// It ends with Ctrl+C, or when Bob has heard COUNT messages. Where people sign in, DUOLOGUE_ADA and DUOLOGUE_BOB are their
// accounts, EMAIL:PASSWORD, which are made if they are not there; or DUOLOGUE_TOKEN is a service token.
// DUOLOGUE_TRUSTED_DOCUMENTS=1 is for a server with `--trusted-documents src/gql/persisted-documents.json`.
import { createInterface } from "node:readline";
import type { Client } from "@urql/core";
import { connect, retrying } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Create, Find, Search } from "./documents.js";
import type { MessagePartsFragment as Message } from "./gql/graphql.js";
import { Session, signIn } from "./session.js";

process.on("uncaughtException", ({ message }) => {
  console.error(message);
  process.exit(1);
});

async function user(client: Client, name: string, email: string): Promise<string> {
  const { createUser } = await retrying(() => client.mutation(Create, { input: { name, email } }));
  if (createUser.user) return createUser.user.id;
  const [problem] = createUser.userErrors;
  if (problem?.code !== "EMAIL_TAKEN") throw new Error(problem?.message);
  // `search` matches prefixes.
  const { users } = await retrying(() => client.query(Find, { search: email }, { requestPolicy: "network-only" }));
  const found = users.nodes.find((user) => user.email === email);
  if (!found) throw new Error("the address is taken, but not for you to see");
  return found.id;
}

/** The connection of a user to the server, and the id of the user. */
async function begin(url: string, name: string) {
  const trusted = "DUOLOGUE_TRUSTED_DOCUMENTS" in process.env;
  const account = process.env[`DUOLOGUE_${name.toUpperCase()}`];
  if (!account) {
    const its = connect(url, new Session(undefined, process.env.DUOLOGUE_TOKEN), trusted);
    return { ...its, me: await user(its.client, name, `${name.toLowerCase()}@example.com`) };
  }
  const [email = "", ...rest] = account.split(":");
  const anonymous = connect(url, new Session(), trusted);
  const { session, me } = await signIn(anonymous.client, name, email, rest.join(":"));
  return { ...connect(url, session, trusted), me };
}

/** Searches the messages that a user has sent and received, the best match first. */
async function search(client: Client, me: string, text: string): Promise<void> {
  const options = { requestPolicy: "network-only" } as const;
  const { searchMessages } = await retrying(() => client.query(Search, { me, text }, options));
  for (const { snippet, node } of searchMessages.edges) {
    console.log(`FOUND ${node.id} ${node.sender?.name ?? "(erased)"}: ${snippet}`);
  }
  if (searchMessages.pending) console.log(`${searchMessages.pending} messages are not indexed yet`);
}

const line = ({ id, sender, content }: Message) => `${id} ${sender?.name ?? "(erased)"}: ${content}`;
const [url, count = "Infinity"] = process.argv.slice(2);
if (!url) throw new Error("say where the server is: npm start -- http://127.0.0.1:8000/graphql [COUNT]");

const ada = await begin(url, "Ada");
const bob = await begin(url, "Bob");

let left = Number(count);
let enough = () => {};
const heardEnough = new Promise<void>((resolve) => (enough = resolve));
const failed = (problem: string) => console.log(`FAILED ${problem}`);

const atBob = new Conversation(bob.client, bob.me, ada.me, {
  loaded: (messages) => messages.forEach((message) => console.log(line(message))),
  heard({ kind, messageId, message }) {
    console.log([kind, message ? line(message) : messageId].filter(Boolean).join(" "));
    if (kind === "MESSAGE_SENT" && --left === 0) enough();
  },
  failed,
});
const atAda = new Conversation(ada.client, ada.me, bob.me, {
  sending: (content) => console.log(`Ada sends ${content}`),
  sent: (message) => console.log(`Ada has sent ${message.content}`),
  failed,
});
await atBob.open();
await atAda.open();

let sends: Promise<unknown> = Promise.resolve();
createInterface({ input: process.stdin }).on("line", (content) => {
  const [, text] = content.match(/^\/search (.+)/) ?? [];
  // After earlier sends, so that it finds them.
  if (text) sends = sends.then(() => search(ada.client, ada.me, text)).catch(({ message }: Error) => failed(message));
  else sends = atAda.send(content);
});

await heardEnough;
await sends;
atAda.close();
atBob.close();
ada.stop();
bob.stop();
process.exit();
