// Client libraries follow a feed of the server at the URL given, lose their connection, and miss or repeat nothing.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client/core";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client as UrqlClient, fetchExchange, subscriptionExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { createClient as createSseClient } from "graphql-sse";
import { defer, map, retry, throwError, timer } from "rxjs";
import { SubscriptionClient } from "subscriptions-transport-ws";
import WebSocket from "ws";
import { startProxy } from "./proxy.mjs";
import { SEND, ask, createSocket, headers, isRetryable, result, url, user, wait } from "./server.mjs";

const DEADLINE = 20_000;

const FEED = `subscription ($user: ID!, $after: String) {
  feed(userId: $user, after: $after) { kind cursor messageId message { content } }
}`;
const NEWEST = `query ($from: ID!, $to: ID!) {
  conversation(user1: $from, user2: $to) { messages(last: 10) { nodes { id } } }
}`;
const MARK_READ = `mutation ($user: ID!, $message: ID!) {
  markRead(userId: $user, messageId: $message) { userErrors { message } }
}`;

/** How to make each client. `follow` begins to follow the feed; some have `query` and `mutate` by HTTP too. */
const clients = {
  // It retries by itself, and reads the variables anew each time.
  "graphql-ws"(address, feed) {
    const client = createSocket(address, Infinity);
    const follow = () => client.subscribe({ query: FEED, variables: feed.variables }, feed);
    return { follow, stop: () => client.dispose() };
  },

  // It retries by itself, and reads the variables anew each time.
  "graphql-sse"(address, feed) {
    let status;
    const client = createSseClient({
      url: address,
      headers,
      async fetchFn(...request) {
        const response = await fetch(...request);
        status = response.status;
        return response;
      },
      retryAttempts: Infinity,
      async retry(failures) {
        // By default it retries after every status. An error that is thrown here ends that.
        if (status >= 400 && status < 500 && ![408, 429].includes(status)) throw new Error(`The server says ${status}.`);
        await pause(wait(failures));
      },
    });
    const follow = () => client.subscribe({ query: FEED, variables: feed.variables }, feed);
    return { follow, stop: () => client.dispose() };
  },

  // The older protocol. It retries by itself, and reads the variables anew each time.
  "subscriptions-transport-ws"(address, feed) {
    const options = { reconnect: true, connectionParams: headers };
    const client = new SubscriptionClient(address.replace(/^http/, "ws"), options, WebSocket);
    const follow = () => client.request({ query: FEED, variables: feed.variables }).subscribe(feed);
    const request = (query, variables) =>
      new Promise((next, error) => client.request({ query, variables }).subscribe({ next, error })).then(
        ({ data, errors }) => result({ data, error: errors }),
      );
    return { follow, query: request, mutate: request, stop: () => client.close() };
  },

  // It copies the variables, so that the socket must not retry with them: it subscribes again instead.
  "Apollo Client"(address, feed) {
    const socket = createSocket(address, 0);
    const client = new ApolloClient({
      cache: new InMemoryCache(),
      link: ApolloLink.split(
        ({ operationType }) => operationType === "subscription",
        new GraphQLWsLink(socket),
        new HttpLink({ uri: address, headers }),
      ),
    });
    const again = (error, failures) => (isRetryable(error) ? timer(wait(failures)) : throwError(() => error));
    const follow = () =>
      defer(() => client.subscribe({ query: gql(FEED), variables: feed.variables }))
        .pipe(map(result), retry({ delay: again, resetOnSuccess: true }))
        .subscribe(feed);
    const query = (text, variables) => client.query({ query: gql(text), variables }).then(result);
    const mutate = (text, variables) => client.mutate({ mutation: gql(text), variables }).then(result);
    const stop = () => {
      client.stop();
      socket.dispose();
    };
    return { follow, query, mutate, stop };
  },

  // It hands the variables on as they are, and the socket retries as above.
  "urql"(address, feed) {
    const socket = createSocket(address, Infinity);
    const forwardSubscription = (request) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
    });
    return urql(address, feed, socket, [fetchExchange, subscriptionExchange({ forwardSubscription })]);
  },

  // Its normalised cache copies the variables: the getter has to come after it.
  "urql with Graphcache"(address, feed) {
    const socket = createSocket(address, Infinity);
    const forwardSubscription = (request) => {
      const variables = { ...request.variables, get after() { return feed.variables.after; } };
      return { subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, variables }, sink) }) };
    };
    const exchanges = [cacheExchange({}), fetchExchange, subscriptionExchange({ forwardSubscription })];
    return urql(address, feed, socket, exchanges);
  },
};

