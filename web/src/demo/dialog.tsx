// Asks before a message is deleted.
/** @jsxImportSource preact */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "./chat";
import { focusComposer } from "./composer";
import { oneLine } from "./format";
import type { Entry } from "./model";

interface DialogProps {
  chat: Chat;
  conversation: string;
  entry: Entry;
  close: () => void;
}

export function DeleteDialog({ chat, conversation, entry, close }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const trouble = useSignal<string | null>(null);
  useEffect(() => dialog.current!.showModal(), []);
  const done = () => {
    close();
    focusComposer();
  };
  const remove = () => chat.delete(conversation, entry.id).then(done, (error) => (trouble.value = error.message));
  return (
    <dialog ref={dialog} aria-labelledby="delete-title" onClose={done}>
      <h2 id="delete-title">Delete this message?</h2>
      <blockquote dir="auto">{oneLine(entry.content)}</blockquote>
      <p>It is deleted for both of you.</p>
      {trouble.value && (
        <p class="trouble" role="alert">
          {trouble.value}
        </p>
      )}
      <div class="buttons">
        <button type="button" onClick={() => dialog.current!.close()}>
          Keep
        </button>
        <button type="button" class="danger" onClick={remove}>
          Delete
        </button>
      </div>
    </dialog>
  );
}
