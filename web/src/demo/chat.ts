// Somebody's chat: loads what is shown, follows what happens, and does what the reader asks for.
import { batch, computed, effect, signal } from "@preact/signals";
import { asFailure, Failure, follow, mutate, repeatUntilDone, request } from "./api";
import { Drafts } from "./drafts";
import { Feed } from "./feed";
import { Marks } from "./marks";
import * as model from "./model";
import * as operations from "./operations";
import { notify } from "./notifications";
import type { FeedEvent, Message, Row, Signal } from "./operations";
import { Outbox } from "./outbox";
import { stored } from "./storage";
import { Typing } from "./typing";
import { Unseen } from "./unseen";

/** What the server answers where an argument names nobody. */
const NO_SUCH_ID = "BAD_USER_INPUT";

/** A message that is to be brought into sight, be it loaded or not. */
export interface Wanted {
  id: string;
  /** Where: in the middle, focused, if it is not said; else so many pixels below the upper edge. */
  at?: "middle" | "top" | number;
}

export class Chat {
  readonly state = signal<model.State | null>(null);
  /** The key of the open conversation. */
  readonly openKey = signal<string | null>(null);
  readonly open = computed(() => this.state.value && model.find(this.state.value, this.openKey.value));
  private readonly unstarted = computed(() => (this.open.value && !this.open.value.last ? this.open.value.id : null));
  /** Why the open conversation cannot be shown. */
  readonly trouble = signal<string | null>(null);
  /** Of the open conversation. */
  readonly wanted = signal<Wanted | null>(null);
  /** The account is not there any more. */
  readonly isGone = signal(false);
  /** Whether the reader sees the end of the open conversation. */
  readonly atEnd = signal(true);
  private readonly isVisible = signal(document.visibilityState === "visible");
  private readonly isReading = computed(() => this.isVisible.value && this.atEnd.value);
  /** Over all conversations that are loaded. */
  readonly unread = computed(() => {
    return (this.state.value?.conversations ?? []).reduce((sum, conversation) => sum + this.unreadOf(conversation), 0);
  });

  readonly feed: Feed;
  readonly outbox: Outbox;
  readonly drafts: Drafts;
  readonly unseen: Unseen;
  readonly typing: Typing;
  /** Where the reader was when the page was left. */
  private readonly place;
  private readonly marks: Marks;
  private readonly told = () => this.state.peek()?.told ?? 0;
  private readonly ends: (() => void)[] = [];
  private stopped = false;

  constructor(readonly me: string) {
    this.feed = new Feed(me, () => this.load(), (event) => this.take(event), this.endsWith);
    this.outbox = new Outbox(me, (message) => this.takeChanged(message));
    this.marks = new Marks(me, this.told, (row, asked) => this.change((state) => model.withRow(state, row, asked)));
    this.drafts = new Drafts(me);
    this.unseen = new Unseen(me);
    this.typing = new Typing(me);
    this.place = stored<(Wanted & { key: string }) | null>(`place:${me}`, null);
  }

  /** Loads what is shown and begins to follow. Fails if the server cannot be reached at first. */
  async start(openKey: string | null) {
    this.openKey.value = openKey;
    if (!(await this.feed.start())) return;
    const place = this.place.value.peek();
    if (place && place.key === openKey) this.showFirst(place.id, place.at);
    this.leaveAt(null);
    const onVisibility = () => (this.isVisible.value = document.visibilityState === "visible");
    // A message that waits is sent while the page is there, and no longer.
    const onLeaving = (event: Event) => this.outbox.items.value.length && event.preventDefault();
    document.addEventListener("visibilitychange", onVisibility);
    addEventListener("beforeunload", onLeaving);
    this.ends.push(
      () => removeEventListener("beforeunload", onLeaving),
      () => document.removeEventListener("visibilitychange", onVisibility),
      follow<Signal>(operations.SIGNALS, { me: this.me }, (said) => this.hear(said), this.endsWith),
      effect(() => {
        const open = this.open.value;
        if (open?.opened && this.unseen.look(open) && !this.wanted.peek()) this.showFirst(this.unseen.first.peek()!);
      }),
      effect(() => this.markRead()),
      // Presence of somebody before the first message: the signals above do not tell it.
      effect(() => {
        const conversation = this.unstarted.value;
        if (conversation)
          return follow<Signal>(operations.SIGNALS, { me: this.me, conversation }, (said) => this.hear(said));
      }),
    );
  }

