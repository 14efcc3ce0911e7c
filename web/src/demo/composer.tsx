// Where messages are written and changed.
/** @jsxImportSource preact */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { asFailure, type Failure } from "./api";
import type { Chat } from "./chat";
import type { Edit } from "./drafts";
import { lengthOf, oneLine } from "./format";
import { isComposing } from "./keys";
import { shown, type Conversation } from "./model";
import { Quoted } from "./message";
import { nameOf } from "./parts";

interface ComposerProps {
  chat: Chat;
  conversation: Conversation;
  maxLength: number;
}

/** From so many characters before the limit on it is said how many are left. */
const WARN_AT = 500;

/** Where the reader goes on once what they were at is gone. */
export function focusComposer() {
  document.querySelector<HTMLElement>(".composer textarea")?.focus();
}

export function Composer({ chat, conversation, maxLength }: ComposerProps) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [isSaving, setSaving] = useState(false);
  /** What is to be saved once what is being saved is. */
  const next = useRef<Edit | null>(null);
  const { key } = conversation;
  const draft = chat.drafts.of(key);
  const { edit, replyTo } = draft;
  const text = edit ? edit.text : draft.text;
  const left = maxLength - lengthOf(text);
  const name = nameOf(conversation.peer);

  // As high as its text, as far as the style sheet lets it.
  useLayoutEffect(() => {
    const { style } = field.current!;
    style.height = "auto";
    style.height = `${field.current!.scrollHeight + 2}px`;
  }, [text, key]);

  // Whoever begins an edit or an answer goes on here.
  useLayoutEffect(() => {
    if (!edit && !replyTo) return;
    field.current!.focus();
    field.current!.setSelectionRange(text.length, text.length);
  }, [edit?.id, replyTo?.id]);

  function write(text: string) {
    // Who writes is not taken away to what they looked for before.
    chat.wanted.value = null;
    if (edit) {
      chat.drafts.change(key, { edit: { ...edit, text } });
    } else {
      chat.drafts.change(key, { text });
      chat.sayTyping(text !== "");
    }
  }

  function cancel() {
    next.current = null;
    if (edit) chat.drafts.change(key, { edit: null });
    else chat.drafts.change(key, { replyTo: null });
    field.current!.focus();
  }

  function submit() {
    if (text.trim() === "" || left < 0) return;
    if (edit) {
      if (isSaving) next.current = edit;
      else if (text.trim() === entryOf(edit.id)?.content) cancel();
      else void save(edit);
      return;
    }
    chat.send(key, text.trim(), replyTo);
    chat.drafts.change(key, { text: "", replyTo: null });
  }

  const entryOf = (id: string) => conversation.entries.find((entry) => entry.id === id);

  async function save(edit: Edit): Promise<void> {
    setSaving(true);
    /** The version with this text; null if it is not saved. */
    let saved: number | null = edit.version + 1;
    try {
      await chat.edit(edit.id, edit.text.trim(), edit.version);
    } catch (error) {
      saved = await explain(edit, asFailure(error)).catch((why) => notice(edit, asFailure(why).message));
    }
    if (saved !== null) done(edit, saved);
    setSaving(false);
    const wanted = next.current;
    next.current = null;
    if (!wanted) return;
    if (wanted.id !== edit.id) return saveChanged(wanted, entryOf(wanted.id)?.content);
    if (saved !== null) return saveChanged({ ...wanted, version: saved }, edit.text.trim());
  }

  function saveChanged(edit: Edit, content?: string) {
    if (edit.text.trim() === content) return done(edit, edit.version);
    return save(edit);
  }

  /** What was written while it was saved is not saved yet; and it may be another message by now. */
  function done({ id, text }: Edit, version: number) {
    const { edit } = chat.drafts.of(key);
    if (edit?.id === id) chat.drafts.change(key, { edit: edit.text === text ? null : { id, version, text: edit.text } });
  }

  function notice({ id, text }: Edit, notice: string, version?: number): null {
    const { edit } = chat.drafts.of(key);
    if (edit?.id === id) chat.drafts.change(key, { edit: { ...edit, version: version ?? edit.version, notice } });
    // Another message is being edited by now, or none.
    else chat.trouble.value = `“${text.trim()}” was not saved: ${notice}`;
    return null;
  }

  async function explain(edit: Edit, failure: Failure): Promise<number | null> {
    if (failure.code !== "VERSION_CONFLICT") return notice(edit, failure.message);
    const newer = await chat.reread(edit.id);
    if (!newer) return notice(edit, "The message was deleted meanwhile.");
    // It was saved before, and the answer got lost.
    if (newer.content === edit.text.trim()) return newer.version;
    return notice(
      edit,
      `The message was changed meanwhile: “${newer.content}”. Save again to put your text in its place.`,
      newer.version,
    );
  }

  function onKeyDown(event: KeyboardEvent) {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && (edit || replyTo)) {
      event.preventDefault();
      cancel();
    } else if (event.key === "ArrowUp" && !edit && text === "") {
      const last = shown(conversation).findLast(({ sender }) => sender?.id === chat.me);
      if (!last) return;
      event.preventDefault();
      chat.startEdit(last);
    }
  }

  return (
    <form
      class="composer"
      aria-label={edit ? "Edit message" : "New message"}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
        field.current!.focus();
      }}
    >
      {(edit || replyTo) && (
        <div class="context">
          {edit ? (
            <p>Edit your message</p>
          ) : (
            <Quoted name={replyTo!.sender?.id === chat.me ? "You" : name} text={oneLine(replyTo!.content)} />
          )}
          <button type="button" onClick={cancel}>
            Cancel
          </button>
        </div>
      )}
      {edit?.notice && (
        <p class="trouble" role="alert" dir="auto">
          {edit.notice}
        </p>
      )}
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        enterkeyhint="send"
        aria-label={edit ? "Edit message" : `Message to ${name}`}
        placeholder={`Message to ${name}`}
        value={text}
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <button class="primary send" disabled={text.trim() === "" || left < 0 || (edit !== null && isSaving)}>
        {edit ? "Save" : "Send"}
      </button>
      <p class="left" role="status">
        {left < 0 ? `${-left} characters too many` : left < WARN_AT && `${left} characters left`}
      </p>
    </form>
  );
}
