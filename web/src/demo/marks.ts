// Tells the other side how far messages have got. A mark covers everything before it, so that of several for a conversation
// only the last is sent.
import { backoff, Failure, mutate, pause } from "./api";
import { MARK_DELIVERED, MARK_READ, type Marked, type Row } from "./operations";

interface Mark {
  message: string;
  isRead: boolean;
}

export class Marks {
  private readonly waiting = new Map<string, Mark>();
  private readonly last = new Map<string, string>();
  private running = false;
  private stopped = false;

  constructor(
    private readonly me: string,
    private readonly marked: (row: Row) => void,
  ) {}

  delivered(conversation: string, message: string) {
    // What is read has been delivered.
    if (!this.waiting.get(conversation)?.isRead) this.set(conversation, { message, isRead: false });
  }

  read(conversation: string, message: string) {
    this.set(conversation, { message, isRead: true });
  }

  stop() {
    this.stopped = true;
  }

  private set(conversation: string, mark: Mark) {
    const name = `${mark.message} ${mark.isRead}`;
    if (this.last.get(conversation) === name) return;
    this.last.set(conversation, name);
    this.waiting.set(conversation, mark);
    void this.run();
  }

  private async run() {
    if (this.running) return;
    this.running = true;
    let failures = 0;
    // Events that come together give one mark.
    await pause(50);
    for (let next; !this.stopped && (next = this.waiting.entries().next().value);) {
      const [conversation, mark] = next;
      try {
        const query = mark.isRead ? MARK_READ : MARK_DELIVERED;
        const { conversation: row } = await mutate<Marked>(query, { me: this.me, message: mark.message });
        failures = 0;
        if (row) this.marked(row);
      } catch (error) {
        const failure = error as Failure;
        if (failure.isTemporary) {
          await (failure.retryAfterMs ? pause(failure.retryAfterMs) : backoff(failures++));
          continue;
        }
      }
      if (this.waiting.get(conversation) === mark) this.waiting.delete(conversation);
    }
    this.running = false;
  }
}
