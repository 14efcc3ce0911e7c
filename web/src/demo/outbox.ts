// Messages on their way to the server. Each has a `clientId` of its own, so that it may be sent again until there is an
// answer: the server takes it once. They are sent in their order, and kept until they were seen to have arrived.
import { batch, computed } from "@preact/signals";
import { backoff, Failure, mutate, pause } from "./api";
import { SEND, type Changed, type Quote } from "./operations";
import { stored } from "./storage";

export interface Unsent {
  clientId: string;
  peerId: string;
  content: string;
  replyTo: Quote | null;
  createdAt: string;
  state: "sending" | "waiting" | "failed";
  /** Why it failed. */
  why?: string;
}

export class Outbox {
  private readonly store;
  readonly items;
  private running = false;
  private stopped = false;

  constructor(
    private readonly me: string,
    private readonly arrived: (message: NonNullable<Changed["message"]>) => void,
  ) {
    this.store = stored<Unsent[]>(`outbox:${me}`, []);
    this.items = computed(() => this.store.value.value);
    void this.run();
  }

  add(peerId: string, content: string, replyTo: Quote | null) {
    const createdAt = new Date().toISOString();
    const state = this.items.value.some((item) => item.state === "waiting") ? "waiting" : "sending";
    this.store.value.value = [...this.items.value, { clientId: newId(), peerId, content, replyTo, createdAt, state }];
    void this.run();
  }

  retry(clientId: string) {
    this.update(clientId, { state: "waiting", why: undefined });
    void this.run();
  }

  /** The message with this id was deleted: nothing can answer it any more. */
  unquote(id: string) {
    if (!this.items.value.some(({ replyTo }) => replyTo?.id === id)) return;
    this.store.value.value = this.items.value.map((item) =>
      item.replyTo?.id === id ? { ...item, replyTo: null } : item,
    );
  }

  /** Forgets an item: it has arrived, or is not to be sent. */
  remove(clientId: string | null) {
    if (!this.items.value.some((item) => item.clientId === clientId)) return;
    this.store.value.value = this.items.value.filter((item) => item.clientId !== clientId);
  }

  stop() {
    this.stopped = true;
    this.store.stop();
  }

  private update(clientId: string, change: Partial<Unsent>) {
    this.store.value.value = this.items.value.map((item) =>
      item.clientId === clientId ? { ...item, ...change } : item,
    );
  }

  private async run() {
    if (this.running) return;
    this.running = true;
    let failures = 0;
    for (let item; !this.stopped && (item = this.items.value.find(({ state }) => state !== "failed"));) {
      const { clientId, peerId: peer, content, replyTo } = item;
      try {
        const variables = { me: this.me, peer, content, clientId, replyTo: replyTo?.id };
        if (failures === 0) this.update(clientId, { state: "sending" });
        const { message } = await mutate<Changed>(SEND, variables);
        failures = 0;
        // At one time: it is never shown twice, nor not at all. No message: it was deleted since.
        batch(() => {
          if (message) this.arrived(message);
          this.remove(clientId);
        });
      } catch (error) {
        const failure = error as Failure;
        if (failure.isTemporary) {
          for (const { clientId, state } of this.items.value)
            if (state === "sending") this.update(clientId, { state: "waiting" });
          await (failure.retryAfterMs ? pause(failure.retryAfterMs) : backoff(failures++));
        } else {
          this.update(clientId, { state: "failed", why: failure.message });
        }
      }
    }
    this.running = false;
  }
}

/** `crypto.randomUUID` is not there on a page that came over plain HTTP from another machine. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