function urql(address, feed, socket, exchanges) {
  const client = new UrqlClient({ url: address, fetchOptions: { headers }, exchanges });
  const follow = () =>
    client.subscription(FEED, feed.variables).subscribe(({ data, error }) => {
      if (error) feed.error(error);
      else feed.next({ data });
    });
  const query = (text, variables) => client.query(text, variables).then(result);
  const mutate = (text, variables) => client.mutation(text, variables).then(result);
  return { follow, query, mutate, stop: () => socket.dispose() };
}

/** What a client sees of a feed. */
class Feed extends EventEmitter {
  events = [];
  failure = null;

  constructor(user) {
    super();
    const { events } = this;
    this.variables = {
      user,
      get after() {
        return events.at(-1)?.cursor;
      },
    };
  }

  next = ({ data, errors }) => {
    if (errors) return this.error(errors);
    this.events.push(data.feed);
    this.emit("change");
  };
  error = (error) => {
    this.failure ??= error;
    this.emit("change");
  };
  complete = () => this.error(new Error("the feed was completed"));

  /** Waits until there are so many events of this kind. */
  async until(kind, count) {
    while (this.all(kind).length < count) {
      if (this.failure) throw this.failure;
      await once(this, "change");
    }
  }
  all(kind) {
    return this.events.filter((event) => event.kind === kind);
  }
  seen() {
    return this.events.map(({ kind, messageId, message }) =>
      kind === "MESSAGE_SENT" ? `${messageId} ${message?.content}` : kind,
    );
  }
}

async function scenario(name, { from, to }, feed, proxy) {
  const client = clients[name](`http://127.0.0.1:${proxy.port}${url.pathname}`, feed);
  const sent = [];
  const send = async () => {
    for (let i = 0; i < 3; i++) {
      const { message } = await ask(SEND, { from, to, content: `${name} ${sent.length}` });
      sent.push(message.id);
    }
  };
  try {
    const first = await client.mutate?.(SEND, { from, to, content: `sent by ${name}` });

    client.follow();
    await feed.until("CAUGHT_UP", 1);
    await send();
    await feed.until("MESSAGE_SENT", 3);

    const refused = proxy.cut();
    await send();
    await refused;
    proxy.comeBack();
    await feed.until("CAUGHT_UP", 2);
    await send();
    // What this brings comes after everything else.
    await ask(MARK_READ, { user: to, message: sent.at(-1) });
    await feed.until("RECEIPT", 1);

    const messages = sent.map((id, i) => `${id} ${name} ${i}`);
    const expected = ["CAUGHT_UP", ...messages.slice(0, 6), "CAUGHT_UP", ...messages.slice(6), "RECEIPT"];
    assert.equal(new Set(sent).size, 9);
    assert.deepEqual(feed.seen(), expected, `it saw ${feed.seen().join(", ")}`);

    if (client.query) {
      const { data } = await client.query(NEWEST, { from, to });
      const ids = data.conversation.messages.nodes.map(({ id }) => id);
      assert.deepEqual(ids, [first.data.sendMessage.message.id, ...sent]);
    }
  } finally {
    client.stop();
  }
}

const users = { from: await user(), to: await user() };
for (const name of Object.keys(clients)) {
  const feed = new Feed(users.to);
  const proxy = await startProxy(url);
  const deadline = pause(DEADLINE, null, { ref: false }).then(() => {
    throw new Error(`not done in time; it saw ${feed.seen().join(", ") || "nothing"}`);
  });
  try {
    await Promise.race([scenario(name, users, feed, proxy), deadline]);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`failed ${name}: ${String(error?.message ?? JSON.stringify(error)).replaceAll("\n", " ")}`);
    process.exitCode = 1;
  } finally {
    proxy.stop();
  }
}
process.exit();
