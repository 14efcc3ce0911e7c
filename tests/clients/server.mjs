// The server at the URL given, as all programs here reach it, and people on it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const DEADLINE = 20_000;
/** In milliseconds; of an app they are longer. */
const FIRST_WAIT = 50;
const LONGEST_WAIT = 2_000;
/** Errors after which the same request can be sent again, with the same variables. */
const RETRYABLE_CODES = ["DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"];

export const SEND = `mutation ($from: ID!, $to: ID!, $content: String!) {
  sendMessage(input: { senderId: $from, receiverId: $to, content: $content }) { message { id } userErrors { message } }
}`;
const CREATE_USER = `mutation ($email: String!) {
  createUser(input: { name: "Client", email: $email }) { user { id } userErrors { message } }
}`;

export const url = new URL(process.argv[2]);
// What a server where people sign in wants to see.
const authorization = process.env.AUTHORIZATION;
export const headers = authorization ? { authorization } : {};

// Node 20 has none of its own, and Apollo looks here to understand the errors of one.
globalThis.WebSocket ??= WebSocket;

/** Exponential backoff with jitter after so many failures in a row, in milliseconds. */
export const wait = (failures) => Math.min(FIRST_WAIT * 2 ** failures, LONGEST_WAIT) * (0.5 + Math.random() / 2);

/** Whether a retry may succeed: there was no answer, or an error that may be gone the next time. */
export const isRetryable = ({ errors }) => !errors || errors.some(({ extensions }) => RETRYABLE_CODES.includes(extensions?.code));

export const createSocket = (address, retryAttempts) =>
  createClient({
    url: address.replace(/^http/, "ws"),
    webSocketImpl: WebSocket,
    connectionParams: headers,
    retryAttempts,
    retryWait: (failures) => pause(wait(failures)),
    // `ws` reports a refused connection as an error, after which it would give up; a protocol error stays the end.
    shouldRetry: () => true,
  });

/** Apollo and urql put what went wrong beside the data. */
export const result = ({ data, error }) => {
  if (error) throw error;
  return { data };
};

/** Asks the server itself, not by way of the proxy. */
export async function ask(query, variables) {
  const response = await fetch(url, {
    method: "POST",
    signal: AbortSignal.timeout(DEADLINE),
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  const [payload] = Object.values(data);
  assert.deepEqual(payload.userErrors, []);
  return payload;
}

/** Somebody new. */
export async function user() {
  return (await ask(CREATE_USER, { email: `${randomUUID()}@example.com` })).user.id;
}