  stop() {
    this.stopped = true;
    this.feed.stop();
    this.ends.forEach((end) => end());
    this.typing.stop();
    this.outbox.stop();
    this.marks.stop();
    this.drafts.stop();
    this.place.stop();
  }

  /** The page is left, at this message if the reader is not at the end. */
  leaveAt(wanted: Wanted | null) {
    const key = this.openKey.value;
    this.place.value.value = key !== null && wanted ? { key, ...wanted } : null;
  }

  private change(change: (state: model.State) => model.State) {
    if (this.state.value) this.state.value = change(this.state.value);
  }

  /** Gives the cursor of the feed; null if the account is not there. */
  private async load(): Promise<string | null> {
    // The server may have other messages than before.
    this.marks.clear();
    const key = this.openKey.value;
    const snapshot = await this.loadSnapshot(key);
    if (!snapshot?.user) {
      this.isGone.value = true;
      return null;
    }
    const { conversations, ...person } = snapshot.user;
    // What was asked for before is older than this.
    let state = model.withRows(model.begin(person, this.told() + 1), conversations);
    if (snapshot.conversation) state = model.withOpened(state, snapshot.conversation, key!);
    batch(() => {
      this.state.value = state;
      this.trouble.value = null;
      state.conversations.forEach((conversation) => {
        conversation.entries.forEach((message) => this.outbox.remove(message.clientId));
        if (conversation.last) this.markDelivered(conversation.id, conversation.last);
      });
    });
    // Who reads it already stays where they are.
    if (!this.open.value?.opened) await this.show(this.openKey.value);
    void this.loadUnsent();
    return snapshot.feedCursor;
  }

  /** Loads what the first page of the list has not: conversations in which messages wait, although none was ever sent there. */
  private async loadUnsent() {
    for (const key of new Set(this.outbox.items.peek().map(({ peerId }) => peerId))) {
      if (model.find(this.state.value!, key)) continue;
      const asked = this.told();
      const query = request<operations.Opened>(operations.CONVERSATION, { me: this.me, key });
      const { conversation } = await query.catch(() => ({ conversation: null }));
      if (conversation) this.change((state) => model.withRow(state, conversation, asked, true));
    }
  }

  /** Null if there is nobody with the id of the reader. */
  private async loadSnapshot(peer: string | null): Promise<operations.Snapshot | null> {
    const { me } = this;
    const open = peer !== null && !isConversation(peer);
    try {
      return await request<operations.Snapshot>(operations.SNAPSHOT, { me, peer: peer ?? me, open });
    } catch (error) {
      if (asFailure(error).code !== NO_SUCH_ID) throw error;
      // Whose id was it? A conversation that is not there is told of when it is shown.
      return open ? this.loadSnapshot(null) : null;
    }
  }

  /** Whether there is no use in trying again: the account was deleted. */
  private readonly endsWith = ({ code }: Failure) => {
    if (code === NO_SUCH_ID) this.isGone.value = true;
    return this.isGone.value;
  };

  private take(event: FeedEvent) {
    batch(() => {
      this.hearOf(event);
      this.change((state) => model.withEvent(state, event));
      if (event.message && event.conversation) this.markDelivered(event.conversation.id, event.message);
      if (event.messageId && !event.message) this.unquote(event.messageId);
      if (event.message?.sender?.id === this.me) this.outbox.remove(event.message.clientId);
      if (event.message && event.conversation) this.takeBack(event.conversation.id, event.message);
      if (event.kind === "MESSAGE_SENT" && event.conversation) this.typing.forget(event.conversation.id);
    });
    if (event.kind !== "CAUGHT_UP") return;
    void this.refreshPresences();
    if (!this.feed.banner.value) return;
    this.trouble.value = null;
    if (!this.open.value?.opened) void this.show(this.openKey.value, this.wanted.value);
  }

