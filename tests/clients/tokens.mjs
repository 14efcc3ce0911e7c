// Somebody who has signed in keeps their tokens fresh, in two tabs and on a socket, until they sign out.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { RETRY_WAIT, url } from "./server.mjs";
import { Session } from "./session.mjs";

const DEADLINE = 20_000;
const SIGN_UP = `mutation ($input: SignUpInput!) {
  signUp(input: $input) { accessToken accessTokenExpiresAt refreshToken userErrors { code message } }
}`;
const ME = "{ me { user { name } } }";
const SIGN_OUT = "mutation { signOut { sessionId userErrors { code } } }";
const FEED = "subscription ($after: String) { feed(after: $after) { kind cursor } }";
const RENEW = `mutation ($token: String!) {
  renewConnection(accessToken: $token) { expiresAt userErrors { code message } }
}`;

let asked = 0;
async function ask(query, variables, token) {
  asked++;
  const authorization = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(url, {
    method: "POST",
    signal: AbortSignal.timeout(DEADLINE),
    headers: { ...authorization, "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(errors[0].extensions.code);
  return data;
}

// What a browser has for all tabs.
const values = new Map();
const store = {
  getItem: (key) => values.get(key) ?? null,
  setItem: (key, value) => values.set(key, value),
  removeItem: (key) => values.delete(key),
};
let last = Promise.resolve();
const locks = { request: (_name, work) => (last = last.catch(() => {}).then(work)) };
const SIGNED_OUT = "signed out";

async function tabs_refresh_once() {
  const [one, other] = [new Session(ask, store, locks), new Session(ask, store, locks)];
  const input = { name: "Ada", email: "ada@example.com", password: "correct horse battery" };
  one.keep((await ask(SIGN_UP, { input })).signUp);
  const first = await other.token();
  assert.equal(await one.token(), first);

  one.distrust();
  asked = 0;
  const tokens = await Promise.all([one.token(), other.token(), one.token(), other.token()]);
  assert.equal(asked, 1);
  assert.equal(new Set(tokens).size, 1);
  assert.deepEqual(await ask(ME, {}, tokens[0]), { me: { user: { name: "Ada" } } });
}

async function a_socket_is_renewed_and_ends_with_the_session() {
  let isAway = false;
  const askOrFail = (...request) => (isAway ? Promise.reject(new Error("nobody answers")) : ask(...request));
  const session = new Session(askOrFail, store, locks);
  const changes = new EventEmitter();
  const closes = [];
  const socket = createClient({
    url: url.href.replace(/^http/, "ws"),
    webSocketImpl: WebSocket,
    async connectionParams() {
      const token = await session.token();
      // Which ends what was followed: somebody has to sign in.
      if (!token) throw new Error(SIGNED_OUT);
      return { authorization: `Bearer ${token}` };
    },
    // A refresh that failed because the server was away is tried again, with everything else.
    shouldRetry: (cause) => cause.message !== SIGNED_OUT,
    retryAttempts: Infinity,
    retryWait() {
      changes.emit("retry");
      return pause(RETRY_WAIT);
    },
    on: {
      closed({ code }) {
        closes.push(code);
        if (code === 4403) session.distrust();
      },
    },
  });
  const events = [];
  let failure = null;
  const variables = { get after() { return events.at(-1)?.cursor; } };
  socket.subscribe(
    { query: FEED, variables },
    {
      next: ({ data }) => changes.emit("change", events.push(data.feed)),
      error: (error) => changes.emit("change", (failure = error)),
      complete() {},
    },
  );
  while (!events.length) await once(changes, "change");

  // In time before the end of the token; the mutation goes by the socket that it is for.
  session.distrust();
  const renewal = socket.iterate({ query: RENEW, variables: { token: await session.token() } });
  const { value } = await renewal.next();
  assert.deepEqual(value.data.renewConnection.userErrors, []);
  assert.ok(Date.parse(value.data.renewConnection.expiresAt) > Date.now());
  assert.deepEqual([events.map(({ kind }) => kind), closes], [["CAUGHT_UP"], []]);

  // The connection breaks, and at first there is no new token for it.
  session.distrust();
  isAway = true;
  const failed = once(changes, "retry");
  socket.terminate();
  await failed;
  isAway = false;
  while (events.length < 2) await once(changes, "change");
  assert.equal(failure, null);

  await ask(SIGN_OUT, {}, await session.token());
  while (!failure) await once(changes, "change");
  assert.ok(closes.includes(4403), `${closes}`);
  assert.equal(await session.token(), null);
}

for (const scenario of [tabs_refresh_once, a_socket_is_renewed_and_ends_with_the_session]) {
  const deadline = pause(DEADLINE, null, { ref: false }).then(() => {
    throw new Error("not done in time");
  });
  try {
    await Promise.race([scenario(), deadline]);
    console.log(`ok ${scenario.name}`);
  } catch (error) {
    console.log(`failed ${scenario.name}: ${String(error?.stack ?? error).replaceAll("\n", " ")}`);
    process.exitCode = 1;
  }
}
process.exit();
