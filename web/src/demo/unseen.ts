// Which messages of the open conversation are new to a reader who was away: a line is drawn above the first of them, and
// stays until the reader writes or leaves.
import { signal } from "@preact/signals";
import { shown, type Conversation } from "./model";

export class Unseen {
  /** The first of them; null if there are none, or if it is not loaded yet. */
  readonly first = signal<string | null>(null);
  private conversation: string | null = null;
  /** How many they are, until the first of them is known. */
  private count = 0;

  constructor(private readonly me: string) {}

  /** The reader writes: nothing is new any more. */
  clear() {
    this.first.value = null;
    this.count = 0;
  }

  /** The reader goes to another conversation, or comes to this one anew. */
  leave() {
    this.clear();
    this.conversation = null;
  }

  /** Looks for them in the open conversation, whose messages come page by page. True if the reader has just come to them. */
  look(conversation: Conversation): boolean {
    const isNew = this.conversation !== conversation.id;
    if (isNew) this.count = conversation.unread;
    this.conversation = conversation.id;
    if (this.count === 0) return false;
    const received = shown(conversation).filter(({ sender }) => sender?.id !== this.me);
    if (received.length < this.count) return false;
    this.first.value = received.at(-this.count)!.id;
    this.count = 0;
    return isNew;
  }

  /** A message of the other side has come to the open conversation, in which so many were unread before: those of which the reader has
   * seen the last one, too, until that is known to the server. */
  hear(id: string, unread: number, isReading: boolean) {
    if (this.count > 0) this.count++;
    else if (!isReading && (unread === 0 || this.first.value === null)) this.first.value = id;
  }
}
