// Tells the other side how far messages have got. A mark covers everything before it, so that of several of a kind for a
// conversation only the last is sent.
import { asFailure, mutate, pause, pauseAfter } from "./api";
import { MARK_DELIVERED, MARK_READ, type Marked, type Row } from "./operations";

interface Mark {
  conversation: string;
  message: string;
  isRead: boolean;
}

export class Marks {
  /** By conversation and kind. */
  private readonly waiting = new Map<string, Mark>();
  /** The messages that were marked last, by the same. */
  private readonly last = new Map<string, string>();
  private running = false;
  private stopped = false;

  constructor(
    private readonly me: string,
    /** How many events the feed has told of: it may tell of more before an answer comes. */
    private readonly told: () => number,
    private readonly marked: (row: Row, asked: number) => void,
  ) {}

  delivered(conversation: string, message: string) {
    this.set({ conversation, message, isRead: false });
  }

  read(conversation: string, message: string) {
    // What is read has been delivered.
    this.waiting.delete(nameOf({ conversation, isRead: false }));
    this.set({ conversation, message, isRead: true });
  }

  /** The server may have other messages, and may know nothing of these marks. */
  clear() {
    this.waiting.clear();
    this.last.clear();
  }

  stop() {
    this.stopped = true;
  }

  private set(mark: Mark) {
    const name = nameOf(mark);
    if (this.last.get(name) === mark.message) return;
    this.last.set(name, mark.message);
    this.waiting.set(name, mark);
    void this.run();
  }

  private async run() {
    if (this.running) return;
    this.running = true;
    await this.send().finally(() => (this.running = false));
  }

  private async send() {
    let failures = 0;
    // Events that come together give one mark.
    await pause(50);
    for (let next; !this.stopped && (next = this.waiting.entries().next().value);) {
      const [name, mark] = next;
      try {
        const query = mark.isRead ? MARK_READ : MARK_DELIVERED;
        const asked = this.told();
        const { conversation: row } = await mutate<Marked>(query, { me: this.me, message: mark.message });
        failures = 0;
        if (row) this.marked(row, asked);
      } catch (error) {
        const failure = asFailure(error);
        if (failure.isTemporary) {
          await pauseAfter(failure, failures++);
          continue;
        }
      }
      if (this.waiting.get(name) === mark) this.waiting.delete(name);
    }
  }
}

const nameOf = ({ conversation, isRead }: Omit<Mark, "message">) => `${conversation} ${isRead}`;