  /** Somebody wrote to the reader. */
  private hearOf(event: FeedEvent) {
    const { kind, message, conversation } = event;
    if (kind !== "MESSAGE_SENT" || !message || !conversation || message.sender?.id === this.me) return;
    // It was read on another device before this page heard of it.
    if (message.status === "READ") return;
    const open = this.open.peek();
    if (open?.id === conversation.id && !model.isOld(this.state.peek()!, event))
      this.unseen.hear(message.id, open.unread, this.isReading.peek());
    const sender = conversation.members.find(({ user }) => user?.id === message.sender?.id)?.user;
    if (sender) notify(sender, message.content);
  }

  private unquote(message: string) {
    this.outbox.unquote(message);
    this.drafts.unquote(message);
  }

  /** Signals that were given while nobody listened are lost. */
  private async refreshPresences(all = (this.state.value?.conversations ?? []).flatMap(({ peer }) => peer?.id ?? [])) {
    const nobody: operations.Presences = { nodes: [] };
    for (let from = 0; from < all.length && !this.stopped; from += operations.MOST_IDS) {
      const ids = all.slice(from, from + operations.MOST_IDS);
      const { nodes } = await request<operations.Presences>(operations.PRESENCES, { ids }).catch(() => nobody);
      this.change((state) => nodes.reduce((next, person) => (person ? model.withPerson(next, person) : next), state));
    }
  }

  private hear(said: Signal) {
    const { kind, user, conversationId } = said;
    this.change((state) => model.withPerson(state, user));
    if (kind === "OFFLINE") {
      const theirs = this.state.value?.conversations.find(({ key }) => key === user.id);
      if (theirs) this.typing.forget(theirs.id);
    }
    if (conversationId) this.typing.hear(conversationId, said);
  }

  /** Opens a conversation, unless it is there already: at its end, or at a message that the reader looks for. */
  async show(key: string | null, wanted: Wanted | null = null) {
    const isOther = key !== this.openKey.value;
    const isAnew = isOther || !this.open.value?.opened;
    // Who leaves a conversation does not write there any more.
    if (isOther) this.sayTyping(false);
    batch(() => {
      this.openKey.value = key;
      this.trouble.value = null;
      this.wanted.value = wanted;
      // At one time: what lies after that message has not been seen.
      this.atEnd.value = wanted === null;
      if (isAnew) this.unseen.leave();
    });
    const there = this.open.value;
    if (!key || there?.opened || there?.loading || this.state.value?.opening.includes(key)) return;
    this.change((state) => model.withOpening(state, key, true));
    const asked = this.told();
    try {
      const query = isConversation(key) ? operations.CONVERSATION_BY_ID : operations.CONVERSATION;
      const { conversation } = await request<operations.Opened>(query, { me: this.me, key });
      const isMine = conversation?.members.some(({ user }) => user?.id === this.me);
      if (conversation && isMine) this.change((state) => model.withOpened(state, conversation, key, asked));
      else throw new Failure("NOT_FOUND", "There is no such person here, or none that you may see.");
    } catch (error) {
      this.change((state) => model.withOpening(state, key, false));
      const { message } = asFailure(error);
      if (this.openKey.value === key) this.trouble.value = message;
    }
  }

  /** What lies before this message has been seen. */
  private showFirst(id: string, at: Wanted["at"] = "top") {
    this.wanted.value = { id, at };
    this.atEnd.value = false;
  }

