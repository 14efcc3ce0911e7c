// The tokens of a user are refreshed in time, in two tabs and on a socket, until the user signs out. The example in TypeScript
// refreshes them at the same times.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { connect } from "../../examples/typescript/build/connection.js";
import { Session as Program } from "../../examples/typescript/build/session.js";
import { url, wait } from "./server.mjs";
import { Session } from "./session.mjs";

const DEADLINE = 20_000;
const MINUTE = 60_000;
const SIGN_UP = `mutation ($input: SignUpInput!) {
  signUp(input: $input) { accessToken refreshToken userErrors { code message } }
}`;
const ME = "{ me { user { name } } }";
const SIGN_OUT = "mutation { signOut { sessionId userErrors { code } } }";
const FEED = "subscription ($after: String) { feed(after: $after) { kind cursor } }";
const RENEW = `mutation ($token: String!) {
  renewConnection(accessToken: $token) { expiresAt userErrors { code message } }
}`;

let asked = 0;
const fetchUncounted = fetch;
globalThis.fetch = (...request) => {
  asked++;
  return fetchUncounted(...request);
};

async function ask(query, variables, token) {
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
const locks = { request: (_name, _options, work) => (last = last.catch(() => {}).then(work)) };

async function signUp(name) {
  const input = { name, email: `${name.toLowerCase()}@example.com`, password: "correct horse battery" };
  return (await ask(SIGN_UP, { input })).signUp;
}

async function tabs_refresh_once() {
  const [one, other] = [new Session(ask, store, locks), new Session(ask, store, locks)];
  let ada = await signUp("Ada");
  one.keep(ada);
  assert.equal(await one.token(), ada.accessToken);
  assert.equal(await other.token(), ada.accessToken);

  one.invalidate(ada.accessToken);
  asked = 0;
  const tokens = await Promise.all([one.token(), other.token(), one.token(), other.token()]);
  assert.equal(asked, 1);
  assert.equal(new Set(tokens).size, 1);
  assert.deepEqual(await ask(ME, {}, tokens[0]), { me: { user: { name: "Ada" } } });

  // Also where a tab that sleeps keeps the lock, and where an answer is lost.
  const asleep = { request: () => Promise.reject(new DOMException("It took too long.", "TimeoutError")) };
  let lost = 0;
  const loseOne = async (...request) => {
    const answer = await ask(...request);
    if (!lost++) throw new Error("nobody answers");
    return answer;
  };
  for (const session of [new Session(ask, store, asleep), new Session(loseOne, store, locks)]) {
    const before = values.get("duologue-session");
    session.invalidate(await one.token());
    assert.equal(await session.token(), await one.token());
    // An access token may be the same within a second.
    assert.notEqual(JSON.parse(values.get("duologue-session")).refreshToken, JSON.parse(before).refreshToken);
  }
  assert.equal(lost, 2);

  // A tab that slept does not send again what another one has used meanwhile: after ten seconds that would end the session.
  const awake = new Session(ask, store, asleep);
  let tries = 0;
  const failLate = async () => {
    tries++;
    await awake.token();
    throw new Error("nobody answers");
  };
  const before = await one.token();
  one.invalidate(before);
  assert.equal(await new Session(failLate, store, locks).token(), await awake.token());
  assert.equal(tries, 1);

  // Meanwhile somebody signs out in another tab, or in as somebody else: that stays.
  ada = JSON.parse(values.get("duologue-session"));
  for (const next of [null, await signUp("Bob")]) {
    one.keep(ada);
    one.invalidate(ada.accessToken);
    const askMeanwhile = async (...request) => {
      const answer = await ask(...request);
      ada = answer.refreshSession;
      if (next) other.keep(next);
      else values.clear();
      return answer;
    };
    assert.equal(await new Session(askMeanwhile, store, locks).token(), next?.accessToken ?? null);
    assert.equal(await other.token(), next?.accessToken ?? null);
  }

  const { client, stop } = connect(url.href, new Program());
  await refreshes_in_time(one, await signUp("Cleo"));
  await refreshes_in_time(new Program(client), await signUp("Dora"));
  stop();
}

/** A minute before a token of fifteen ends, by whatever clock, or when it is refused. */
async function refreshes_in_time(session, tokens) {
  session.keep(tokens);
  const { now } = Date;
  const asksAfter = async (time) => {
    Date.now = () => now() + time;
    asked = 0;
    await session.token();
    return asked;
  };
  try {
    for (const wrong of [60 * MINUTE, -60 * MINUTE, 0]) {
      Date.now = () => now() + wrong;
      session.invalidate(await session.token());
      const asks = [];
      for (const minutes of [0, 13.5, 14.5, 14.5]) asks.push(await asksAfter(wrong + minutes * MINUTE));
      assert.deepEqual(asks, [1, 0, 1, 0]);
    }
    // Late, of a token that was refreshed since.
    session.invalidate("an earlier token");
    assert.equal(await asksAfter(0), 0);
  } finally {
    Date.now = now;
  }
}

async function a_socket_is_renewed_and_ends_with_the_session() {
  let isAway = false;
  const askOrFail = (...request) => (isAway ? Promise.reject(new Error("nobody answers")) : ask(...request));
  const session = new Session(askOrFail, store, locks);
  const changes = new EventEmitter();
  const closes = [];
  let socketToken;
  const socket = createClient({
    webSocketImpl: WebSocket,
    async url() {
      // Before the socket is opened: an error in `connectionParams` ends the subscription.
      await session.token().catch(() => {});
      return url.href.replace(/^http/, "ws");
    },
    connectionParams() {
      socketToken = session.accessToken;
      return socketToken ? { authorization: `Bearer ${socketToken}` } : {};
    },
    // A refused connection is reported as an event without a code.
    shouldRetry: () => true,
    retryAttempts: Infinity,
    retryWait: (failures) => pause(wait(failures)),
    on: {
      closed({ code }) {
        closes.push(code);
        if (code === 4403) session.invalidate(socketToken);
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
  session.invalidate(socketToken);
  socketToken = await session.token();
  const renewal = socket.iterate({ query: RENEW, variables: { token: socketToken } });
  const { value } = await renewal.next();
  assert.deepEqual(value.data.renewConnection.userErrors, []);
  assert.ok(Date.parse(value.data.renewConnection.expiresAt) > Date.now());
  assert.deepEqual([events.map(({ kind }) => kind), closes], [["CAUGHT_UP"], []]);

  // The connection breaks, and there is no new token for it: the one before is still valid.
  session.invalidate(socketToken);
  isAway = true;
  socket.terminate();
  while (events.length < 2 && !failure) await once(changes, "change");
  assert.equal(failure, null);
  isAway = false;

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
