// A conversation as an app keeps it: the messages of the server, kept current by the feed, and what is on its way there.
import type { Client, CombinedError } from "@urql/core";
import { closeCode, isRetryable, pause, retrying, wantedWait } from "./connection.js";
import { Feed, Open, Send } from "./documents.js";
import type { FeedSubscription, MessagePartsFragment as Message } from "./gql/graphql.js";

export type Event = FeedSubscription["feed"];

/** A message that was written here and is not yet in the feed. */
export type Outgoing = { content: string; message?: Message; problem?: string };

export type Listener = {
  /** The messages were loaded, at the beginning or after a RESET. */
  loaded?(messages: Message[]): void;
  /** Something came in the feed, and was put in its place. */
  heard?(event: Event): void;
  /** A message is shown before the server knows it. */
  sending?(content: string): void;
  /** It was replaced by the server's: once, whether that came as the answer or in the feed. */
  sent?(message: Message): void;
  /** The server refused it, or the feed ended for good. */
  failed?(problem: string): void;
};

export class Conversation {
  /** What the server has, by id, in its order. */
  readonly messages = new Map<string, Message>();
  /** What is shown below that, by `clientId`. Keep it on the device, and it outlives a crash of the app. */
  readonly outbox = new Map<string, Outgoing>();
  /** What was deleted while a message is being sent. */
  #deleted: Set<string> | undefined;
  #cursor = "";
  /** In a row, of the feed. */
  #failures = 0;
  #following: { unsubscribe(): void } | undefined;
  /** How often it was closed: what waited meanwhile does not go on. */
  #closed = 0;
  #sends: Promise<void> = Promise.resolve();

  constructor(
    readonly client: Client,
    readonly me: string,
    readonly other: string,
    readonly listener: Listener,
  ) {}

  /** Loads what is shown together with the feed's cursor, and follows the feed from there. */
  async open(): Promise<void> {
    this.close();
    const closed = this.#closed;
    // The page has these, or they are gone.
    for (const [clientId, { message }] of this.outbox) if (message) this.outbox.delete(clientId);
    const { me, other } = this;
    const page = await retrying(() => this.client.query(Open, { me, other }, { requestPolicy: "network-only" }));
    if (closed !== this.#closed) return;
    if (!page.conversation) throw new Error("there is no such conversation, or it is not yours");
    this.messages.clear();
    for (const message of page.conversation.messages.nodes) {
      this.messages.set(message.id, message);
      this.#settle(message.id, message);
    }
    this.#cursor = page.feedCursor;
    this.listener.loaded?.([...this.messages.values()]);
    this.#follow(page.conversation.id);
  }

  close(): void {
    this.#closed++;
    this.#following?.unsubscribe();
    this.#following = undefined;
  }

  #follow(conversation: string): void {
    const cursor = () => this.#cursor;
    // The variables are read again whenever the socket reconnects: with this getter the feed resumes from the latest cursor.
    const variables = { me: this.me, conversation, get after() { return cursor(); } };
    this.#following = this.client.subscription(Feed, variables).subscribe(({ data, error }) => {
      if (error) this.#followAgain(conversation, error);
      else if (data) this.#take(data.feed);
    });
  }

  /** Half an event is none: what could not be read is null, as if it was deleted. From the cursor before, it comes again. */
  async #followAgain(conversation: string, error: CombinedError): Promise<void> {
    this.close();
    if (!isRetryable(error)) return this.listener.failed?.(error.message);
    const closed = this.#closed;
    // After the longest wait.
    if (closeCode(error)) this.#failures = Infinity;
    await pause(this.#failures++, wantedWait(error));
    if (closed === this.#closed) this.#follow(conversation);
  }

  #take(event: Event): void {
    const { kind, cursor, messageId, message } = event;
    // What is shown may be wrong by now, and the cursor leads nowhere.
    if (kind === "RESET") {
      this.open().catch((error: Error) => this.listener.failed?.(error.message));
      return;
    }
    if (messageId && !message) {
      this.messages.delete(messageId);
      this.#deleted?.add(messageId);
    } else if (messageId && message && (kind === "MESSAGE_SENT" || this.messages.has(messageId))) {
      // An edit of what is not loaded changes nothing that is shown.
      this.messages.set(messageId, message);
    }
    // Only now: what was not handled comes again.
    this.#cursor = cursor;
    this.#failures = 0;
    this.listener.heard?.(event);
    if (messageId) this.#settle(messageId, message);
  }

  /** The feed has the message, so that it is no longer outgoing. */
  #settle(id: string, message: Message | null): void {
    for (const [clientId, outgoing] of this.outbox) {
      if (clientId !== message?.clientId && id !== outgoing.message?.id) continue;
      this.outbox.delete(clientId);
      if (message && !outgoing.message) this.listener.sent?.(message);
    }
  }

  /** Shows the message at once, and sends it. */
  send(content: string): Promise<void> {
    const clientId = crypto.randomUUID();
    this.outbox.set(clientId, { content });
    this.listener.sending?.(content);
    return this.again(clientId);
  }

  /** Sends what is in the outbox, after those before it. However often: the `clientId` makes one message of all tries. */
  again(clientId: string): Promise<void> {
    this.#sends = this.#sends.then(() => this.#deliver(clientId));
    return this.#sends;
  }

  async #deliver(clientId: string): Promise<void> {
    const content = this.outbox.get(clientId)?.content;
    if (content === undefined) return;
    const deleted = (this.#deleted = new Set<string>());
    const input = { senderId: this.me, receiverId: this.other, content, clientId };
    const { message, userErrors: [problem] } = await retrying(() => this.client.mutation(Send, { input })).then(
      ({ sendMessage }) => sendMessage,
      (error: Error) => ({ message: null, userErrors: [error] }),
    );
    this.#deleted = undefined;
    const outgoing = this.outbox.get(clientId);
    // The feed was faster.
    if (!outgoing) return;
    if (problem) {
      outgoing.problem = problem.message;
      this.listener.failed?.(problem.message);
    } else if (!message || deleted.has(message.id)) {
      // It was deleted before the answer came.
      this.outbox.delete(clientId);
    } else {
      // It stays below the others until the feed says where it belongs.
      outgoing.message = message;
      this.listener.sent?.(message);
    }
  }
}
