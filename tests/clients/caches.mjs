// Caches of client libraries that the feed keeps current: what is sent, edited or deleted elsewhere is so in their lists.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client/core";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import runtime from "relay-runtime";
import { defer, map, retry, throwError, timer } from "rxjs";
import { startProxy } from "./proxy.mjs";
import { SEND, ask, createSocket, headers, isRetryable, result, url, user, wait } from "./server.mjs";

const { ConnectionHandler, Environment, Network, Observable, RecordSource, Store } = runtime;
const { createOperationDescriptor, fetchQuery, getSingularSelector, requestSubscription } = runtime;

const DEADLINE = 20_000;

const PAGE = gql`
  query ($me: ID!, $other: ID!, $before: String) {
    conversation(user1: $me, user2: $other) {
      id
      messages(last: 2, before: $before) { edges { node { id content } } pageInfo { hasPreviousPage startCursor } }
    }
    feedCursor(userId: $me)
  }
`;
const FEED = gql`
  subscription ($me: ID!, $after: String) {
    feed(userId: $me, after: $after) { kind cursor messageId conversation { id } message { id content } }
  }
`;

async function apollo(address, { me, other }, changed, failed) {
  // Edits need no more than this: a message of an event has the same __typename and id as that of the list.
  const cache = new InMemoryCache({
    typePolicies: { Conversation: { fields: { messages: relayStylePagination() } } },
  });
  const socket = createSocket(address, 0);
  const link = ApolloLink.split(
    ({ operationType }) => operationType === "subscription",
    new GraphQLWsLink(socket),
    new HttpLink({ uri: address, headers }),
  );
  const client = new ApolloClient({ cache, link });
  const { data } = await client.query({ query: PAGE, variables: { me, other } });
  const page = client.watchQuery({ query: PAGE, variables: { me, other } });
  page.subscribe(changed);

  let after = data.feedCursor;
  const take = ({ data: { feed: event } }) => {
    if (event.kind === "MESSAGE_SENT" && event.message) append(cache, event.conversation, event.message);
    if (event.messageId && !event.message) {
      cache.evict({ id: cache.identify({ __typename: "Message", id: event.messageId }) });
      cache.gc();
    }
    after = event.cursor;
    changed();
  };
  // Its socket does not retry: each time it subscribes anew, with the cursor of then.
  const again = (error, failures) => (isRetryable(error) ? timer(wait(failures)) : throwError(() => error));
  const following = defer(() => client.subscribe({ query: FEED, variables: { me, after } }))
    .pipe(map(result), retry({ delay: again, resetOnSuccess: true }))
    .subscribe({ next: take, error: failed });
  return {
    shown: () => page.getCurrentResult().data.conversation.messages.edges.map(({ node }) => node.content),
    older: () =>
      page.fetchMore({
        variables: { before: page.getCurrentResult().data.conversation.messages.pageInfo.startCursor },
      }),
    stop() {
      following.unsubscribe();
      client.stop();
      socket.dispose();
    },
  };
}

/** Adds a message at the end of Apollo's list, unless it is there: an event may be seen twice. */
function append(cache, conversation, message) {
  cache.modify({
    id: cache.identify(conversation),
    fields: {
      messages(list, { toReference, readField }) {
        if (list.edges.some(({ node }) => readField("id", node) === message.id)) return list;
        return { ...list, edges: [...list.edges, { __typename: "MessageEdge", node: toReference(message) }] };
      },
    },
  });
}

const require = createRequire(import.meta.url);
const artifact = (name) => require(`./__generated__/${name}.graphql.js`);

