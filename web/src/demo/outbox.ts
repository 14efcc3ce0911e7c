// Messages on their way to the server. Each has a `clientId` of its own, so that it may be sent again until there is an
// answer: the server takes it once. They are sent in their order, and kept until they were seen to have arrived: each in an
// entry of its own, since several tabs may write and send at a time.
import { batch, computed, signal } from "@preact/signals";
import { session, unsentOf } from "../session";
import { alone, local, tab } from "../storage";
import { asFailure, type Failure, mutate, pauseAfter } from "./api";
import { SEND, type Changed, type Quote } from "./operations";

interface Kept {
  clientId: string;
  peerId: string;
  content: string;
  replyTo: Quote | null;
  createdAt: string;
  /** Why it is not sent again. */
  why?: string;
}

export interface Unsent extends Kept {
  state: "sending" | "waiting" | "failed";
}

export class Outbox {
  private readonly storage = session.storage();
  private readonly prefix: string;
  private readonly kept = signal<Kept[]>([]);
  /** The last try has failed, and will be repeated. */
  private readonly isStuck = signal(false);
  readonly items = computed(() => this.kept.value.map((item): Unsent => ({ ...item, state: this.stateOf(item) })));
  private readonly discarded = new Set<string | null>();
  private running = false;
  private stopped = false;

  constructor(
    private readonly me: string,
    private readonly arrived: (message: NonNullable<Changed["message"]>) => void,
  ) {
    this.prefix = unsentOf(me);
    this.takeOver();
    addEventListener("storage", this.follow);
    this.read();
    void this.run();
  }

  add(peerId: string, content: string, replyTo: Quote | null) {
    const last = this.kept.value.at(-1);
    // After the last one, whatever the clock says.
    const at = Math.max(Date.now(), last ? Date.parse(last.createdAt) + 1 : 0);
    this.write({ clientId: newId(), peerId, content, replyTo, createdAt: new Date(at).toISOString() });
    void this.run();
  }

  retry(clientId: string) {
    this.change(clientId, { why: undefined });
    void this.run();
  }

  /** The message with this id was deleted: nothing can answer it any more. */
  unquote(id: string) {
    for (const { clientId, replyTo } of this.kept.value) if (replyTo?.id === id) this.change(clientId, { replyTo: null });
  }

  /** Forgets an item: it has arrived. */
  remove(clientId: string | null) {
    const item = this.kept.value.find((its) => its.clientId === clientId);
    if (!item) return;
    this.storage.write(this.nameOf(item), null);
    this.read();
  }

  /** It is not to be sent; although it may be on its way. */
  discard(clientId: string) {
    this.discarded.add(clientId);
    this.remove(clientId);
  }

  /** Whether this one, which has arrived, was discarded. It is said once. */
  takeDiscarded(clientId: string | null): boolean {
    return this.discarded.delete(clientId);
  }

  stop() {
    this.stopped = true;
    removeEventListener("storage", this.follow);
  }

  /** Another tab has written, changed or sent one. */
  private readonly follow = ({ key }: StorageEvent) => {
    if (key !== null && !key.startsWith(this.prefix)) return;
    this.read();
    void this.run();
  };

  /** Who signs in again may stay signed in this time, or not any more. */
  private takeOver() {
    const before = this.storage === tab ? local : tab;
    // It is sent by the tabs in which they stay signed in.
    if (before === local && session.isForAll(this.me)) return;
    for (const name of before.names(this.prefix)) {
      this.storage.write(name, before.read(name));
      before.write(name, null);
    }
  }

  private stateOf({ why }: Kept): Unsent["state"] {
    return why !== undefined ? "failed" : this.isStuck.value ? "waiting" : "sending";
  }

  /** Such that the names are in the order of the items. */
  private nameOf({ createdAt, clientId }: Kept): string {
    return `${this.prefix}${createdAt} ${clientId}`;
  }

  private read() {
    const names = this.storage.names(this.prefix);
    // Another tab may have sent it meanwhile.
    this.kept.value = names.flatMap((name): Kept[] => JSON.parse(this.storage.read(name) ?? "[]"));
  }

  private write(item: Kept) {
    this.storage.write(this.nameOf(item), JSON.stringify(item));
    this.read();
  }

  /** As it is now, if it was not sent or dropped elsewhere. */
  private find(clientId: string): Kept | undefined {
    this.read();
    return this.kept.value.find((item) => item.clientId === clientId);
  }

  private change(clientId: string, change: Partial<Kept>) {
    const item = this.find(clientId);
    if (item) this.write({ ...item, ...change });
  }

  private async run() {
    if (this.running) return;
    this.running = true;
    await this.sendAll().finally(() => (this.running = false));
    this.isStuck.value = false;
  }

  private async sendAll() {
    let failures = 0;
    for (let item; !this.stopped && (item = this.kept.value.find(({ why }) => why === undefined));) {
      const { clientId } = item;
      let failure: Failure | undefined;
      await alone(this.prefix, async () => void (failure = await this.send(clientId)));
      this.isStuck.value = failure?.isTemporary ?? false;
      if (failure?.isTemporary) await pauseAfter(failure, failures++);
      else failures = 0;
    }
  }

  /** Gives why it was not sent. */
  private async send(clientId: string): Promise<Failure | undefined> {
    const item = this.find(clientId);
    if (!item || this.stopped) return;
    const { peerId: peer, content, replyTo } = item;
    try {
      const { message } = await mutate<Changed>(SEND, { me: this.me, peer, content, clientId, replyTo: replyTo?.id });
      // At one time: it is never shown twice, nor not at all. No message: it was deleted since.
      batch(() => {
        if (message) this.arrived(message);
        this.remove(clientId);
      });
    } catch (error) {
      const failure = asFailure(error);
      if (!failure.isTemporary) this.change(clientId, { why: failure.message });
      return failure;
    }
  }
}

/** `crypto.randomUUID` is not there on a page that came over plain HTTP from another machine. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
