// Messages on their way to the server, kept on the device: they outlive a reload, and a crash.
import { ask, type Event } from "./connection";
import { Send } from "./documents";
import { Failure } from "./request";
import { read } from "./storage";

/** So many milliseconds what another tab has written is left to it. Then it is sent from here: that tab may have been closed. */
const HANDOVER = 5_000;

export type Unsent = {
  /** Chosen before the first try. It makes one message of all tries, also of those of two tabs. */
  clientId: string;
  receiver: string;
  content: string;
  /** The id that the server gave it. It stays here until the feed says where it belongs. */
  sent?: string;
  /** Why the server does not take it. */
  problem?: string;
};

export class Outbox {
  readonly #key: string;
  readonly #listeners = new Set<() => void>();
  readonly #deleted = new Set<string>();
  #items: Unsent[] = [];
  /** False while the device has no room. */
  #isKept = true;
  #isRunning = false;
  #stopping = new AbortController();
  #handover: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly me: string) {
    this.#key = `duologue-outbox:${me}`;
    this.#items = this.#read();
  }

  /** Begins to send what was left. */
  start(): void {
    this.#stopping = new AbortController();
    addEventListener("storage", this.#follow);
    void this.#run();
  }

  stop(): void {
    this.#stopping.abort();
    removeEventListener("storage", this.#follow);
  }

  readonly subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly items = () => this.#items;

  add(receiver: string, content: string): void {
    this.#change((items) => [...items, { clientId: newId(), receiver, content }]);
    void this.#run();
  }

  /** Tries again what the server did not take. */
  retry(clientId: string): void {
    this.#change((items) => items.map((item) => (item.clientId === clientId ? { ...item, problem: undefined } : item)));
    void this.#run();
  }

  remove(clientId: string): void {
    this.#change((items) => items.filter((item) => item.clientId !== clientId));
  }

  /** The feed has the message, so that it is no longer on its way; or it was deleted. */
  heard({ messageId, message }: Event): void {
    if (messageId && !message) this.#deleted.add(messageId);
    const isIt = ({ clientId, sent }: Unsent) => clientId === message?.clientId || (sent && sent === messageId);
    if (this.#items.some(isIt)) this.#change((items) => items.filter((item) => !isIt(item)));
  }

  /** All was loaded: what the server had is among it, or is gone. */
  loaded(messages: { clientId?: string | null }[]): void {
    const isThere = (clientId: string) => messages.some((message) => message.clientId === clientId);
    this.#change((items) => items.filter(({ clientId, sent }) => !sent && !isThere(clientId)));
  }

  /** One at a time, in the order in which they were written. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    if (this.#isRunning || signal.aborted) return;
    this.#isRunning = true;
    try {
      for (let item; (item = this.#items.find(({ sent, problem }) => !sent && !problem)); ) {
        await this.#send(item, signal);
      }
    } catch (failure) {
      // Stopped: nobody looks any more.
      if (!signal.aborted) throw failure;
    } finally {
      this.#isRunning = false;
    }
    // Begun again before the last try was over.
    if (signal !== this.#stopping.signal) void this.#run();
  }

  async #send({ clientId, receiver, content }: Unsent, signal: AbortSignal): Promise<void> {
    const input = { senderId: this.me, receiverId: receiver, content, clientId };
    const { message, duplicate, userErrors } = await ask(Send, { input }, signal).then(
      ({ sendMessage }) => sendMessage,
      (failure: Error) => {
        if (signal.aborted || !(failure instanceof Failure)) throw failure;
        return { message: null, duplicate: false, userErrors: [failure] };
      },
    );
    const [problem] = userErrors;
    // An earlier try had arrived: its event is here or comes. Without a message it was deleted since.
    const isDone = duplicate || !message || this.#deleted.has(message.id);
    if (isDone && !problem) return this.remove(clientId);
    const became = problem ? { problem: problem.message } : { sent: message?.id };
    this.#change((items) => items.map((item) => (item.clientId === clientId ? { ...item, ...became } : item)));
  }

  readonly #follow = ({ key }: StorageEvent) => {
    if (key !== null && key !== this.#key) return;
    this.#items = this.#read();
    this.#listeners.forEach((listener) => listener());
    clearTimeout(this.#handover);
    this.#handover = setTimeout(() => void this.#run(), HANDOVER);
  };

  /** What is kept, which another tab may have changed. */
  #read(): Unsent[] {
    return this.#isKept ? JSON.parse(read(this.#key) ?? "[]") : this.#items;
  }

  #change(change: (items: Unsent[]) => Unsent[]): void {
    this.#items = change(this.#read());
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.#items));
      this.#isKept = true;
    } catch {
      // It is shown and sent all the same, but does not outlive this page.
      this.#isKept = false;
    }
    this.#listeners.forEach((listener) => listener());
  }
}

/** `crypto.randomUUID` is not there on a page that came over plain HTTP from another machine. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
