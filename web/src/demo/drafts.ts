// What is being written in each conversation: a new message, an answer to one, or a change of one.
import { stored } from "./storage";
import type { Quote } from "./operations";

export interface Edit {
  id: string;
  version: number;
  text: string;
  /** Why it could not be saved. */
  notice?: string;
}

export interface Draft {
  text: string;
  replyTo: Quote | null;
  edit: Edit | null;
}

const nothing: Draft = { text: "", replyTo: null, edit: null };

export class Drafts {
  private readonly store;

  constructor(me: string) {
    this.store = stored<Record<string, Draft>>(`drafts:${me}`, {});
  }

  /** By the key of its conversation. */
  of(key: string): Draft {
    return this.store.value.value[key] ?? nothing;
  }

  change(key: string, change: Partial<Draft>) {
    this.store.value.value = { ...this.store.value.value, [key]: { ...this.of(key), ...change } };
  }

  /** The message with this id was deleted: nothing can answer it any more. */
  unquote(id: string) {
    for (const [key, { replyTo }] of Object.entries(this.store.value.value)) {
      if (replyTo?.id === id) this.change(key, { replyTo: null });
    }
  }

  stop() {
    this.store.stop();
  }
}
