// Messages on their way to the server, kept on the device: they outlive a reload, and a crash. Each is kept in an entry of its own,
// since several tabs may write and send at a time.
import { ask, type Event } from "./connection";
import { Send } from "./documents";
import { Failure } from "./request";
import { withLock, keys, read, write } from "./storage";

export type Unsent = {
  /** Chosen before the first try. It makes one message of all tries, also of those of two tabs. */
  clientId: string;
  /** When it was written, in milliseconds. */
  time: number;
  receiver: string;
  content: string;
  /** The id that the server gave it. It stays here until the feed says where it belongs. */
  sent?: string;
  /** Why the server does not take it. */
  problem?: string;
};

export class Outbox {
  /** Of the keys of its entries. */
  readonly #prefix: string;
  readonly #listeners = new Set<() => void>();
  /** What was deleted while a message is being sent. */
  #deleted: Set<string> | undefined;
  #items: Unsent[] = [];
  #isRunning = false;
  #stopping = new AbortController();

  constructor(readonly me: string) {
    this.#prefix = `duologue-outbox:${me}:`;
    this.#read();
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

  /** The `clientId`s of what the server has taken. */
  sent(): Set<string> {
    return new Set(this.#items.filter(({ sent }) => sent).map(({ clientId }) => clientId));
  }

  add(receiver: string, content: string): void {
    // After the last one, whatever the clock says.
    const time = Math.max(Date.now(), (this.#items.at(-1)?.time ?? 0) + 1);
    this.#write({ clientId: newId(), time, receiver, content });
    void this.#run();
  }

  /** Tries again what the server did not take. */
  retry(clientId: string): void {
    this.#change(clientId, { problem: undefined });
    void this.#run();
  }

  remove(clientId: string): void {
    this.#removeWhere((item) => item.clientId === clientId);
  }

  clear(): void {
    this.#removeWhere(() => true);
  }

  /** The feed has the message, so that it is no longer on its way; or it was deleted. */
  heard({ messageId, message }: Event): void {
    if (messageId && !message) this.#deleted?.add(messageId);
    this.#removeWhere(({ clientId, sent }) => clientId === message?.clientId || (sent !== undefined && sent === messageId));
  }

  /** All was loaded: what the server had taken `before` that is among it, or is gone. */
  loaded(messages: { clientId?: string | null }[], before: Set<string>): void {
    const there = new Set(messages.map(({ clientId }) => clientId));
    this.#removeWhere(({ clientId }) => before.has(clientId) || there.has(clientId));
  }

  /** One at a time, in the order in which they were written. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    if (this.#isRunning || signal.aborted) return;
    this.#isRunning = true;
    try {
      for (let item; (item = this.#items.find(({ sent, problem }) => !sent && !problem)); ) {
        const { clientId } = item;
        await withLock(this.#prefix, () => this.#send(clientId, signal));
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

  async #send(clientId: string, signal: AbortSignal): Promise<void> {
    const item = this.#find(clientId);
    // Another tab has sent it meanwhile, or somebody has dropped it.
    if (!item || item.sent || item.problem) return;
    const deleted = (this.#deleted = new Set<string>());
    const input = { senderId: this.me, receiverId: item.receiver, content: item.content, clientId };
    const { message, duplicate, userErrors } = await ask(Send, { input }, signal).then(
      ({ sendMessage }) => sendMessage,
      (failure: Error) => {
        if (signal.aborted || !(failure instanceof Failure)) throw failure;
        return { message: null, duplicate: false, userErrors: [failure] };
      },
    );
    this.#deleted = undefined;
    const [problem] = userErrors;
    if (problem) this.#change(clientId, { problem: problem.message });
    // An earlier try had arrived: its event is here or comes. Without a message it was deleted since.
    else if (duplicate || !message || deleted.has(message.id)) this.remove(clientId);
    else this.#change(clientId, { sent: message.id });
  }

  /** Another tab has written, changed or sent one. */
  readonly #follow = ({ key }: StorageEvent) => {
    if (key !== null && !key.startsWith(this.#prefix)) return;
    this.#read();
    void this.#run();
  };

  /** Such that the keys are in the order of the items. */
  #keyOf({ time, clientId }: Unsent): string {
    return `${this.#prefix}${time}:${clientId}`;
  }

  #read(): void {
    this.#items = keys(this.#prefix).flatMap((key): Unsent[] => JSON.parse(read(key) ?? "[]"));
    this.#listeners.forEach((listener) => listener());
  }

  /** As it is now, if another tab has not removed it. */
  #find(clientId: string): Unsent | undefined {
    this.#read();
    return this.#items.find((item) => item.clientId === clientId);
  }

  #write(item: Unsent): void {
    write(this.#keyOf(item), JSON.stringify(item));
    this.#read();
  }

  #change(clientId: string, change: Partial<Unsent>): void {
    const item = this.#find(clientId);
    if (item) this.#write({ ...item, ...change });
  }

  #removeWhere(isIt: (item: Unsent) => boolean): void {
    const gone = this.#items.filter(isIt);
    gone.forEach((item) => write(this.#keyOf(item), null));
    if (gone.length) this.#read();
  }
}

/** `crypto.randomUUID` is not there on a page that came over plain HTTP from another machine. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
