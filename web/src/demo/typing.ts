// Who types where; and that the reader does. Never mind if a word about it gets lost.
import { signal } from "@preact/signals";
import { mutate } from "./api";
import { SET_TYPING, type Signal } from "./operations";

/** A word about typing is repeated after this time, and forgotten after the other one at the latest. */
const REPEATED_AFTER = 3_000;
const LASTS = 6_000;

export class Typing {
  /** Conversations in which the peer types. */
  private readonly conversations = signal<ReadonlySet<string>>(new Set());
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();
  /** Where the reader writes, as was told last. */
  private said = { conversation: "", at: 0 };

  constructor(private readonly me: string) {}

  isIn(conversation: string): boolean {
    return this.conversations.value.has(conversation);
  }

  hear(conversation: string, { kind, expiresAt }: Signal) {
    this.forget(conversation);
    if (kind !== "TYPING") return;
    this.conversations.value = new Set([...this.conversations.value, conversation]);
    // The clock of this machine may be wrong.
    const lasts = Math.min(LASTS, Math.max(REPEATED_AFTER, Date.parse(expiresAt!) - Date.now()));
    this.timers.set(
      conversation,
      setTimeout(() => this.forget(conversation), lasts),
    );
  }

  forget(conversation: string) {
    clearTimeout(this.timers.get(conversation));
    if (!this.conversations.value.has(conversation)) return;
    this.conversations.value = new Set([...this.conversations.value].filter((id) => id !== conversation));
  }

  /** Tells that the reader writes, or has stopped. */
  say(conversation: string, typing: boolean) {
    // The clock may be set back.
    const since = conversation === this.said.conversation ? Math.abs(Date.now() - this.said.at) : Infinity;
    if (typing ? since < REPEATED_AFTER : since > LASTS) return;
    this.said = { conversation, at: typing ? Date.now() : 0 };
    mutate(SET_TYPING, { me: this.me, conversation, typing }).catch(() => {});
  }

  stop() {
    this.timers.forEach(clearTimeout);
  }
}