  /** Loads messages that lie before those of the open conversation. */
  async loadEarlier(last = 50) {
    const open = this.open.value;
    if (!open?.earlier || open.loading) return;
    const { id, earlier: before } = open;
    // Unless all is loaded again meanwhile: the page would not join.
    const joins = () => this.state.value?.conversations.some((its) => its.id === id && its.earlier === before);
    this.trouble.value = null;
    this.change((state) => model.withLoading(state, id, true));
    try {
      const { node } = await request<operations.Earlier>(operations.EARLIER, { id, last, before });
      if (!node) throw new Failure("NOT_FOUND", "This conversation is not there any more.");
      if (joins()) this.change((state) => model.withPage(state, id, node.messages));
    } catch (error) {
      const { message } = asFailure(error);
      batch(() => {
        if (joins()) this.change((state) => model.withLoading(state, id, false));
        if (this.open.value?.id === id) this.trouble.value = message;
      });
    }
  }

  async loadMore() {
    const variables = { me: this.me, after: this.state.value?.more };
    const asked = this.told();
    const { user } = await request<operations.MoreConversations>(operations.MORE_CONVERSATIONS, variables);
    if (!user) return;
    this.change((state) => model.withRows(state, user.conversations, asked));
    for (const { id, lastMessage } of user.conversations.nodes) if (lastMessage) this.markDelivered(id, lastMessage);
  }

  /** The outbox or an edit has an answer. */
  private takeChanged(message: Message & { conversation: Row }) {
    this.change((state) => model.withAnswer(state, message));
    this.takeBack(message.conversation.id, message);
  }

  /** A message that was discarded on its way has arrived all the same. */
  private takeBack(conversation: string, { id, clientId }: Message) {
    if (this.outbox.takeDiscarded(clientId)) void repeatUntilDone(() => this.delete(conversation, id), () => this.stopped);
  }

  /** What is written now changes a message of the reader's. */
  startEdit({ id, version, content }: Message) {
    if (this.open.value) this.drafts.change(this.open.value.key, { edit: { id, version, text: content } });
  }

  async edit(id: string, content: string, version: number) {
    const { message } = await mutate<operations.Changed>(operations.EDIT, { me: this.me, id, content, version });
    if (message) this.takeChanged(message);
  }

  /** A message as it is now; null if it was deleted. */
  async reread(id: string): Promise<Message | null> {
    const { message } = await request<Pick<operations.Changed, "message">>(operations.REREAD, { me: this.me, id });
    if (message) this.takeChanged(message);
    return message;
  }

  async delete(conversation: string, id: string) {
    await mutate(operations.DELETE, { id });
    this.change((state) => model.withMessage(state, conversation, model.deletedMessage(id)));
  }

  send(key: string, content: string, replyTo: operations.Quote | null) {
    this.outbox.add(key, content, replyTo);
    this.sayTyping(false);
    this.unseen.clear();
    this.atEnd.value = true;
  }

  /** From now on neither of the two sees whether the other one is online. */
  async block(id: string) {
    await mutate(operations.BLOCK, { id });
    void this.refreshPresences([id]);
  }

  async unblock(id: string) {
    await mutate(operations.UNBLOCK, { id });
    void this.refreshPresences([id]);
  }

  /** Tells that the reader writes, or has stopped. */
  sayTyping(typing: boolean) {
    if (this.open.value) this.typing.say(this.open.value.id, typing);
  }

  private markDelivered(conversation: string, { id, sender, status }: Message) {
    if (sender?.id !== this.me && status === "SENT") this.marks.delivered(conversation, id);
  }

  /** What the reader sees is as good as read. */
  unreadOf({ id, unread }: model.Conversation): number {
    return this.isReading.value && id === this.open.value?.id ? 0 : unread;
  }

  private markRead() {
    const open = this.open.value;
    if (!open?.opened || open.unread === 0 || !this.isReading.value) return;
    const newest = model.shown(open).at(-1);
    if (newest) this.marks.read(open.id, newest.id);
  }
}

/** A conversation whose peer is gone is called by its own id. */
const isConversation = (key: string) => key.startsWith("cnv_");