async function relay(address, { me, other }, changed) {
  mkdirSync("__generated__", { recursive: true });
  writeFileSync("__generated__/package.json", '{ "type": "commonjs" }');
  execFileSync("node_modules/.bin/relay-compiler", { stdio: ["ignore", "ignore", "inherit"] });

  const socket = createSocket(address, Infinity);
  let after;
  const ask = ({ text }, variables) =>
    fetch(address, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: JSON.stringify({ query: text, variables }),
    }).then((response) => response.json());
  // Relay copies the variables of a subscription, but not what is put in here.
  const follow = ({ text }, variables) =>
    Observable.create((sink) =>
      socket.subscribe({ query: text, variables: { ...variables, get after() { return after; } } }, sink),
    );
  const environment = new Environment({
    network: Network.create(ask, follow),
    store: new Store(new RecordSource()),
  });

  const names = ["relayOpenQuery", "relayOlderQuery", "relayMessages", "relayFeedSubscription"];
  const [open, older, messages, feed] = names.map(artifact);
  const page = await fetchQuery(environment, open, { me, other }).toPromise();
  after = page.feedCursor;
  const operation = createOperationDescriptor(open, { me, other });
  const kept = environment.retain(operation);
  const conversation = environment.lookup(operation.fragment).data.conversation;
  const read = () => environment.lookup(getSingularSelector(messages, conversation)).data.messages;

  const updater = (store, { feed: event }) => {
    const { kind, messageId, message, conversation } = event;
    const list = store.get(ConnectionHandler.getConnectionID(conversation?.id, "Conversation_messages"));
    if (list && messageId && !message) ConnectionHandler.deleteNode(list, messageId);
    if (!list || !message || kind !== "MESSAGE_SENT") return;
    // An event may be seen twice.
    if (list.getLinkedRecords("edges").some((edge) => edge.getLinkedRecord("node")?.getDataID() === messageId)) return;
    const edge = ConnectionHandler.createEdge(store, list, store.get(messageId), "MessageEdge");
    ConnectionHandler.insertEdgeAfter(list, edge);
  };
  const following = requestSubscription(environment, {
    subscription: feed,
    variables: { me },
    updater,
    onNext(data) {
      after = data.feed.cursor;
      changed();
    },
  });
  return {
    shown: () => read().edges.map(({ node }) => node.content),
    older: () =>
      fetchQuery(environment, older, { id: page.conversation.id, before: read().pageInfo.startCursor }).toPromise(),
    stop() {
      following.dispose();
      kept.dispose();
      socket.dispose();
    },
  };
}

const EDIT = `mutation ($id: ID!, $content: String!) {
  updateMessage(id: $id, input: { content: $content }) { userErrors { message } }
}`;
const DELETE = `mutation ($id: ID!) { deleteMessage(id: $id) { userErrors { message } } }`;

async function scenario(create) {
  const users = { me: await user(), other: await user() };
  const proxy = await startProxy(url);
  const changes = new EventEmitter();
  const send = (content) => ask(SEND, { from: users.other, to: users.me, content }).then(({ message }) => message.id);
  for (const content of ["1", "2", "3"]) await send(content);
  const address = `http://127.0.0.1:${proxy.port}${url.pathname}`;
  const failed = (error) => changes.emit("error", error);
  const client = await create(address, users, () => changes.emit("change"), failed);
  const until = async (expected) => {
    while (client.shown().join() !== expected) await once(changes, "change");
  };
  try {
    assert.deepEqual(client.shown(), ["2", "3"]);
    await client.older();
    await until("1,2,3");
    const four = await send("4");
    await until("1,2,3,4");

    const refused = proxy.cut();
    await send("5");
    await ask(EDIT, { id: four, content: "four" });
    await refused;
    proxy.comeBack();
    await until("1,2,3,four,5");

    await ask(DELETE, { id: four });
    await until("1,2,3,5");
  } finally {
    client.stop();
    proxy.stop();
  }
}

for (const create of [apollo, relay]) {
  const deadline = pause(DEADLINE, null, { ref: false }).then(() => {
    throw new Error("not done in time");
  });
  try {
    await Promise.race([scenario(create), deadline]);
    console.log(`ok ${create.name}`);
  } catch (error) {
    console.log(`failed ${create.name}: ${String(error?.stack ?? error).replaceAll("\n", " ")}`);
    process.exitCode = 1;
  }
}
process.exit();
